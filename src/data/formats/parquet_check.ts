/**
 * What the Parquet library believes without looking: that a page's header says how many bytes and values the page has.
 * Where it does not, the library reads on from nowhere, without end.
 *
 * A column chunk is pages end to end, each behind its header: a Thrift struct in the compact protocol (PageHeader of
 * parquet.thrift). A field of a struct is a byte, whose upper half says how far its number is from the last one's and
 * whose lower half its type, and the value; a zero byte ends the struct.
 */

/** Fields by their numbers; only numbers of up to 32 bits and structs are kept as values. */
type Struct = Map<number, number | Struct | undefined>;

const STOP = 0;
const TYPES = { true: 1, false: 2, i8: 3, i16: 4, i32: 5, i64: 6, double: 7, binary: 8, list: 9, struct: 12 };
const PAGE_TYPE = 1;
const PAGE_BYTES = 3;
/** The headers of data, of dictionaries and of data of the second version, and their fields that count something. */
const COUNTS = new Map([
  [5, [1]],
  [7, [1]],
  [8, [1, 2, 3, 5, 6]],
]);

/** Throws where a page of the column chunk does not say its size. */
export function checkPages(chunk: DataView): void {
  const headers = new HeaderReader(chunk);
  // A last byte is no page to the library.
  while (headers.at < chunk.byteLength - 1) {
    const header = headers.struct();
    if (!header.has(PAGE_TYPE)) return; // no page: the library says so, if it gets here
    headers.at += count(header, PAGE_BYTES);
    for (const [number, fields] of COUNTS) {
      if (header.has(number)) for (const field of fields) count(header.get(number), field);
    }
  }
}

function count(struct: Struct | number | undefined, field: number): number {
  const value = struct instanceof Map ? struct.get(field) : undefined;
  if (typeof value !== 'number' || value < 0) throw new Error('a page does not say its size');
  return value;
}

class HeaderReader {
  readonly #view: DataView;
  at = 0;

  constructor(view: DataView) {
    this.#view = view;
  }

  struct(): Struct {
    const fields: Struct = new Map();
    let number = 0;
    for (let byte = this.#byte(); (byte & 0x0f) !== STOP; byte = this.#byte()) {
      number = byte >> 4 === 0 ? this.#integer() : number + (byte >> 4);
      fields.set(number, this.#value(byte & 0x0f));
    }
    return fields;
  }

  #value(type: number): number | Struct | undefined {
    switch (type) {
      case TYPES.true:
      case TYPES.false:
        return undefined;
      case TYPES.i8:
        return this.#byte();
      case TYPES.i16:
      case TYPES.i32:
        return this.#integer();
      case TYPES.i64:
        this.#varint();
        return undefined;
      case TYPES.double:
        this.at += 8;
        return undefined;
      case TYPES.binary:
        this.#skip(this.#varint());
        return undefined;
      case TYPES.list:
        this.#list();
        return undefined;
      case TYPES.struct:
        return this.struct();
      default:
        throw new Error(`a page header has a field of type ${type}`);
    }
  }

  #list(): void {
    const head = this.#byte();
    const type = head & 0x0f;
    const length = head >> 4 === 15 ? this.#varint() : head >> 4;
    // Truth values are a byte each here.
    const element = type === TYPES.true || type === TYPES.false ? TYPES.i8 : type;
    for (let i = 0; i < length; i++) this.#value(element);
  }

  #skip(bytes: number): void {
    if (bytes < 0) throw new Error('a page header has a text of no length');
    this.at += bytes;
  }

  #byte(): number {
    return this.#view.getUint8(this.at++);
  }

  /** Signs are in the lowest bit: 0, -1, 1, -2, ... */
  #integer(): number {
    const value = this.#varint();
    return (value >>> 1) ^ -(value & 1);
  }

  /** Its lower 32 bits. */
  #varint(): number {
    let value = 0;
    for (let shift = 0; ; shift += 7) {
      const byte = this.#byte();
      if (shift < 32) value |= (byte & 0x7f) << shift;
      if (byte < 0x80) return value;
    }
  }
}
