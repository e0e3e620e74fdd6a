/** Arrow IPC, files and streams, one record batch at a time: the library is given a stream of those that are wanted. */
import { zstdDecompressSync } from 'node:zlib';
import {
  CompressionType,
  compressionRegistry,
  DataType,
  type RecordBatch,
  RecordBatchReader,
  type Vector,
} from 'apache-arrow';
import type { RandomAccess } from '../sources/bytes.ts';
import { FREE_BYTES } from '../sources/compression.ts';
import { type Range, rangesOf } from '../sources/ranges.ts';
import type { SourceSettings } from '../sources/settings.ts';
import type { Fields, RawRecord, SourceUnit } from '../sources/unit.ts';
import { checkColumn } from './arrow_check.ts';
import { ARROW_KIND, arrowIndex, END_OF_STREAM, type Message } from './arrow_index.ts';
import { damagedContainer } from './damaged.ts';
import { decodeLz4Frame } from './lz4.ts';
import { plainValue } from './plain_values.ts';

const GROUP_ROWS = 1024;
/** A batch of nulls, or of no columns, takes no bytes: it may say that it has any number of rows. */
const MAX_EMPTY_ROWS = 1 << 20;
const MAX_BUFFER_EXPANSION = 1000;
/** Values of one row, so that lists whose borders are damaged do not fill the memory. */
const MAX_ROW_VALUES = 1 << 24;

compressionRegistry.set(CompressionType.LZ4_FRAME, { decode: decodeLz4Frame });
compressionRegistry.set(CompressionType.ZSTD, {
  decode: (input) =>
    zstdDecompressSync(input, { maxOutputLength: Math.max(FREE_BYTES, input.length * MAX_BUFFER_EXPANSION) }),
});

/** Runs of record batches of about `unitBytes`: where each begins and ends, and its bytes. */
export async function arrowRanges(file: RandomAccess, unit: SourceUnit, unitBytes: number): Promise<Range[]> {
  const { messages } = await arrowIndex(file, unit);
  const batches = messages.filter(({ kind }) => kind === 'batch');
  return rangesOf(
    batches.map(({ start, end }) => end - start),
    unitBytes,
  );
}

/** The batches of a unit, with the dictionaries that lie before them. */
export async function* readArrow(
  file: RandomAccess,
  unit: SourceUnit,
  _settings: SourceSettings,
): AsyncGenerator<RawRecord[]> {
  const { schema, messages } = await arrowIndex(file, unit);
  const wanted: Message[] = [];
  let batches = 0;
  let line = 0;
  for (const message of messages) {
    if (batches === unit.end) break;
    // Batches refer to the dictionaries before them, wherever these are.
    if (message.kind !== 'batch') wanted.push(message);
    else if (batches++ >= unit.start) wanted.push(message);
    else line += message.rows;
  }
  let read = 0;
  const stream = async function* () {
    yield schema;
    for (const { kind, start, end } of wanted) {
      yield* file.chunks(start, end);
      if (kind === 'batch') read += end - start;
    }
    yield END_OF_STREAM;
  };
  try {
    const reader = await RecordBatchReader.from(stream());
    await reader.open();
    for await (const batch of reader) {
      checkColumn(batch.data);
      if (batch.numRows > MAX_EMPTY_ROWS + 8 * batch.data.byteLength) {
        throw new Error(`a batch without values says it has ${batch.numRows} rows`);
      }
      const end = Math.min(unit.bytes, read);
      for (let at = 0; at < batch.numRows; at += GROUP_ROWS) {
        const records: RawRecord[] = [];
        for (let i = at; i < Math.min(batch.numRows, at + GROUP_ROWS); i++) {
          line += 1;
          records.push({ line, end, fields: rowOf(batch, i) });
        }
        yield records;
      }
    }
  } catch (error) {
    throw damagedContainer(error, unit.location, ARROW_KIND);
  }
}

function rowOf(batch: RecordBatch, row: number): Fields {
  const fields: Fields = {};
  const budget = { left: MAX_ROW_VALUES };
  for (const [i, { name }] of batch.schema.fields.entries()) {
    const column = batch.getChildAt(i);
    fields[name] = column === null ? null : cellOf(column, row, budget);
  }
  return fields;
}

/** A value by its type; lists and structs are views of further columns. */
function cellOf(column: Vector, row: number, budget: { left: number }): unknown {
  if (--budget.left < 0) throw new Error('a row has too many values');
  const { type } = column;
  const value: unknown = column.get(row);
  if (value === null || value === undefined) return null;
  if (DataType.isList(type) || DataType.isFixedSizeList(type)) {
    const items = value as Vector;
    if (items.length > budget.left) throw new Error('a list has too many values');
    return Array.from({ length: items.length }, (_, i) => cellOf(items, i, budget));
  }
  if (DataType.isStruct(type)) {
    const { children } = type;
    return Object.fromEntries(
      children.map(({ name }, i) => {
        const child = column.getChildAt(i);
        return [name, child === null ? null : cellOf(child, row, budget)];
      }),
    );
  }
  if (DataType.isMap(type)) return plainValue(new Map(value as Iterable<[unknown, unknown]>));
  if (DataType.isTimestamp(type) || DataType.isDate(type)) return plainValue(new Date(Number(value)));
  if (DataType.isDecimal(type)) return decimalOf(BigInt(String(value)), type.scale);
  return plainValue(value);
}

/** An integer that stands for so many of 10^-`scale`: a number where its digits are exact, else text. */
function decimalOf(unscaled: bigint, scale: number): number | string {
  const digits = String(unscaled < 0n ? -unscaled : unscaled).padStart(scale + 1, '0');
  const point = digits.length - Math.max(0, scale);
  const fraction = scale > 0 ? `.${digits.slice(point)}` : '0'.repeat(-scale);
  const text = `${unscaled < 0n ? '-' : ''}${digits.slice(0, point)}${fraction}`;
  return Number.isSafeInteger(Number(unscaled)) ? Number(text) : text;
}
