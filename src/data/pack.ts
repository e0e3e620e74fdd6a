/**
 * The order of an epoch: rows shuffled, then packed into microbatches of a token budget without padding.
 *
 * The plan depends on (lengths, budget, seed, epoch) only, so that a cursor of two numbers (epoch, microbatch)
 * says exactly where training stands. Each row goes, in shuffled order, into the open microbatch that it fills
 * best (best fit), so microbatches are nearly full and still mixed at random; their order is then shuffled. Longest
 * rows first (best fit decreasing) fills them better still, and mixes rows of like length less: it is for those who
 * ask for it.
 */
import { DataRandom } from './random.ts';

/**
 * How rows come into microbatches: `best_fit` in shuffled order, `bfd` longest first; `bfd_split` is `bfd` of rows
 * that have been cut where they are too long.
 */
export const PACKING_STRATEGIES = ['best_fit', 'bfd', 'bfd_split'] as const;
export type PackingStrategy = (typeof PACKING_STRATEGIES)[number];

export interface EpochOptions {
  /** Tokens of each row: at least one, at most `maxTokens`. */
  lengths: ArrayLike<number>;
  /** Tokens of a microbatch at most. */
  maxTokens: number;
  seed: number;
  epoch: number;
  /** Rows of a microbatch at most. */
  maxSequences?: number;
  /** Ends, in rows, of the phases of a curriculum: each is shuffled and packed for itself, and they follow each other. */
  phaseEnds?: readonly number[] | undefined;
  /** Default: `best_fit`. */
  strategy?: PackingStrategy;
}

/** The microbatches of one epoch: rows of each. The same for the same options, always. */
export interface EpochPlan {
  length: number;
  at(i: number): number[];
}

/** Plans an epoch; takes time in proportion to the number of rows. */
export function planEpoch(options: EpochOptions): EpochPlan {
  const { lengths, phaseEnds = [] } = options;
  if (phaseEnds.length <= 1) return planPhase(options, 0);
  const phases = phaseEnds.map((end, phase) => {
    const start = phase === 0 ? 0 : phaseEnds[phase - 1]!;
    const own = Uint32Array.from({ length: end - start }, (_, i) => lengths[start + i]!);
    return { start, plan: planPhase({ ...options, lengths: own }, phase) };
  });
  return {
    length: phases.reduce((sum, { plan }) => sum + plan.length, 0),
    at: (i) => {
      let left = i;
      for (const { start, plan } of phases) {
        if (left < plan.length) return plan.at(left).map((row) => start + row);
        left -= plan.length;
      }
      throw new RangeError(`microbatch ${i} of an epoch of fewer`);
    },
  };
}

/** All rows of a phase, which is an epoch's only one where there is no curriculum. */
function planPhase(options: EpochOptions, phase: number): EpochPlan {
  const { lengths, seed, epoch, maxTokens } = options;
  const stream = phase === 0 ? [] : [phase];
  const order = Uint32Array.from({ length: lengths.length }, (_, i) => i);
  new DataRandom('epoch', seed, epoch, 'documents', ...stream).shuffle(order);
  if ((options.strategy ?? 'best_fit') !== 'best_fit') longestFirst(order, lengths, maxTokens);

  const microbatchOf = new Uint32Array(lengths.length);
  const open = new OpenMicrobatches(maxTokens, options.maxSequences ?? Number.POSITIVE_INFINITY);
  for (const row of order) {
    const length = lengths[row]!;
    if (length < 1 || length > maxTokens)
      throw new RangeError(`row ${row} has ${length} of ${maxTokens} tokens`);
    microbatchOf[row] = open.place(length);
  }

  const shuffled = Uint32Array.from({ length: open.count }, (_, i) => i);
  new DataRandom('epoch', seed, epoch, 'microbatches', ...stream).shuffle(shuffled);
  const { members, ends } = group(order, microbatchOf, open.count);
  return {
    length: open.count,
    at: (i) => {
      const microbatch = shuffled[i];
      if (microbatch === undefined) throw new RangeError(`microbatch ${i} of ${open.count}`);
      const first = microbatch === 0 ? 0 : ends[microbatch - 1]!;
      return Array.from(members.subarray(first, ends[microbatch]!));
    },
  };
}

/** Sorts rows by falling length, by counting; rows of one length stay in their order. */
function longestFirst(order: Uint32Array, lengths: ArrayLike<number>, maxTokens: number): void {
  const next = new Uint32Array(maxTokens + 2);
  for (const row of order) next[maxTokens - Math.min(lengths[row]!, maxTokens) + 1]! += 1;
  for (let i = 1; i < next.length; i++) next[i]! += next[i - 1]!;
  for (const row of order.slice()) order[next[maxTokens - Math.min(lengths[row]!, maxTokens)]!++] = row;
}

/** How much of the token budget the microbatches of an epoch use. */
export interface Fill {
  microbatches: number;
  /** Shares of the budget, over all microbatches and of the emptiest. */
  mean: number;
  min: number;
}

/** How full the microbatches of a plan are. */
export function fillOf(plan: EpochPlan, lengths: ArrayLike<number>, maxTokens: number): Fill {
  let total = 0;
  let min = Number.POSITIVE_INFINITY;
  for (let i = 0; i < plan.length; i++) {
    let tokens = 0;
    for (const row of plan.at(i)) tokens += lengths[row]!;
    total += tokens;
    min = Math.min(min, tokens);
  }
  const microbatches = plan.length;
  if (microbatches === 0) return { microbatches, mean: 0, min: 0 };
  return { microbatches, mean: total / microbatches / maxTokens, min: min / maxTokens };
}

/** Members of each microbatch, end to end, in the order of placing. */
function group(
  order: Uint32Array,
  microbatchOf: Uint32Array,
  count: number,
): { members: Uint32Array; ends: Uint32Array } {
  const ends = new Uint32Array(count);
  for (const microbatch of microbatchOf) ends[microbatch]! += 1;
  for (let i = 1; i < count; i++) ends[i]! += ends[i - 1]!;
  const next = new Uint32Array(count);
  for (let i = 1; i < count; i++) next[i] = ends[i - 1]!;
  const members = new Uint32Array(order.length);
  for (const row of order) members[next[microbatchOf[row]!]!++] = row;
  return { members, ends };
}

/** Microbatches with room left, found by how much: a stack for each room, and a bit set of the rooms in use. */
class OpenMicrobatches {
  count = 0;
  readonly #maxTokens: number;
  readonly #maxSequences: number;
  readonly #sequences: number[] = [];
  readonly #byRoom: (number[] | undefined)[] = [];
  readonly #rooms: Uint32Array;

  constructor(maxTokens: number, maxSequences: number) {
    this.#maxTokens = maxTokens;
    this.#maxSequences = maxSequences;
    this.#rooms = new Uint32Array((maxTokens >>> 5) + 1);
  }

  /** Puts a row into the microbatch with the least room that is enough, or a new one; returns which. */
  place(length: number): number {
    const room = this.#leastRoom(length);
    let microbatch: number;
    if (room < 0) {
      microbatch = this.count++;
      this.#sequences.push(0);
    } else {
      const stack = this.#byRoom[room]!;
      microbatch = stack.pop()!;
      if (stack.length === 0) this.#rooms[room >>> 5]! &= ~(1 << (room & 31));
    }
    const left = (room < 0 ? this.#maxTokens : room) - length;
    this.#sequences[microbatch]! += 1;
    if (left >= 1 && this.#sequences[microbatch]! < this.#maxSequences) {
      const stack = this.#byRoom[left] ?? [];
      this.#byRoom[left] = stack;
      stack.push(microbatch);
      this.#rooms[left >>> 5]! |= 1 << (left & 31);
    }
    return microbatch;
  }

  #leastRoom(length: number): number {
    let word = length >>> 5;
    let bits = this.#rooms[word]! & (~0 << (length & 31));
    while (bits === 0) {
      word += 1;
      if (word >= this.#rooms.length) return -1;
      bits = this.#rooms[word]!;
    }
    return (word << 5) + 31 - Math.clz32(bits & -bits);
  }
}
