/**
 * Ranking one prompt's responses by keys, as a machine of states without any input or output: picks so far, and what
 * a key makes of them. Places are from 0; people see them from 1, above nine as capital letters.
 */

/** Best first, equally good ones together. */
export type Ranking = number[][];

export type Outcome =
  | { kind: 'going' }
  | { kind: 'ranked'; ranking: Ranking }
  | { kind: 'skip' | 'back' | 'keep' | 'quit' | 'help' }
  | { kind: 'unknown'; key: string };

/** The key of a place: 1 to 9, then A to Z. */
export function placeKey(place: number): string {
  return place < 9 ? String(place + 1) : String.fromCharCode('A'.charCodeAt(0) + place - 9);
}

const COMMANDS: Record<string, 'skip' | 'back' | 'keep' | 'quit' | 'help'> = {
  s: 'skip',
  b: 'back',
  n: 'keep',
  q: 'quit',
  quit: 'quit',
  '?': 'help',
};

export class Picker {
  readonly #count: number;
  readonly #pairwise: boolean;
  #ranking: Ranking = [];
  #joins = false;

  constructor(count: number, pairwise: boolean) {
    this.#count = count;
    this.#pairwise = pairwise;
  }

  /** Picks so far. */
  get ranking(): Ranking {
    return this.#ranking;
  }

  /** Whether the next pick is as good as the last. */
  get joins(): boolean {
    return this.#joins;
  }

  press(key: string): Outcome {
    const command = COMMANDS[key];
    if (command) return { kind: command };
    if (this.#pairwise) return this.#pressInPair(key);
    const rest = this.#rest();
    if (key === 'u' || key === 'backspace') return this.#undo();
    if (key === 'e' || key === 'return') return this.#ranked([...this.#ranking, rest]);
    if (key === '=') {
      this.#joins = !this.#joins && this.#ranking.length > 0;
      return { kind: 'going' };
    }
    const place = rest.find((each) => placeKey(each) === key);
    if (place === undefined) return { kind: 'unknown', key };
    if (this.#joins) this.#ranking.at(-1)!.push(place);
    else this.#ranking.push([place]);
    this.#joins = false;
    // Where one is left, its place is clear.
    const left = this.#rest();
    return left.length > 1 ? { kind: 'going' } : this.#ranked([...this.#ranking, left]);
  }

  #pressInPair(key: string): Outcome {
    if (key === '=' || key === 'e') return this.#ranked([[0, 1]]);
    if (key === '1' || key === 'left') return this.#ranked([[0], [1]]);
    if (key === '2' || key === 'right') return this.#ranked([[1], [0]]);
    return { kind: 'unknown', key };
  }

  #undo(): Outcome {
    if (this.#joins) this.#joins = false;
    else if (this.#ranking.length > 0) {
      const last = this.#ranking.at(-1)!;
      last.pop();
      if (last.length === 0) this.#ranking.pop();
    }
    return { kind: 'going' };
  }

  #ranked(ranking: Ranking): Outcome {
    return { kind: 'ranked', ranking: ranking.filter((tier) => tier.length > 0) };
  }

  #rest(): number[] {
    const picked = new Set(this.#ranking.flat());
    return Array.from({ length: this.#count }, (_, place) => place).filter((place) => !picked.has(place));
  }
}
