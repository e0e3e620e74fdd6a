import { setTimeout as delay } from 'node:timers/promises';
import { expect, it } from 'vitest';
import { forEach, inOrder } from '../../src/util/at_once.ts';

it('gives results in order, whichever ends first, and begins no more than it may', async () => {
  let running = 0;
  let most = 0;
  const work = async (i: number) => {
    most = Math.max(most, ++running);
    await delay((7 * i) % 5);
    running -= 1;
    return 10 * i;
  };
  const results: number[] = [];
  for await (const result of inOrder([5, 4, 3, 2, 1, 0], 3, work)) results.push(result);
  expect(results).toEqual([50, 40, 30, 20, 10, 0]);
  expect(most).toBe(3);
});

it('throws what fails in its turn, and leaves nothing running', async () => {
  let running = 0;
  const begun: number[] = [];
  const work = async (i: number) => {
    begun.push(i);
    running += 1;
    await delay(i === 1 ? 1 : 5);
    running -= 1;
    if (i === 1 || i === 2) throw new Error(`no ${i}`);
    return i;
  };
  const results: number[] = [];
  const taken = (async () => {
    for await (const result of inOrder([0, 1, 2, 3, 4, 5], 3, work)) results.push(result);
  })();
  await expect(taken).rejects.toThrow('no 1');
  expect(results).toEqual([0]);
  expect(begun).toEqual([0, 1, 2, 3]);
  expect(running).toBe(0);
});

it('waits for what was begun when its taker leaves', async () => {
  let running = 0;
  const work = async (i: number) => {
    running += 1;
    await delay(2);
    running -= 1;
    return i;
  };
  for await (const result of inOrder([0, 1, 2, 3], 2, work)) if (result === 0) break;
  expect(running).toBe(0);
});

it('does the work for each, and tells what was begun when one fails', async () => {
  const done: number[] = [];
  await forEach([1, 2, 3, 4], 2, async (i) => {
    await delay(i % 2);
    done.push(i);
  });
  expect(done.sort()).toEqual([1, 2, 3, 4]);
  const told: number[] = [];
  const work = async (i: number, signal: AbortSignal) => {
    if (i === 2) throw new Error('no 2');
    await new Promise((resolve) => signal.addEventListener('abort', resolve));
    told.push(i);
    throw new Error('told');
  };
  await expect(forEach([1, 2, 3, 4], 2, work)).rejects.toThrow('no 2');
  expect(told).toEqual([1]);
});
