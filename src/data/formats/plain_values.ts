/**
 * Values of columnar formats as JSON has them: numbers where they are exact, else text; times as ISO text; bytes as
 * text where they are UTF-8, else base64.
 */
import { isUtf8 } from 'node:buffer';

const MAX_DEPTH = 64;

export function plainValue(value: unknown, depth = 0): unknown {
  if (value === null || value === undefined) return null;
  if (typeof value === 'bigint') {
    return value >= Number.MIN_SAFE_INTEGER && value <= Number.MAX_SAFE_INTEGER
      ? Number(value)
      : String(value);
  }
  if (typeof value !== 'object') return value;
  if (depth > MAX_DEPTH) throw new Error(`values are nested deeper than ${MAX_DEPTH}`);
  if (value instanceof Date) return Number.isNaN(value.getTime()) ? null : value.toISOString();
  if (value instanceof Uint8Array) {
    return Buffer.from(value.buffer, value.byteOffset, value.byteLength).toString(
      isUtf8(value) ? 'utf8' : 'base64',
    );
  }
  if (ArrayBuffer.isView(value)) {
    return Array.from(value as unknown as Iterable<unknown>, (item) => plainValue(item, depth + 1));
  }
  if (Array.isArray(value)) return value.map((item) => plainValue(item, depth + 1));
  if (value instanceof Map) {
    return Object.fromEntries([...value].map(([key, item]) => [String(key), plainValue(item, depth + 1)]));
  }
  return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, plainValue(item, depth + 1)]));
}
