/**
 * Text: whole files, paragraphs (between blank lines) or lines as documents. Lines of a document end in `\n`,
 * whatever the file has, and no blank lines stand at its ends; documents without text are passed over.
 *
 * In a range of bytes: a line belongs to the range that it begins in, a paragraph to the range that the blank line
 * before it begins in, so that nobody has to look back.
 */
import { isUtf8 } from 'node:buffer';
import type { Content } from '../sources/bytes.ts';
import type { SourceSettings } from '../sources/settings.ts';
import type { RawRecord, SourceUnit } from '../sources/unit.ts';
import { badEncoding, tooLong } from './bad.ts';
import { behindMark, isBlank, readLineBlocks } from './lines.ts';

const NEWLINE = 0x0a;
const RETURN = 0x0d;

export async function* readText(
  content: Content,
  unit: SourceUnit,
  settings: SourceSettings,
): AsyncGenerator<RawRecord[]> {
  const cutter = new DocumentCutter(content, unit, settings);
  for await (const block of readLineBlocks(content.chunks, content.offset, settings.max_document_bytes)) {
    const records = cutter.take(block.bytes, block.offset, block.end, block.cut);
    if (records.length > 0) yield records;
    if (cutter.done) return;
  }
  const last = cutter.finish();
  if (last.length > 0) yield last;
}

/** Cuts blocks of lines into documents. */
class DocumentCutter {
  readonly #content: Content;
  readonly #maxBytes: number;
  readonly #textUnit: SourceSettings['text_unit'];
  readonly #from: number;
  readonly #to: number;
  /** Lines before the current one. */
  #lines = 0;
  /** Whether lines count already: in a range, from its first line or blank line on. */
  #open: boolean;
  /** The range is behind us. */
  done = false;
  /** The document so far: where it began, its pieces of whole lines, and how long it is. */
  #line = 0;
  #pieces: Buffer[] = [];
  #length = 0;
  #end = 0;

  constructor(content: Content, unit: SourceUnit, settings: SourceSettings) {
    this.#content = content;
    this.#maxBytes = settings.max_document_bytes;
    this.#textUnit = settings.text_unit;
    this.#from = unit.start;
    this.#to = unit.end ?? Number.POSITIVE_INFINITY;
    this.#open = unit.start === 0;
  }

  take(bytes: Buffer, offset: number, end: number, cut: boolean): RawRecord[] {
    const records: RawRecord[] = [];
    const byLine = this.#textUnit === 'line';
    /** Where in `bytes` the part of the document begins that is not among its pieces; -1: it has none. */
    let pieceStart = this.#length > 0 ? 0 : -1;
    for (let start = 0; start < bytes.length; ) {
      const newline = bytes.indexOf(NEWLINE, start);
      const stop = newline < 0 ? bytes.length : newline;
      const next = stop < bytes.length ? stop + 1 : stop;
      const begin = offset + start;
      const first = begin === 0 ? behindMark(bytes) : start;
      if (byLine && begin >= this.#to) {
        this.done = true;
        return records;
      }
      this.#lines += 1;
      const blank = isBlank(bytes, first, stop);
      if (blank && this.#textUnit !== 'document') {
        if (pieceStart >= 0) {
          this.#add(bytes.subarray(pieceStart, start), offset + start);
          records.push(this.#document());
          pieceStart = -1;
        }
        if (begin >= this.#to) {
          this.done = true;
          return records;
        }
        this.#open ||= begin >= this.#from;
      } else if ((this.#open || (byLine && begin >= this.#from)) && !(blank && pieceStart < 0)) {
        if (pieceStart < 0) {
          pieceStart = first;
          this.#line = this.#from === 0 ? this.#lines : begin;
        }
        if (byLine) {
          this.#add(bytes.subarray(first, stop), cut ? end : offset + next, cut ? end - begin : stop - first);
          records.push(this.#document());
          pieceStart = -1;
        }
      }
      start = next;
    }
    if (pieceStart >= 0) {
      this.#add(bytes.subarray(pieceStart), end, cut ? end - offset - pieceStart : bytes.length - pieceStart);
    }
    return records;
  }

  /** The document that the content's end closes. */
  finish(): RawRecord[] {
    return this.#length > 0 ? [this.#document()] : [];
  }

  #add(piece: Buffer, end: number, length = piece.length): void {
    // What is too long anyway need not be kept: its beginning is enough to name it.
    if (this.#length <= this.#maxBytes) this.#pieces.push(piece);
    this.#length += length;
    this.#end = end;
  }

  #document(): RawRecord {
    const bytes = this.#pieces.length === 1 ? this.#pieces[0]! : Buffer.concat(this.#pieces);
    const record = { line: this.#line, end: this.#content.progress(this.#end) };
    const length = this.#length;
    this.#pieces = [];
    this.#length = 0;
    if (length > this.#maxBytes + 2) {
      return { ...record, bad: tooLong(bytes, length, ARTICLES[this.#textUnit]) };
    }
    if (!isUtf8(bytes)) return { ...record, bad: badEncoding(bytes) };
    return { ...record, text: withoutReturns(withoutBlankEnd(bytes)) };
  }
}

const ARTICLES = { document: 'a document', paragraph: 'a paragraph', line: 'a line' } as const;

/** Without blank lines at the end, nor the last line's break. */
function withoutBlankEnd(bytes: Buffer): Buffer {
  let end = bytes.length;
  for (;;) {
    const newline = end === 0 ? -1 : bytes.lastIndexOf(NEWLINE, end - 1);
    if (newline < 0 || !isBlank(bytes, newline + 1, end)) break;
    end = newline;
  }
  if (end > 0 && bytes[end - 1] === RETURN) end -= 1;
  return end === bytes.length ? bytes : bytes.subarray(0, end);
}

/** `\r\n` as `\n`. */
function withoutReturns(bytes: Buffer): Buffer {
  let at = bytes.indexOf('\r\n');
  if (at < 0) return bytes;
  const out = Buffer.allocUnsafeSlow(bytes.length);
  let length = 0;
  for (let from = 0; ; ) {
    const to = at < 0 ? bytes.length : at;
    length += bytes.copy(out, length, from, to);
    if (at < 0) return out.subarray(0, length);
    from = to + 1;
    at = bytes.indexOf('\r\n', from);
  }
}
