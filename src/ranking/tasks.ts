/**
 * What a labeller is asked, in order: for each prompt with at least two different responses, and each criterion, to
 * rank them; pairwise, each pair of them. Responses stand in an order that depends on dataset, labeller and row only:
 * it is the same for all criteria, after a restart, and on the way back.
 */
import { DataRandom } from '../data/random.ts';
import { sameTexts } from './order.ts';

export interface TaskRow {
  id: string;
  texts: readonly string[];
}

export interface Task {
  row: number;
  criterion: string;
  /** Indices of the row's responses in the order in which they are shown: of equal texts the first one. */
  shown: number[];
}

export class TaskList {
  readonly #rows: readonly TaskRow[];
  readonly #seed: [string, string];
  readonly #criteria: readonly string[];
  readonly #pairwise: boolean;
  /** Number of the first task of each row, and of all tasks at the end. */
  readonly #first: number[] = [0];

  constructor(
    rows: readonly TaskRow[],
    options: { dataset: string; labeller: string; criteria: readonly string[]; pairwise: boolean },
  ) {
    this.#rows = rows;
    this.#seed = [options.dataset, options.labeller];
    this.#criteria = options.criteria;
    this.#pairwise = options.pairwise;
    for (const { texts } of rows) {
      const different = new Set(texts).size;
      const asked = different < 2 ? 0 : options.pairwise ? (different * (different - 1)) / 2 : 1;
      this.#first.push(this.#first.at(-1)! + asked * options.criteria.length);
    }
  }

  get length(): number {
    return this.#first.at(-1)!;
  }

  /** The task with a number from 0 to `length` - 1. */
  at(number: number): Task {
    const row = this.#rowOf(number);
    const { id, texts } = this.#rows[row]!;
    const within = number - this.#first[row]!;
    const shown = Uint32Array.from(sameTexts(texts).keys());
    new DataRandom('rank', ...this.#seed, id).shuffle(shown);
    // All criteria of one thing before the next thing.
    const criterion = this.#criteria[within % this.#criteria.length]!;
    if (!this.#pairwise) return { row, criterion, shown: [...shown] };
    const pairs = [...shown].flatMap((a, i) => [...shown].slice(i + 1).map((b) => [a, b]));
    const order = Uint32Array.from(pairs.keys());
    const random = new DataRandom('rank-pairs', ...this.#seed, id);
    random.shuffle(order);
    const swapped = pairs.map(() => random.below(2) === 1);
    const pair = order[Math.floor(within / this.#criteria.length)]!;
    const [a, b] = pairs[pair] as [number, number];
    return { row, criterion, shown: swapped[pair] ? [b, a] : [a, b] };
  }

  /** The last row whose first task is not behind `number`. */
  #rowOf(number: number): number {
    let low = 0;
    let high = this.#rows.length - 1;
    while (low < high) {
      const middle = Math.ceil((low + high) / 2);
      if (this.#first[middle]! <= number) low = middle;
      else high = middle - 1;
    }
    return low;
  }
}
