/**
 * GPT-2's byte-level alphabet: every byte as one printable character, and the three split patterns by name.
 * Units of byte-pair training are bytes numbered by that character's code point.
 */
import type { SplitPattern } from '../native/addon.ts';

/** The regular expressions as Hugging Face files write them; cl100k and Llama 3 publish the same one. */
const WORDS =
  "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";
export const SPLIT_REGEX: Record<SplitPattern, string> = {
  gpt2: "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+",
  cl100k: WORDS,
  llama3: WORDS,
};

function printable(byte: number): boolean {
  return (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte <= 0xac) || byte >= 0xae;
}

/** Bytes in the order of their characters: unit u is byte UNIT_BYTES[u]. */
export const UNIT_BYTES: readonly number[] = [
  ...Array.from({ length: 256 }, (_, byte) => byte).filter(printable),
  ...Array.from({ length: 256 }, (_, byte) => byte).filter((byte) => !printable(byte)),
];

/** Character of each unit: printable bytes are themselves, the others U+0100 and up. */
export const UNIT_CHARS: readonly string[] = (() => {
  let next = 0x100;
  return UNIT_BYTES.map((byte) => String.fromCodePoint(printable(byte) ? byte : next++));
})();

const BYTE_OF_CHAR = new Map(UNIT_CHARS.map((char, unit) => [char, UNIT_BYTES[unit]!]));

/** Bytes that a token's characters stand for; undefined when one is not of the alphabet. */
export function tokenBytes(token: string): Uint8Array | undefined {
  const bytes = new Uint8Array(token.length);
  for (let i = 0; i < token.length; i++) {
    const byte = BYTE_OF_CHAR.get(token[i]!);
    if (byte === undefined) return undefined;
    bytes[i] = byte;
  }
  return bytes;
}
