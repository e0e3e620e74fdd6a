/**
 * What the Arrow library believes without looking: how long the lists of a message's metadata are, and that a batch's
 * buffers hold what its columns refer to. In a damaged file both can stand for any number, and the library would count
 * up to it.
 */
import { type Data, DataType } from 'apache-arrow';
import { Table } from './flatbuffer.ts';

const MAX_DEPTH = 64;
/** More values of a column in one batch are no data of ours. */
const MAX_VALUES = 1 << 26;
/** By their numbers in Message.fbs. */
export const KINDS = ['none', 'schema', 'dictionary', 'batch', 'tensor', 'sparse tensor'] as const;
export type MessageKind = (typeof KINDS)[number];
const UNION_TYPE = 14;

export interface MessageHeader {
  kind: MessageKind;
  /** Bytes of what follows the metadata. */
  body: number;
  /** Of a batch. */
  rows: number;
}

/** What a message's metadata say it is; throws where they lead out of themselves. */
export function checkMessage(metadata: Uint8Array): MessageHeader {
  const message = Table.root(metadata);
  const header = message.table(2);
  const kind = KINDS[message.byte(1)] ?? 'none';
  const hasBody = kind === 'batch' || kind === 'dictionary';
  if (kind === 'schema' && header !== undefined) {
    for (const field of header.tables(1)) checkField(field, 0);
    header.list(2, 4);
    header.list(3, 8);
  } else if (hasBody) {
    checkBatchHeader(kind === 'dictionary' ? header?.table(1) : header);
  }
  message.list(4, 4);
  const body = message.long(3);
  // The library takes what follows other messages for the next one.
  if (body > 0n && !hasBody) throw new Error(`a message says it has a body of ${body} bytes`);
  return {
    kind,
    body: count(body, 'bytes of a body'),
    rows: kind === 'batch' ? count(header?.long(0) ?? 0n, 'rows') : 0,
  };
}

function count(value: bigint, what: string): number {
  if (value >= 0n && value <= BigInt(Number.MAX_SAFE_INTEGER)) return Number(value);
  throw new Error(`a message says it has ${value} ${what}`);
}

function checkField(field: Table, depth: number): void {
  if (depth > MAX_DEPTH) throw new Error('its columns are nested too deep');
  if (field.byte(2) === UNION_TYPE) field.table(3)?.list(1, 4);
  for (const child of field.tables(5)) checkField(child, depth + 1);
  field.list(6, 4);
}

function checkBatchHeader(batch: Table | undefined): void {
  if (batch === undefined) return;
  batch.list(1, 16);
  const buffers = batch.list(2, 16).length;
  let named = 0n;
  for (const count of batch.longs(4)) {
    if (count < 0n) throw new Error('a column has less than no buffers');
    named += count;
  }
  if (named > BigInt(buffers)) throw new Error(`columns name ${named} buffers of ${buffers}`);
}

/** Throws where a column's values do not lie in its buffers, or in the columns below it. */
export function checkColumn(data: Data): void {
  const { type, length, offset, nullBitmap, values, children, dictionary } = data;
  if (length > MAX_VALUES) throw new Error(`a column says it has ${length} values`);
  const end = offset + length;
  if (data.nullCount > 0 && nullBitmap && nullBitmap.length * 8 < end) throw shorter(type, 'nulls');
  for (const child of children) checkColumn(child);
  for (const chunk of dictionary?.data ?? []) checkColumn(chunk);
  if (length === 0 || DataType.isNull(type)) return;
  if (DataType.isStruct(type)) {
    if (children.some((child) => child.length < end)) throw shorter(type, 'children');
  } else if (DataType.isFixedSizeList(type)) {
    if (children[0]!.length < end * type.listSize) throw shorter(type, 'values');
  } else if (DataType.isUnion(type)) {
    if (data.typeIds.length < end) throw shorter(type, 'type ids');
  } else if (data.valueOffsets !== undefined) {
    checkOffsets(data, end, children[0]?.length ?? values.length);
  } else if (DataType.isBool(type)) {
    if (values.length * 8 < end) throw shorter(type, 'values');
  } else if (values.length < end * data.stride) {
    throw shorter(type, 'values');
  }
}

/** Each value begins where the one before it ends, and the last one ends where the content does, or earlier. */
function checkOffsets({ type, valueOffsets }: Data, end: number, size: number): void {
  const offsets = valueOffsets as Int32Array | BigInt64Array;
  if (offsets.length <= end) throw shorter(type, 'offsets');
  let last: number | bigint = 0;
  for (let i = 0; i <= end; i++) {
    const next = offsets[i]!;
    if (next < last) throw new Error(`a value of a column of ${type} ends before it begins`);
    last = next;
  }
  if (last > size) throw shorter(type, 'content');
}

function shorter(type: DataType, what: string): Error {
  return new Error(`a column of ${type} has fewer ${what} than values`);
}
