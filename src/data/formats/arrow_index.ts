/**
 * Where the record batches of Arrow content lie, so that any run of them can be read without the others: in a file by
 * its index (File.fbs of the format), which is what other readers go by; in a stream by the lengths that its messages
 * give, without reading their bodies.
 */
import type { RandomAccess } from '../sources/bytes.ts';
import type { SourceUnit } from '../sources/unit.ts';
import { checkMessage, KINDS, type MessageKind } from './arrow_check.ts';
import { damagedContainer, requireContent } from './damaged.ts';
import { Table } from './flatbuffer.ts';

/** Files begin and end with it. */
const ARROW_MARK = 'ARROW1';
/** Files of the format before it. */
const FEATHER_V1_MARK = 'FEA1';
/** Precedes the length of a message, but for content of before 2019. */
const CONTINUATION = -1;
export const END_OF_STREAM = Buffer.from(Int32Array.of(CONTINUATION, 0).buffer);
export const ARROW_KIND = 'Arrow file';
/** Of a stream that has bytes behind its end, such as those of another one: readers elsewhere stop there. */
const GOES_ON = 'bytes follow the end of its stream; streams are not joined end to end';

/** A message with its body. */
export interface Message {
  kind: MessageKind;
  start: number;
  end: number;
  /** Of a batch. */
  rows: number;
}

interface ArrowIndex {
  /** The message that a stream of these columns begins with. */
  schema: Buffer;
  /** Dictionaries and batches; whatever a batch refers to lies before it. */
  messages: readonly Message[];
}

/** A file begins with the mark, filled up to eight bytes, and ends with the index's length and the mark. */
const HEAD_BYTES = 8;
const END_BYTES = 4 + ARROW_MARK.length;
/** A stream ends at the mark of a message and a length of 0, or with the content. */
const STREAM_END_BYTES = 8;
/** Offset, length of the metadata, and length of the body, each in eight bytes. */
const BLOCK_BYTES = 24;

/** Of what was read last: all units of a file go by one. */
let kept: { key: string; index: ArrowIndex } | undefined;

/** The index of a unit's content, which is checked: what does not lie in the content is an error. */
export async function arrowIndex(file: RandomAccess, unit: SourceUnit): Promise<ArrowIndex> {
  const key = JSON.stringify([unit.path, unit.location, unit.file]);
  if (kept?.key !== key) {
    requireContent(file, ARROW_KIND);
    try {
      kept = { key, index: await readIndex(file) };
    } catch (error) {
      throw damagedContainer(error, unit.location, ARROW_KIND);
    }
  }
  return kept.index;
}

async function readIndex(file: RandomAccess): Promise<ArrowIndex> {
  const messages = new Messages(file);
  const head = await file.read(0, Math.min(HEAD_BYTES, file.size));
  const marked = (mark: string) => head.toString('latin1', 0, mark.length) === mark;
  if (marked(ARROW_MARK)) return indexOfFile(file, messages);
  if (marked(FEATHER_V1_MARK)) throw new Error('Feather V1');
  const first = await messages.at(0);
  if (first?.kind !== 'schema') throw new Error('it has no schema');
  const schema = await file.read(0, first.end);
  const found: Message[] = [];
  for (let at = first.end; ; at = found.at(-1)!.end) {
    const message = await messages.at(at);
    if (message === undefined) {
      if (file.size - at > STREAM_END_BYTES) throw new Error(GOES_ON);
      return { schema, messages: found };
    }
    found.push(message);
  }
}

async function indexOfFile(file: RandomAccess, messages: Messages): Promise<ArrowIndex> {
  const end = file.size - END_BYTES;
  const tail = end < HEAD_BYTES ? Buffer.alloc(END_BYTES) : await file.read(end, file.size);
  if (tail.toString('latin1', 4) !== ARROW_MARK) throw new Error('its last bytes are missing');
  const length = tail.readInt32LE(0);
  if (length <= 0 || length > end - HEAD_BYTES) throw new Error(`its index says it has ${length} bytes`);
  const index = await file.read(end - length, end);
  const footer = Table.root(index);
  const listed = async (field: number, kind: MessageKind): Promise<Message[]> => {
    const found: Message[] = [];
    for (const block of footer.structs(field, BLOCK_BYTES)) {
      const start = Number(block.getBigInt64(0, true));
      const bytes = block.getInt32(8, true) + Number(block.getBigInt64(16, true));
      const inside = start >= HEAD_BYTES && bytes > 0 && start + bytes <= end - length;
      const message = inside ? await messages.at(start) : undefined;
      if (message?.kind !== kind || message.end !== start + bytes) {
        throw new Error(`its index says that there is a ${kind} of ${bytes} bytes at byte ${start}`);
      }
      found.push(message);
    }
    return found;
  };
  const dictionaries = await listed(2, 'dictionary');
  return { schema: schemaOf(index, footer), messages: [...dictionaries, ...(await listed(3, 'batch'))] };
}

/**
 * The schema of a file's index as the message of a stream. Files have that message as well, but those of the Arrow
 * library for JavaScript, which leaves it out. References in FlatBuffers are distances, so the index stands in it as it is, behind
 * a table (Message.fbs) that refers to its schema.
 */
function schemaOf(index: Buffer, footer: Table): Buffer {
  const schema = footer.table(1);
  if (schema === undefined) throw new Error('it has no schema');
  const [vtable, table, header, body] = [4, 16, 20, 32];
  const metadata = Buffer.alloc(body + Math.ceil(index.length / 8) * 8);
  metadata.writeUInt32LE(table, 0);
  // Its own bytes, those of the table, and where in that each field lies: version, type of the header, header.
  for (const [i, value] of [10, 12, 8, 10, header - table].entries())
    metadata.writeUInt16LE(value, vtable + 2 * i);
  metadata.writeInt32LE(table - vtable, table);
  metadata.writeUInt32LE(body + schema.at - header, header);
  metadata.writeUInt16LE(footer.byte(0), table + 8);
  metadata.writeUInt8(KINDS.indexOf('schema'), table + 10);
  index.copy(metadata, body);
  checkMessage(metadata);
  return Buffer.concat([Buffer.from(Int32Array.of(CONTINUATION, metadata.length).buffer), metadata]);
}

/** Metadata are small and often close together: they are read a few thousand bytes at a time. */
const WINDOW_BYTES = 4096;

/** The messages of content, by the bytes that they begin at. */
class Messages {
  readonly #file: RandomAccess;
  #window: Buffer = Buffer.alloc(0);
  #windowStart = 0;

  constructor(file: RandomAccess) {
    this.#file = file;
  }

  /** Undefined where there is none: at the end of the content, or at a length of 0, which ends a stream. */
  async at(start: number): Promise<Message | undefined> {
    let at = start;
    if (at === this.#file.size) return undefined;
    let length = (await this.#read(at, 4)).readInt32LE(0);
    if (length === CONTINUATION) {
      at += 4;
      length = (await this.#read(at, 4)).readInt32LE(0);
    }
    if (length === 0) return undefined;
    if (length < 0) throw new Error(`a message has ${length} bytes`);
    const { kind, body, rows } = checkMessage(await this.#read(at + 4, length));
    const end = at + 4 + length + body;
    if (end > this.#file.size) throw new Error('it ends within a message');
    return { kind, start, end, rows };
  }

  async #read(start: number, length: number): Promise<Buffer> {
    const end = start + length;
    if (end > this.#file.size) throw new Error('it ends within a message');
    if (start < this.#windowStart || end > this.#windowStart + this.#window.length) {
      this.#window = await this.#file.read(
        start,
        Math.min(this.#file.size, Math.max(end, start + WINDOW_BYTES)),
      );
      this.#windowStart = start;
    }
    return this.#window.subarray(start - this.#windowStart, end - this.#windowStart);
  }
}
