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
  const order = counting(lengths.length);
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

  const shuffled = counting(open.count);
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

/** 0, 1, 2, ... */
function counting(count: number): Uint32Array {
  const numbers = new Uint32Array(count);
  for (let i = 0; i < count; i++) numbers[i] = i;
  return numbers;
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

/**
 * Microbatches with room left, found by how much: a stack for each room, a bit set of the rooms in use, and a bit set
 * of the words of that one that are not zero.
 */
class OpenMicrobatches {
  count = 0;
  readonly #maxTokens: number;
  readonly #maxSequences: number;
  /** Rows of each microbatch; kept where there is a bound on them. */
  readonly #sequences: number[] = [];
  readonly #byRoom: (number[] | undefined)[] = [];
  readonly #rooms: Uint32Array;
  readonly #words: Uint32Array;

  constructor(maxTokens: number, maxSequences: number) {
    this.#maxTokens = maxTokens;
    this.#maxSequences = maxSequences;
    this.#rooms = new Uint32Array((maxTokens >>> 5) + 1);
    this.#words = new Uint32Array((this.#rooms.length >>> 5) + 1);
  }

  /** Puts a row into the microbatch with the least room that is enough, or a new one; returns which. */
  place(length: number): number {
    const room = this.#leastRoom(length);
    const microbatch = room < 0 ? this.count++ : this.#take(room);
    const left = (room < 0 ? this.#maxTokens : room) - length;
    if (left >= 1 && this.#mayHaveMore(microbatch)) this.#offer(left, microbatch);
    return microbatch;
  }

  #mayHaveMore(microbatch: number): boolean {
    if (this.#maxSequences === Number.POSITIVE_INFINITY) return true;
    const sequences = (this.#sequences[microbatch] ?? 0) + 1;
    this.#sequences[microbatch] = sequences;
    return sequences < this.#maxSequences;
  }

  #take(room: number): number {
    const stack = this.#byRoom[room]!;
    const microbatch = stack.pop()!;
    if (stack.length === 0) {
      const word = room >>> 5;
      this.#rooms[word]! &= ~(1 << (room & 31));
      if (this.#rooms[word] === 0) this.#words[word >>> 5]! &= ~(1 << (word & 31));
    }
    return microbatch;
  }

  #offer(room: number, microbatch: number): void {
    const stack = this.#byRoom[room] ?? [];
    this.#byRoom[room] = stack;
    stack.push(microbatch);
    const word = room >>> 5;
    this.#rooms[word]! |= 1 << (room & 31);
    this.#words[word >>> 5]! |= 1 << (word & 31);
  }

  #leastRoom(length: number): number {
    const word = length >>> 5;
    const bits = this.#rooms[word]! & (~0 << (length & 31));
    if (bits !== 0) return (word << 5) + lowestBit(bits);
    const next = this.#nextWord(word + 1);
    return next < 0 ? -1 : (next << 5) + lowestBit(this.#rooms[next]!);
  }

  /** The first word from this one on that is not zero. */
  #nextWord(from: number): number {
    let group = from >>> 5;
    if (group >= this.#words.length) return -1;
    let bits = this.#words[group]! & (~0 << (from & 31));
    while (bits === 0) {
      group += 1;
      if (group >= this.#words.length) return -1;
      bits = this.#words[group]!;
    }
    return (group << 5) + lowestBit(bits);
  }
}

function lowestBit(bits: number): number {
  return 31 - Math.clz32(bits & -bits);
}
