/**
 * The order of an epoch: documents shuffled, then packed into microbatches of a token budget without padding.
 *
 * The plan depends on (lengths, budget, seed, epoch) only, so that a cursor of two numbers (epoch, microbatch)
 * says exactly where training stands. Each document goes, in shuffled order, into the open microbatch that it
 * fills best (best fit), so microbatches are nearly full and still mixed at random; their order is then shuffled.
 */
import { AnnealError } from '../../proto/errors.ts';
import { DataRandom } from './random.ts';

/** Tokens [start, start + length) of a document: one sequence of a microbatch. */
export interface Piece {
  document: number;
  start: number;
  length: number;
}

export interface EpochOptions {
  /** Tokens of each document. */
  lengths: ArrayLike<number>;
  /** Tokens of a microbatch at most. */
  maxTokens: number;
  /** Tokens of a sequence at most: the context of the model. */
  maxLength: number;
  seed: number;
  epoch: number;
  /**
   * What becomes of a document longer than `maxLength`: cut into windows, or an error. Windows overlap by one
   * token, so that every token but a document's first is predicted exactly once.
   */
  longDocuments: 'split' | 'refuse';
  /** Sequences of a microbatch at most. */
  maxSequences?: number;
}

/** Microbatches of one epoch. Documents of fewer than two tokens are in none: they have nothing to predict. */
export interface EpochPlan {
  /** Number of microbatches. */
  length: number;
  /** Sequences of microbatch i. */
  at(i: number): Piece[];
}

/** Plans an epoch; takes time in proportion to the number of documents. */
export function planEpoch(options: EpochOptions): EpochPlan {
  const { seed, epoch, maxTokens } = options;
  const maxLength = Math.min(options.maxLength, maxTokens);
  if (maxLength < 2) throw new RangeError('a sequence needs room for two tokens');
  const pieces = cutPieces(options.lengths, maxLength, options.longDocuments);
  const order = Uint32Array.from({ length: pieces.count }, (_, i) => i);
  new DataRandom('epoch', seed, epoch, 'documents').shuffle(order);

  const microbatchOf = new Uint32Array(pieces.count);
  const open = new OpenMicrobatches(maxTokens, options.maxSequences ?? Number.POSITIVE_INFINITY);
  for (const piece of order) microbatchOf[piece] = open.place(pieces.lengths[piece]!);

  const shuffled = Uint32Array.from({ length: open.count }, (_, i) => i);
  new DataRandom('epoch', seed, epoch, 'microbatches').shuffle(shuffled);
  const { members, ends } = group(order, microbatchOf, open.count);
  return {
    length: open.count,
    at: (i) => {
      const microbatch = shuffled[i];
      if (microbatch === undefined) throw new RangeError(`microbatch ${i} of ${open.count}`);
      const first = microbatch === 0 ? 0 : ends[microbatch - 1]!;
      return Array.from(members.subarray(first, ends[microbatch]!), (piece) => ({
        document: pieces.documents[piece]!,
        start: pieces.starts[piece]!,
        length: pieces.lengths[piece]!,
      }));
    },
  };
}

interface Pieces {
  count: number;
  documents: Uint32Array;
  starts: Float64Array;
  lengths: Uint32Array;
}

function cutPieces(lengths: ArrayLike<number>, maxLength: number, long: 'split' | 'refuse'): Pieces {
  const windows = (length: number): number =>
    length < 2 ? 0 : length <= maxLength ? 1 : Math.ceil((length - 1) / (maxLength - 1));
  let count = 0;
  for (let i = 0; i < lengths.length; i++) {
    if (long === 'refuse' && lengths[i]! > maxLength) {
      throw new AnnealError(
        'data_row_too_long',
        `Document ${i} has ${lengths[i]} tokens, but a sequence holds ${maxLength}.`,
        { hint: 'Raise max_length, or let long documents be split.' },
      );
    }
    count += windows(lengths[i]!);
  }
  const pieces = {
    count,
    documents: new Uint32Array(count),
    starts: new Float64Array(count),
    lengths: new Uint32Array(count),
  };
  let at = 0;
  for (let document = 0; document < lengths.length; document++) {
    const length = lengths[document]!;
    for (let window = 0; window < windows(length); window++, at++) {
      const start = window * (maxLength - 1);
      pieces.documents[at] = document;
      pieces.starts[at] = start;
      pieces.lengths[at] = Math.min(maxLength, length - start);
    }
  }
  return pieces;
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
  for (const piece of order) members[next[microbatchOf[piece]!]!++] = piece;
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

  /** Puts a sequence into the microbatch with the least room that is enough, or a new one; returns which. */
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
    // No document is shorter than two tokens.
    if (left >= 2 && this.#sequences[microbatch]! < this.#maxSequences) {
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
