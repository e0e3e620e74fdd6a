/** Work on several things at once whose results are wanted in order: for what waits for disks and networks. */

/**
 * The results of `work` in the order of the items, with up to `atOnce` of them in the making. What fails is thrown in
 * its turn; then, as when the taker leaves, nothing more is begun, and what was begun has ended.
 */
export async function* inOrder<Item, Result>(
  items: Iterable<Item>,
  atOnce: number,
  work: (item: Item) => Promise<Result>,
): AsyncGenerator<Result> {
  const begun: Promise<Result>[] = [];
  try {
    for (const item of items) {
      const result = work(item);
      // It is met in its turn; until then nobody may take it for unhandled.
      result.catch(() => undefined);
      begun.push(result);
      if (begun.length === atOnce) yield await begun.shift()!;
    }
    while (begun.length > 0) yield await begun.shift()!;
  } finally {
    await Promise.allSettled(begun);
  }
}

/** Files that are looked at, or hashed, at once. */
export const FILES_AT_ONCE = 8;
