/**
 * How vocabularies write bytes. GPT-2's byte-level alphabet has every byte as one printable character, and units of
 * byte-pair training are bytes numbered by that character's code point; SentencePiece has tokens for single bytes.
 */

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

/** SentencePiece's names of the bytes, for characters that are no tokens. */
export const BYTE_TOKENS: readonly string[] = Array.from(
  { length: 256 },
  (_, byte) => `<0x${byte.toString(16).toUpperCase().padStart(2, '0')}>`,
);

/** How SentencePiece writes a space. */
export const SPACE = '\u2581';
