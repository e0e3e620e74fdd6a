/** Several things at once, a bounded number of them: for what waits for disks and networks. */

/** Files that are looked at, or hashed, at once. */
export const FILES_AT_ONCE = 8;

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

/**
 * Does the work for each item, for up to `atOnce` of them at a time. When one fails nothing more is begun, what was
 * begun is told by its signal, and once it has ended the first failure is thrown.
 */
export async function forEach<Item>(
  items: readonly Item[],
  atOnce: number,
  work: (item: Item, signal: AbortSignal) => Promise<void>,
): Promise<void> {
  const stop = new AbortController();
  const failures: unknown[] = [];
  let next = 0;
  const go = async (): Promise<void> => {
    while (next < items.length && !stop.signal.aborted) {
      try {
        await work(items[next++]!, stop.signal);
      } catch (error) {
        failures.push(error);
        stop.abort();
      }
    }
  };
  await Promise.all(Array.from({ length: Math.min(atOnce, items.length) }, go));
  if (failures.length > 0) throw failures[0];
}
