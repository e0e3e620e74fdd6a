/**
 * Prompts with their answers laid end to end for the engine: a prompt is one sequence, computed once, and each answer
 * a sequence that goes on from it. The first token of an answer is scored at the prompt's last row, the others at the
 * answer's own; its last token is predicted and predicts nothing, so it is no input, except where a value is read there.
 * Of an answer of several messages, those that the assistant does not write are input and not scored.
 */
import { type AnswerGroup, scoredTokens } from '../data/preference.ts';
import type { Batch } from '../native/addon.ts';

export interface PackOptions {
  /** `values`: the scalar head at the last token of each answer, instead of log-probabilities. */
  outputs: 'tokens' | 'values';
  /** Score the prompt's own tokens (but the first) as well. */
  scorePrompt?: boolean;
  /** A scored row has the teacher's k tokens as targets, instead of the answer's token alone. */
  teacher?: boolean;
}

/** What is laid out of a group. */
export type PackedRow = Pick<AnswerGroup, 'prompt' | 'answers' | 'scored'> & {
  teacher?: AnswerGroup['teacher'];
};

/** Where the numbers of a group stand among the scored rows. */
export interface GroupPlace {
  /** Rows of the prompt's tokens. */
  prompt: { start: number; length: number };
  answers: { start: number; length: number }[];
}

export interface PackedGroups {
  batch: Batch;
  places: GroupPlace[];
}

/** Input tokens that a group takes. */
export function groupTokens(group: PackedRow, outputs: PackOptions['outputs']): number {
  const unread = outputs === 'values' ? 0 : 1;
  return group.answers.reduce((sum, { length }) => sum + length - unread, group.prompt.length);
}

/** Sequences that a group takes at most. */
export function groupSequences(group: Pick<AnswerGroup, 'answers'>): number {
  return 1 + group.answers.length;
}

/** Scored rows of a group. */
export function groupScored(group: PackedRow, options: PackOptions): number {
  if (options.outputs === 'values') return group.answers.length;
  const prompt = options.scorePrompt ? group.prompt.length - 1 : 0;
  return group.answers.reduce((sum, _, i) => sum + scoredTokens(group, i), prompt);
}

/** Rows of the engine that a group takes at most, whether they are inputs or scored: what batches are filled by. */
export function groupRows(group: PackedRow, options: PackOptions): number {
  return Math.max(groupTokens(group, options.outputs), groupScored(group, options));
}

/** Lays groups end to end. */
export function packGroups(groups: readonly PackedRow[], options: PackOptions): PackedGroups {
  const builder = new BatchBuilder();
  const values = options.outputs === 'values';
  let k = 1;
  const places = groups.map((group): GroupPlace => {
    const { prompt, answers } = group;
    const sequence = builder.add(prompt, -1);
    const last = builder.tokens - 1;
    const place: GroupPlace = { prompt: { start: builder.scored.length, length: 0 }, answers: [] };
    if (options.scorePrompt) {
      for (let i = 0; i + 1 < prompt.length; i++)
        builder.score(last - prompt.length + 1 + i, [prompt[i + 1]!]);
      place.prompt.length = prompt.length - 1;
    }
    const targets = options.teacher ? group.teacher : undefined;
    k = targets?.k ?? 1;
    for (const [i, answer] of answers.entries()) {
      const counts = group.scored?.[i];
      const start = builder.scored.length;
      if (values) {
        builder.add(answer, sequence);
        builder.score(builder.tokens - 1, [0]);
      } else {
        const own = builder.tokens;
        if (answer.length > 1) builder.add(answer.subarray(0, -1), sequence);
        for (let t = 0; t < answer.length; t++) {
          if (counts?.[t] === 0) continue;
          const row = t === 0 ? last : own + t - 1;
          builder.score(row, targets ? targets.ids.subarray(t * k, (t + 1) * k) : [answer[t]!]);
        }
      }
      place.answers.push({ start, length: builder.scored.length - start });
    }
    return place;
  });
  return {
    batch: { ...builder.batch(), outputs: options.outputs, ...(k > 1 ? { targetsPerRow: k } : {}) },
    places,
  };
}

/** Collects sequences and scored rows. */
class BatchBuilder {
  tokens = 0;
  readonly scored: number[] = [];
  readonly #targets: number[] = [];
  readonly #pieces: Int32Array[] = [];
  readonly #borders: number[] = [0];
  readonly #prefix: number[] = [];

  /** Adds a sequence; returns its number. */
  add(ids: Int32Array, prefix: number): number {
    this.#pieces.push(ids);
    this.tokens += ids.length;
    this.#borders.push(this.tokens);
    return this.#prefix.push(prefix) - 1;
  }

  score(row: number, targets: Iterable<number>): void {
    this.scored.push(row);
    for (const target of targets) this.#targets.push(target);
  }

  batch(): Batch {
    const tokens = new Int32Array(this.tokens);
    this.#pieces.forEach((piece, s) => {
      tokens.set(piece, this.#borders[s]!);
    });
    return {
      tokens,
      cuSeqlens: Int32Array.from(this.#borders),
      prefix: Int32Array.from(this.#prefix),
      scored: Int32Array.from(this.scored),
      targets: Int32Array.from(this.#targets),
    };
  }
}

/** Groups in the order given, in batches of at most `maxRows` rows. */
export function batchesOf<Group extends PackedRow>(
  groups: readonly Group[],
  options: PackOptions,
  maxRows: number,
): Group[][] {
  const batches: Group[][] = [];
  let room = 0;
  for (const group of groups) {
    const rows = groupRows(group, options);
    if (batches.length === 0 || rows > room) {
      batches.push([]);
      room = maxRows;
    }
    batches.at(-1)!.push(group);
    room -= rows;
  }
  return batches;
}
