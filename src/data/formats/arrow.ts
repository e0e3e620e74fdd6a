/**
 * Arrow IPC, files and streams, one record batch at a time. Content that is at hand in any order is cut into runs of
 * batches. A file is a stream between two marks with an index behind it, so what is compressed as a whole, or comes
 * out of an archive, is read from front to back.
 */
import { zstdDecompressSync } from 'node:zlib';
import {
  CompressionType,
  compressionRegistry,
  DataType,
  type RecordBatch,
  RecordBatchReader,
  type Vector,
} from 'apache-arrow';
import { ByteReader } from '../sources/byte_reader.ts';
import type { Content, RandomAccess } from '../sources/bytes.ts';
import { FREE_BYTES } from '../sources/compression.ts';
import { type Range, rangesOf } from '../sources/ranges.ts';
import type { SourceSettings } from '../sources/settings.ts';
import type { Fields, RawRecord, SourceUnit } from '../sources/unit.ts';
import { checkColumn, checkMessage } from './arrow_check.ts';
import { ARROW_KIND, ARROW_MARK, arrowIndex, CONTINUATION, GOES_ON } from './arrow_index.ts';
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

/** The batches of a unit, of content that is at hand in any order. */
export async function* readArrowBatches(
  file: RandomAccess,
  unit: SourceUnit,
  settings: SourceSettings,
): AsyncGenerator<RawRecord[]> {
  const { schema, messages } = await arrowIndex(file, unit);
  const wanted = [schema];
  let batch = 0;
  let rowsBefore = 0;
  for (const message of messages) {
    if (batch === unit.end) break;
    // Batches refer to the dictionaries before them, wherever these are.
    if (message.kind !== 'batch') wanted.push(message);
    else if (batch++ >= unit.start) wanted.push(message);
    else rowsBefore += message.rows;
  }
  let others = 0;
  for (const { kind, start, end } of wanted) others += kind === 'batch' ? 0 : end - start;
  const chunks = async function* () {
    for (const { start, end } of wanted) yield* file.chunks(start, end);
  };
  const progress = (end: number) => Math.max(0, Math.min(unit.bytes, end - others));
  yield* readArrow({ chunks: chunks(), offset: 0, progress }, unit, settings, rowsBefore);
}

/** Content from front to back; `rowsBefore` were left out of it. */
export async function* readArrow(
  content: Content,
  unit: SourceUnit,
  _settings: SourceSettings,
  rowsBefore = 0,
): AsyncGenerator<RawRecord[]> {
  const stream = new MarkedStream(content.chunks);
  let line = rowsBefore;
  try {
    const reader = await RecordBatchReader.from(stream.messages());
    await reader.open();
    for await (const batch of reader) {
      checkColumn(batch.data);
      if (batch.numRows > MAX_EMPTY_ROWS + 8 * batch.data.byteLength) {
        throw new Error(`a batch without values says it has ${batch.numRows} rows`);
      }
      const end = content.progress(stream.position);
      for (let at = 0; at < batch.numRows; at += GROUP_ROWS) {
        const records: RawRecord[] = [];
        for (let i = at; i < Math.min(batch.numRows, at + GROUP_ROWS); i++) {
          line += 1;
          records.push({ line, end, fields: rowOf(batch, i) });
        }
        yield records;
      }
    }
    await stream.finish();
  } catch (error) {
    throw damagedContainer(error, unit.location, ARROW_KIND);
  }
}

/** The messages of a stream or file, without the file's first mark; whether its last one is there is checked. */
class MarkedStream {
  readonly #chunks: AsyncIterator<Buffer>;
  #isFile = false;
  #tail = '';
  position = 0;

  constructor(chunks: AsyncIterable<Buffer>) {
    this.#chunks = chunks[Symbol.asyncIterator]();
  }

  /** The messages' bytes; metadata come once they were checked. */
  async *messages(): AsyncGenerator<Buffer> {
    const reader = new ByteReader(this.#unmarked());
    for (;;) {
      let prefix = await reader.take(4);
      if (prefix.length === 4 && prefix.readInt32LE(0) === CONTINUATION) {
        yield prefix;
        prefix = await reader.take(4);
      }
      const length = prefix.length < 4 ? 0 : prefix.readInt32LE(0);
      // What follows the last message is the index of a file; of a stream, nothing.
      const ends = length === 0 && !this.#isFile;
      if (ends && (await reader.some(1)).length > 0) throw new Error(GOES_ON);
      yield prefix;
      if (length === 0) return;
      if (length < 0) throw new Error(`a message has ${length} bytes`);
      const metadata = await reader.take(length);
      if (metadata.length < length) throw new Error('it ends within a message');
      let left = checkMessage(metadata).body;
      yield metadata;
      while (left > 0) {
        const piece = await reader.some(left);
        if (piece.length === 0) throw new Error('it ends within a message');
        yield piece;
        left -= piece.length;
      }
    }
  }

  async *#unmarked(): AsyncGenerator<Buffer> {
    let head = Buffer.alloc(0);
    while (head.length < 8) {
      const chunk = await this.#next();
      if (chunk === undefined) break;
      head = Buffer.concat([head, chunk]);
    }
    if (head.length < 8) throw new Error('it has no schema');
    this.#isFile = head.toString('latin1', 0, ARROW_MARK.length) === ARROW_MARK;
    yield this.#isFile ? head.subarray(8) : head;
    for (let chunk = await this.#next(); chunk !== undefined; chunk = await this.#next()) yield chunk;
  }

  /** Reads to the end, as the last batch need not be the last of the file. */
  async finish(): Promise<void> {
    while ((await this.#next()) !== undefined);
    if (this.#isFile && !this.#tail.endsWith(ARROW_MARK)) throw new Error('its last bytes are missing');
  }

  async #next(): Promise<Buffer | undefined> {
    const { value, done } = await this.#chunks.next();
    if (done) return undefined;
    this.position += value.length;
    this.#tail = (this.#tail + value.toString('latin1', Math.max(0, value.length - ARROW_MARK.length))).slice(
      -ARROW_MARK.length,
    );
    return value;
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
