/**
 * Cuts the rows out of a stream of JSON by brackets, strings and commas alone; whether a row is valid JSON is left
 * to `JSON.parse`. Its state is three small numbers and the row so far, whatever the nesting.
 *
 * A file is values one after the other. The elements of a list at the top are rows. An object at the top is a row
 * itself unless a member that may hold rows is a list whose first element is an object: then these are the rows.
 */

export interface JsonPiece {
  /** The value as it stands; its beginning only where `length` is more. */
  bytes: Buffer;
  length: number;
  /** Where in the content it ends. */
  end: number;
}

/** What the bytes are part of. */
type Place = 'top' | 'list' | 'object' | 'colon' | 'member' | 'first';

const QUOTE = 0x22;
const BACKSLASH = 0x5c;
const COMMA = 0x2c;
const COLON = 0x3a;
const [OPEN_LIST, CLOSE_LIST, OPEN_OBJECT, CLOSE_OBJECT] = [0x5b, 0x5d, 0x7b, 0x7d];
const HEAD_BYTES = 1024;
const MAX_MEMBERS = 32;

export class JsonSplitter {
  readonly #isRows: (member: string) => boolean;
  readonly #maxBytes: number;
  #place: Place = 'top';
  /** Set when the content is no JSON, or not of a kind that holds rows. */
  problem: string | undefined;
  /** Members that held rows. */
  readonly rowLists: string[] = [];
  /** Names of the first members of objects at the top. */
  readonly members: string[] = [];
  /** Objects at the top. */
  objects = 0;
  /** Bytes before the current chunk. */
  #offset = 0;
  /** The value that is being gathered: brackets open, within a string, behind a backslash. */
  #gathering = false;
  #depth = 0;
  #inString = false;
  #escaped = false;
  #pieces: Buffer[] = [];
  #length = 0;
  /** What the value is: a row, the key of a member, or a member that is kept as part of its object. */
  #what: 'row' | 'key' | 'member' = 'row';
  /** Whether an element or member is due, as after a comma. */
  #due = false;
  /** The rows' list is a member of an object. */
  #inObject = false;
  #key: Buffer = Buffer.alloc(0);
  /** Text of the object at the top so far; undefined once it is known to hold the rows. */
  #object: Buffer[] | undefined;
  #objectBytes = 0;
  #rows: JsonPiece[] = [];

  constructor(isRows: (member: string) => boolean, maxBytes: number) {
    this.#isRows = isRows;
    this.#maxBytes = maxBytes;
  }

  /** The rows that end in the chunk. */
  take(chunk: Buffer): JsonPiece[] {
    let at = this.#offset === 0 && chunk[0] === 0xef && chunk[1] === 0xbb && chunk[2] === 0xbf ? 3 : 0;
    while (at < chunk.length && this.problem === undefined) {
      if (this.#gathering) {
        const stop = this.#endOfValue(chunk, at);
        this.#add(chunk.subarray(at, stop));
        at = stop;
        if (!this.#gathering) this.#value(this.#offset + at);
      } else {
        const byte = chunk[at]!;
        if (byte !== 0x20 && (byte < 0x09 || byte > 0x0d)) {
          // The byte that begins a value is part of it: it is looked at again.
          if (this.#between(byte, this.#offset + at + 1)) at += 1;
        } else {
          at += 1;
        }
      }
    }
    this.#offset += chunk.length;
    const rows = this.#rows;
    this.#rows = [];
    return rows;
  }

  /** The content ends. */
  finish(): void {
    // A number at the top ends with the file; anything else that is open is cut short.
    if (this.problem === undefined && (this.#gathering || this.#place !== 'top')) {
      this.problem = 'the file ends within a value: it is cut short';
    }
  }

  /** A byte between values; returns false where it begins a value. */
  #between(byte: number, end: number): boolean {
    switch (this.#place) {
      case 'top':
        if (byte === COMMA) return this.#wrong(byte);
        if (byte === OPEN_LIST) return this.#enter('list', false);
        if (byte !== OPEN_OBJECT) return this.#wrong(byte);
        this.#object = [];
        this.#objectBytes = 0;
        this.objects += 1;
        this.#due = true;
        this.#place = 'object';
        return true;
      case 'list':
        if (byte === CLOSE_LIST) {
          this.#place = this.#inObject ? 'object' : 'top';
          this.#due = false;
          return true;
        }
        return this.#element(byte, 'row');
      case 'object':
        if (byte === CLOSE_OBJECT) {
          this.#closeObject(end);
          return true;
        }
        if (byte !== QUOTE && byte !== COMMA) return this.#wrong(byte);
        return this.#element(byte, 'key');
      case 'colon':
        if (byte !== COLON) return this.#wrong(byte);
        this.#place = 'member';
        return true;
      case 'member':
        if (byte === OPEN_LIST && this.#isRows(this.#keyName())) {
          this.#place = 'first';
          return true;
        }
        return this.#begin('member');
      case 'first':
        // A list of objects has the rows; any other list is a member like others.
        if (byte === OPEN_OBJECT) {
          this.rowLists.push(this.#keyName());
          this.#object = undefined;
          this.#enter('list', true);
          // Rows of a second list are not gathered: the reader refuses them by the names.
          return false;
        }
        this.#place = 'member';
        this.#begin('member');
        this.#depth = 1;
        this.#pieces.push(Buffer.from('['));
        this.#length = 1;
        return false;
    }
  }

  #enter(place: Place, inObject: boolean): true {
    this.#place = place;
    this.#inObject = inObject;
    this.#due = true;
    return true;
  }

  /** A comma, or the first byte of an element. */
  #element(byte: number, what: 'row' | 'key'): boolean {
    if (byte === COMMA) {
      if (this.#due) return this.#wrong(byte);
      this.#due = true;
      return true;
    }
    if (!this.#due || byte === COLON || byte === CLOSE_LIST || byte === CLOSE_OBJECT) {
      return this.#wrong(byte);
    }
    return this.#begin(what);
  }

  #begin(what: 'row' | 'key' | 'member'): false {
    this.#what = what;
    this.#gathering = true;
    this.#depth = 0;
    this.#inString = false;
    this.#escaped = false;
    return false;
  }

  #wrong(byte: number): true {
    const shown = byte >= 0x20 && byte < 0x7f ? String.fromCharCode(byte) : `byte 0x${byte.toString(16)}`;
    this.problem = `there is a \`${shown}\` where none can be`;
    return true;
  }

  /** Behind the value that is being gathered, or the chunk's end. */
  #endOfValue(chunk: Buffer, from: number): number {
    let depth = this.#depth;
    let inString = this.#inString;
    let escaped = this.#escaped;
    let at = from;
    let done = false;
    while (at < chunk.length) {
      const byte = chunk[at]!;
      if (inString) {
        if (escaped) escaped = false;
        else if (byte === BACKSLASH) escaped = true;
        else if (byte === QUOTE) {
          inString = false;
          done = depth === 0;
        }
      } else if (byte === QUOTE) {
        inString = true;
      } else if (byte === OPEN_OBJECT || byte === OPEN_LIST) {
        depth += 1;
      } else if (byte === CLOSE_OBJECT || byte === CLOSE_LIST) {
        // Of what holds a number or word that ends here.
        if (depth === 0) {
          this.#gathering = false;
          break;
        }
        depth -= 1;
        done = depth === 0;
      } else if (depth === 0 && (byte === COMMA || byte <= 0x20) && at + this.#length > from) {
        this.#gathering = false;
        break;
      }
      at += 1;
      if (done) {
        this.#gathering = false;
        break;
      }
    }
    this.#depth = depth;
    this.#inString = inString;
    this.#escaped = escaped;
    return at;
  }

  #add(piece: Buffer): void {
    if (this.#length <= this.#maxBytes) this.#pieces.push(piece);
    this.#length += piece.length;
    if (this.#length > this.#maxBytes && this.#pieces.length > 1) {
      this.#pieces = [Buffer.concat(this.#pieces).subarray(0, HEAD_BYTES)];
    }
  }

  /** The gathered value is complete. */
  #value(end: number): void {
    const bytes = this.#pieces.length === 1 ? this.#pieces[0]! : Buffer.concat(this.#pieces);
    const length = this.#length;
    this.#pieces = [];
    this.#length = 0;
    this.#due = false;
    if (this.#what === 'row') {
      if (this.rowLists.length <= 1) this.#rows.push({ bytes, length, end });
    } else if (this.#what === 'key') {
      this.#key = bytes;
      this.#place = 'colon';
      if (this.members.length < MAX_MEMBERS) this.members.push(this.#keyName());
    } else {
      this.#place = 'object';
      this.#member(bytes, length);
    }
  }

  /** A member that is no list of rows: part of a row, if its object turns out to be one. */
  #member(bytes: Buffer, length: number): void {
    if (this.#object === undefined) return;
    this.#objectBytes += this.#key.length + length + 2;
    if (this.#objectBytes <= this.#maxBytes || this.#object.length === 0) {
      this.#object.push(Buffer.concat([this.#key, Buffer.from(':'), bytes]));
    }
  }

  #closeObject(end: number): void {
    this.#place = 'top';
    if (this.#object === undefined) return;
    const commas = this.#object.flatMap((member, i) => (i === 0 ? [member] : [Buffer.from(','), member]));
    const bytes = Buffer.concat([Buffer.from('{'), ...commas, Buffer.from('}')]);
    this.#rows.push({ bytes, length: Math.max(bytes.length, this.#objectBytes), end });
    this.#object = undefined;
  }

  #keyName(): string {
    try {
      return String(JSON.parse(this.#key.toString()));
    } catch {
      return this.#key.toString();
    }
  }
}
