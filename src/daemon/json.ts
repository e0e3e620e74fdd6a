/** JSON that keeps the three numbers that JSON has not: a diverging run has metrics of NaN and Infinity. */

const MARK = '\u0000number:';

export function encodeNumbers(value: unknown): string {
  return JSON.stringify(value, (_key, field: unknown) =>
    typeof field === 'number' && !Number.isFinite(field) ? `${MARK}${field}` : field,
  );
}

export function decodeNumbers(text: string): unknown {
  // The mark is rare: most events are parsed without a call per field.
  if (!text.includes('\\u0000number:')) return JSON.parse(text);
  return JSON.parse(text, (_key, field: unknown) =>
    typeof field === 'string' && field.startsWith(MARK) ? Number(field.slice(MARK.length)) : field,
  );
}
