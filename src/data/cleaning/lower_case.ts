/** Cases of letters, for native code that has no table of its own. */

/** Only the first two planes of Unicode have letters with cases. */
const END = 0x20000;

/** Upper and lower case in turn, of code points whose lower case is one other code point. */
export function lowerCasePairs(): Uint32Array {
  const pairs: number[] = [];
  for (let point = 0; point < END; point++) {
    const lower = String.fromCodePoint(point).toLowerCase();
    const first = lower.codePointAt(0)!;
    if (first !== point && lower.length === (first < 0x10000 ? 1 : 2)) pairs.push(point, first);
  }
  return Uint32Array.from(pairs);
}
