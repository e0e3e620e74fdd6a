/**
 * Text on a terminal: how many columns it takes, cutting and padding by columns, colours. A column is a cell of
 * the terminal: wide characters (CJK, emoji) take two, combining marks none. Styles are SGR sequences, which
 * take no columns; text from models and data goes through `clean` first, so that it cannot send any itself.
 */
import { stripVTControlCharacters } from 'node:util';

// Made when first needed: most output is plain ASCII, and this takes milliseconds.
let segmenter: Intl.Segmenter | undefined;
function graphemesOf(text: string): Intl.Segments {
  segmenter ??= new Intl.Segmenter(undefined, { granularity: 'grapheme' });
  return segmenter.segment(text);
}

const zeroWidth = /^[\p{Mn}\p{Me}\p{Cf}\p{Cc}]+$/u;
// East Asian Wide and Fullwidth blocks, and what terminals draw as emoji.
const wide =
  /^(?:[\u1100-\u115f\u2e80-\u303e\u3041-\u33ff\u3400-\u4dbf\u4e00-\u9fff\ua000-\ua4cf\ua960-\ua97f\uac00-\ud7a3\uf900-\ufaff\ufe30-\ufe6f\uff00-\uff60\uffe0-\uffe6\u{1b000}-\u{1b2ff}\u{20000}-\u{3fffd}]|\p{Emoji_Presentation}|\p{Emoji}\ufe0f)/u;
const plainAscii = /^[\x20-\x7e]*$/;
// An SGR sequence, or the text up to the next one.
// biome-ignore lint/suspicious/noControlCharactersInRegex: the escape character is what is looked for
const pieces = /\x1b\[[0-9;]*m|[^\x1b]+/g;

function graphemeWidth(grapheme: string): number {
  if (zeroWidth.test(grapheme)) return 0;
  return wide.test(grapheme) ? 2 : 1;
}

/** Columns that the text takes, styles not counted. */
export function displayWidth(text: string): number {
  const bare = text.includes('\x1b') ? stripVTControlCharacters(text) : text;
  if (plainAscii.test(bare)) return bare.length;
  let width = 0;
  for (const { segment } of graphemesOf(bare)) width += graphemeWidth(segment);
  return width;
}

/** The text cut to at most `width` columns, with an ellipsis where something was cut; styles stay closed. */
export function truncate(text: string, width: number): string {
  if (displayWidth(text) <= width) return text;
  if (width <= 0) return '';
  let out = '';
  let used = 0;
  let styled = false;
  for (const [piece] of text.matchAll(pieces)) {
    if (piece.startsWith('\x1b')) {
      out += piece;
      styled = true;
      continue;
    }
    for (const { segment } of graphemesOf(piece)) {
      const columns = graphemeWidth(segment);
      if (used + columns > width - 1) return `${out}…${styled ? '\x1b[0m' : ''}`;
      out += segment;
      used += columns;
    }
  }
  return out;
}

/** The text with spaces up to `width` columns; `right` puts them before it. */
export function pad(text: string, width: number, right = false): string {
  const fill = ' '.repeat(Math.max(0, width - displayWidth(text)));
  return right ? fill + text : text + fill;
}

/** Lines of at most `width` columns, broken at spaces where there are any. Styles do not survive: style each line. */
export function wrap(text: string, width: number): string[] {
  const lines: string[] = [];
  for (const paragraph of text.split('\n')) {
    let line = '';
    let used = 0;
    for (const word of paragraph.match(/\s+|\S+/g) ?? []) {
      let columns = displayWidth(word);
      if (used + columns <= width) {
        line += word;
        used += columns;
        continue;
      }
      if (used > 0) {
        lines.push(line.trimEnd());
        line = '';
        used = 0;
      }
      if (/^\s/.test(word)) continue;
      let rest = word;
      while (columns > width) {
        const head = takeColumns(rest, width);
        lines.push(head);
        rest = rest.slice(head.length);
        columns = displayWidth(rest);
      }
      line = rest;
      used = columns;
    }
    lines.push(line.trimEnd());
  }
  return lines;
}

/** The longest start of the text that fits in `width` columns; at least one character. */
function takeColumns(text: string, width: number): string {
  let head = '';
  let used = 0;
  for (const { segment } of graphemesOf(text)) {
    const columns = graphemeWidth(segment);
    if (head !== '' && used + columns > width) break;
    head += segment;
    used += columns;
  }
  return head;
}

/** Text of a model or of a data file made harmless: no escape sequences or control characters but line ends and tabs. */
export function clean(text: string): string {
  return (
    stripVTControlCharacters(text)
      .replace(/\r\n?/g, '\n')
      .replace(/\t/g, '    ')
      // biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what is taken out
      .replace(/[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]/g, '\ufffd')
  );
}

const codes = { bold: 1, dim: 2, inverse: 7, red: 31, green: 32, yellow: 33, blue: 34, cyan: 36 } as const;
export type Style = keyof typeof codes;
/** Styles a text, or leaves it alone where colours are off. */
export type Paint = (text: string, ...styles: Style[]) => string;

/** A painter with colours on or off. */
export function painter(color: boolean): Paint {
  return (text, ...styles) =>
    color && text !== '' ? `\x1b[${styles.map((style) => codes[style]).join(';')}m${text}\x1b[0m` : text;
}

/** Whether a stream gets colours: a terminal that knows them, and no NO_COLOR. */
export function wantsColor(stream: { isTTY?: boolean }, env: NodeJS.ProcessEnv = process.env): boolean {
  return Boolean(stream.isTTY) && !env.NO_COLOR && env.TERM !== 'dumb';
}

/**
 * For text that streams to a terminal: takes control characters out of each piece. A sequence that is spread over
 * pieces loses its escape character, which makes the rest harmless. Off: text goes through as it is.
 */
export function createCleaner(on: boolean): (piece: string) => string {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what is taken out
  return on ? (piece) => piece.replace(/[\x00-\x08\x0b-\x1f\x7f-\x9f]/g, '\ufffd') : (piece) => piece;
}
