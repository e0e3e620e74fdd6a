/**
 * Text without end that keeps the laws of the text it is made from: a walk along the source that jumps, now and then,
 * from a word to another place where the same word stands. Words and pairs of words so keep their frequencies (Zipf's
 * law). Where a long text would have words that the source lacks, words are coined: their share is what Good and
 * Turing's formula gives for the source, their ranks follow on from its rarest words by a power law, and a word's
 * letters are drawn, by its rank, as a walk along the source's rare words. So distinct words grow as in text of that
 * length (Heaps' law), without a table that grows.
 *
 * A document is made from the seed and its number alone. Lengths follow a power law; a share of the documents may be
 * copies, exact or nearly, of earlier ones, of which few are copied often and most never (Zipf's law again).
 */
import { DataRandom } from '../../src/data/random.ts';
import type { CorpusKind } from './sources.ts';

/** Mean number of words from jump to jump. */
const SPAN = 12;
/** Distinct words grow as the text's length to this power. */
const HEAPS = 0.6;
/** Bytes of a document: at least `SHORTEST` unless told otherwise, longer ones by a power law with this exponent, up to `LONGEST`. */
const SHORTEST = 600;
const TAIL = 1.2;
const LONGEST = 1 << 20;
/** Letters before the one that is drawn. */
const ORDER = 3;
/** Words of these ranks are made once: two coined words of three are among them. */
const KEPT_RANKS = 1 << 20;
const SPACE = 0x20;
/** Of the copies, how many are exact; the others have a word in `EDIT_SPAN` replaced. */
const EXACT_SHARE = 0.3;
const EDIT_SPAN = 50;

const WORDS: Record<CorpusKind, RegExp> = {
  english: / ?[\p{L}\p{N}]+(?:['’-][\p{L}\p{N}]+)*|[^\p{L}\p{N}]/gu,
  code: / ?[\p{L}\p{N}_$]+| +|[^\p{L}\p{N}_$ ]/gu,
  chinese: /[\s\S]/gu,
};
/** What may be replaced by a coined word; Chinese has none, as its clauses are new by themselves. */
const WORDLIKE = /^ ?[\p{L}_$][\p{L}\p{N}_$'’-]+$/u;

export interface DocumentOptions {
  seed: number;
  /** Share of documents that are copies of earlier ones. */
  duplicates: number;
  /** Bytes of the shortest document. */
  shortest?: number;
}

export class CorpusModel {
  /** The bytes of word w: #bytes[#ends[w - 1]] up to #ends[w]. */
  readonly #bytes: Uint8Array;
  readonly #ends: Uint32Array;
  readonly #wordlike: Uint8Array;
  /** Word at each place of the source. */
  readonly #text: Uint32Array;
  /** Places of word w: #places[#starts[w]] up to #starts[w + 1]. */
  readonly #starts: Uint32Array;
  readonly #places: Uint32Array;
  readonly #coinedShare: number;
  readonly #letters: LetterWalk;
  readonly #options: DocumentOptions;
  #out = new Uint8Array(2 * LONGEST);

  constructor(kind: CorpusKind, passages: readonly string[], options: DocumentOptions) {
    this.#options = options;
    const numbers = new Map<string, number>();
    const text: number[] = [];
    for (const passage of passages) {
      for (const word of [...(passage.match(WORDS[kind]) ?? []), '\n']) {
        let number = numbers.get(word);
        if (number === undefined) {
          number = numbers.size;
          numbers.set(word, number);
        }
        text.push(number);
      }
    }
    const words = [...numbers.keys()];
    this.#bytes = Buffer.from(words.join(''));
    let end = 0;
    this.#ends = Uint32Array.from(words, (word) => (end += Buffer.byteLength(word)));
    this.#wordlike = Uint8Array.from(words, (word) => Number(kind !== 'chinese' && WORDLIKE.test(word)));
    this.#text = Uint32Array.from(text);
    this.#starts = new Uint32Array(numbers.size + 1);
    for (const word of this.#text) this.#starts[word + 1]!++;
    for (let word = 0; word < numbers.size; word++) this.#starts[word + 1]! += this.#starts[word]!;
    this.#places = new Uint32Array(text.length);
    const next = this.#starts.slice();
    for (const [place, word] of this.#text.entries()) this.#places[next[word]!++] = place;

    const rare = [...numbers].filter(([, word]) => this.#wordlike[word] && this.#occurrences(word) === 1);
    const wordlike = this.#text.reduce((sum, word) => sum + this.#wordlike[word]!, 0);
    this.#coinedShare = rare.length / Math.max(1, wordlike);
    this.#letters = new LetterWalk(rare.map(([word]) => word.trim()));
  }

  /** Bytes of document `number`, from 0; valid until the next call. */
  document(number: number): Uint8Array {
    const { seed } = this.#options;
    const origin = this.original(number);
    const text = new DataRandom('text', seed, origin);
    const edits = new DataRandom('edits', seed, number);
    return this.#walk(text, origin === number || unit(edits) < EXACT_SHARE ? undefined : edits);
  }

  /** The document that `number` is a copy of, or itself. */
  original(number: number): number {
    for (;;) {
      const random = new DataRandom('copies', this.#options.seed, number);
      if (number === 0 || unit(random) >= this.#options.duplicates) return number;
      number = Math.floor(number ** unit(random)) - 1;
    }
  }

  #occurrences(word: number): number {
    return this.#starts[word + 1]! - this.#starts[word]!;
  }

  /** `edits`: replaces a word now and then. */
  #walk(random: DataRandom, edits?: DataRandom): Uint8Array {
    const length = Math.min(
      LONGEST,
      (this.#options.shortest ?? SHORTEST) * (1 - unit(random)) ** (-1 / TAIL),
    );
    let place = random.below(this.#text.length);
    let bytes = 0;
    while (bytes < length) {
      const word = this.#text[place]!;
      const wordlike = this.#wordlike[word] === 1;
      const start = word === 0 ? 0 : this.#ends[word - 1]!;
      if (wordlike && edits?.below(EDIT_SPAN) === 0) bytes = this.#appendCoined(edits, start, bytes);
      else if (wordlike && unit(random) < this.#coinedShare) bytes = this.#appendCoined(random, start, bytes);
      else bytes = this.#append(this.#bytes, start, this.#ends[word]!, bytes);
      if (random.below(SPAN) === 0)
        place = this.#places[this.#starts[word]! + random.below(this.#occurrences(word))]!;
      place = (place + 1) % this.#text.length;
    }
    return this.#out.subarray(0, bytes);
  }

  /** A coined word takes the space before the word that it stands for, which begins at `replaced`. */
  #appendCoined(random: DataRandom, replaced: number, at: number): number {
    const rank = Math.floor(this.#ends.length * (1 - unit(random)) ** (-HEAPS / (1 - HEAPS)));
    const word = this.#letters.word(rank);
    const from = this.#bytes[replaced] === SPACE ? this.#append(this.#bytes, replaced, replaced + 1, at) : at;
    return this.#append(word, 0, word.length, from);
  }

  #append(bytes: Uint8Array, from: number, to: number, at: number): number {
    for (let i = from; i < to; i++) this.#out[at++] = bytes[i]!;
    return at;
  }
}

/** Words whose letters follow one another as in the given ones. */
class LetterWalk {
  readonly #text: string;
  readonly #places = new Map<string, number[]>();
  /** Those of the ranks below `KEPT_RANKS` that were asked for. */
  readonly #kept = new Array<Uint8Array | undefined>(KEPT_RANKS);

  constructor(words: readonly string[]) {
    this.#text = `${words.map((word) => `${'\n'.repeat(ORDER)}${word}`).join('')}\n`;
    for (let i = ORDER; i < this.#text.length; i++) {
      const before = this.#text.slice(i - ORDER, i);
      const places = this.#places.get(before);
      if (places === undefined) this.#places.set(before, [i]);
      else places.push(i);
    }
  }

  /** The word of this rank: always the same. */
  word(rank: number): Uint8Array {
    const known = this.#kept[rank];
    if (known) return known;
    const made = this.#made(rank);
    if (rank < KEPT_RANKS) this.#kept[rank] = made;
    return made;
  }

  #made(rank: number): Uint8Array {
    const random = new DataRandom('word', rank);
    let word = '';
    for (let before = '\n'.repeat(ORDER); ; ) {
      const places = this.#places.get(before)!;
      const letter = this.#text[places[random.below(places.length)]!]!;
      if (letter === '\n' && word !== '') return Buffer.from(word);
      if (letter !== '\n') word += letter;
      before = before.slice(1) + letter;
    }
  }
}

/** Uniform over [0, 1). */
function unit(random: DataRandom): number {
  return random.next() / 2 ** 32;
}
