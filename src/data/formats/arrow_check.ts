/**
 * What the Arrow library believes without looking: how long the lists of a message's metadata are, and that a batch's
 * buffers hold what its columns refer to. In a damaged file both can stand for any number, and the library would count
 * up to it.
 *
 * Metadata are FlatBuffers (Message.fbs and Schema.fbs of the Arrow format): a table begins with the distance back to
 * its vtable, which says where in the table each field lies; lists and tables are referred to by distances forward.
 */
import { type Data, DataType } from 'apache-arrow';

const MAX_DEPTH = 64;
const MAX_TABLES = 1 << 20;
/** More values of a column in one batch are no data of ours. */
const MAX_VALUES = 1 << 26;
const HEADER = { schema: 1, dictionary: 2, batch: 3 };
const UNION_TYPE = 14;

interface Metadata {
  view: DataView;
  tables: number;
}

class Table {
  readonly #of: Metadata;
  readonly #at: number;

  private constructor(of: Metadata, at: number) {
    if (++of.tables > MAX_TABLES) throw new Error('its metadata have too many parts');
    this.#of = of;
    this.#at = at;
  }

  static root(bytes: Uint8Array): Table {
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    return new Table({ view, tables: 0 }, view.getUint32(0, true));
  }

  /** Where field `i` lies; undefined where it is left out. */
  #field(i: number): number | undefined {
    const { view } = this.#of;
    const vtable = this.#at - view.getInt32(this.#at, true);
    const place = 4 + 2 * i;
    // The library reads them as signed numbers.
    const offset = place < view.getInt16(vtable, true) ? view.getInt16(vtable + place, true) : 0;
    if (offset < 0) throw new Error('a field of its metadata lies before them');
    return offset === 0 ? undefined : this.#at + offset;
  }

  byte(i: number): number {
    const at = this.#field(i);
    return at === undefined ? 0 : this.#of.view.getUint8(at);
  }

  long(i: number): bigint {
    const at = this.#field(i);
    return at === undefined ? 0n : this.#of.view.getBigInt64(at, true);
  }

  table(i: number): Table | undefined {
    const at = this.#field(i);
    return at === undefined ? undefined : new Table(this.#of, at + this.#of.view.getUint32(at, true));
  }

  /** Where the elements of a list begin, and how many there are: all of them in the metadata. */
  list(i: number, elementBytes: number): { at: number; length: number } {
    const { view } = this.#of;
    const field = this.#field(i);
    if (field === undefined) return { at: 0, length: 0 };
    const at = field + view.getUint32(field, true) + 4;
    const length = view.getUint32(at - 4, true);
    if (at + length * elementBytes > view.byteLength) throw new Error('a list leads out of its metadata');
    return { at, length };
  }

  longs(i: number): bigint[] {
    const { at, length } = this.list(i, 8);
    return Array.from({ length }, (_, k) => this.#of.view.getBigInt64(at + 8 * k, true));
  }

  *tables(i: number): Generator<Table> {
    const { at, length } = this.list(i, 4);
    for (let k = 0; k < length; k++) {
      const place = at + 4 * k;
      yield new Table(this.#of, place + this.#of.view.getUint32(place, true));
    }
  }
}

/** Throws where a message's metadata lead out of themselves; returns the bytes of its body. */
export function checkMessage(metadata: Uint8Array): number {
  const message = Table.root(metadata);
  const header = message.table(2);
  const kind = message.byte(1);
  const hasBody = kind === HEADER.batch || kind === HEADER.dictionary;
  if (kind === HEADER.schema && header !== undefined) {
    for (const field of header.tables(1)) checkField(field, 0);
    header.list(2, 4);
    header.list(3, 8);
  } else if (hasBody) {
    checkBatchHeader(kind === HEADER.dictionary ? header?.table(1) : header);
  }
  message.list(4, 4);
  const body = message.long(3);
  // The library takes what follows other messages for the next one.
  if (body < 0n || body > BigInt(Number.MAX_SAFE_INTEGER) || (body > 0n && !hasBody)) {
    throw new Error(`a message says it has a body of ${body} bytes`);
  }
  return Number(body);
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
