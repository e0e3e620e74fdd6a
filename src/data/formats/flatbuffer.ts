/**
 * FlatBuffers, as the metadata of Arrow have them (Message.fbs, File.fbs and Schema.fbs of the format): a table begins
 * with the distance back to its vtable, which says where in the table each field lies; lists and tables are referred to
 * by distances forward. Any of them may be damaged: what leads out of the bytes is an error.
 */

const MAX_TABLES = 1 << 20;

interface Metadata {
  view: DataView;
  tables: number;
}

export class Table {
  readonly #of: Metadata;
  /** Byte of the metadata that it begins at. */
  readonly at: number;

  private constructor(of: Metadata, at: number) {
    if (++of.tables > MAX_TABLES) throw new Error('its metadata have too many parts');
    this.#of = of;
    this.at = at;
  }

  static root(bytes: Uint8Array): Table {
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    return new Table({ view, tables: 0 }, view.getUint32(0, true));
  }

  /** Where field `i` lies; undefined where it is left out. */
  #field(i: number): number | undefined {
    const { view } = this.#of;
    const vtable = this.at - view.getInt32(this.at, true);
    const place = 4 + 2 * i;
    // The library reads them as signed numbers.
    const offset = place < view.getInt16(vtable, true) ? view.getInt16(vtable + place, true) : 0;
    if (offset < 0) throw new Error('a field of its metadata lies before them');
    return offset === 0 ? undefined : this.at + offset;
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

  /** The elements of a list of structs. */
  *structs(i: number, bytes: number): Generator<DataView> {
    const { at, length } = this.list(i, bytes);
    const { buffer, byteOffset } = this.#of.view;
    for (let k = 0; k < length; k++) yield new DataView(buffer, byteOffset + at + bytes * k, bytes);
  }

  *tables(i: number): Generator<Table> {
    const { at, length } = this.list(i, 4);
    for (let k = 0; k < length; k++) {
      const place = at + 4 * k;
      yield new Table(this.#of, place + this.#of.view.getUint32(place, true));
    }
  }
}
