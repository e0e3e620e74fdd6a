/**
 * Models that only read: what their sessions are asked for, and what they say of answers to prompts. Answers that
 * follow each other and have the same prompt share its computation.
 */
import type { Architecture, Session, SessionOptions } from '../native/addon.ts';
import { type PackedRow, packGroups } from '../preference/batch.ts';

/** Rows of a batch, where the model's longest are shorter: enough to make matrix products of some size. */
const BATCH_ROWS = 2_048;

/** A session that reads rows of at most `longest` tokens, several of them in a batch. */
export function readingOptions(
  architecture: Architecture,
  threads: number,
  longest: number,
): Omit<SessionOptions, 'adapters'> {
  const rows = Math.max(BATCH_ROWS, Math.min(longest, architecture.maxPositions));
  return {
    architecture,
    threads,
    trainable: false,
    maxTokens: rows,
    maxSequences: rows,
    maxScored: rows,
    recompute: false,
    generationSlots: 0,
    generationLength: 0,
  };
}

/** An answer of at least one token, and the prompt of at least one that it goes on from. */
export interface Answered {
  prompt: Int32Array;
  answer: Int32Array;
}

export interface ReadOptions {
  /** `tokens`: log p(answer | prompt) in nats; `values`: the scalar head's value at the answer's last token. */
  outputs: 'tokens' | 'values';
  /** Tokens of a batch at most; each prompt with its answer has to fit. No batch has more sequences than tokens. */
  maxRows: number;
  /** The adapter that reads. Absent: the base alone. */
  adapter?: number | undefined;
}

/** A number for each answer, in their order. */
export async function readAnswers(
  session: Session,
  answered: readonly Answered[],
  options: ReadOptions,
): Promise<Float64Array> {
  const { outputs, adapter } = options;
  const numbers = new Float64Array(answered.length);
  for (const groups of batches(answered, options)) {
    const { batch, places } = packGroups(groups, { outputs });
    const scores = await session.forward({ ...batch, ...(adapter === undefined ? {} : { adapter }) });
    const read = outputs === 'values' ? scores.values : scores.logProbs;
    groups.forEach(({ answers, first }, g) => {
      answers.forEach((_, a) => {
        const { start, length } = places[g]!.answers[a]!;
        for (let i = start; i < start + length; i++) numbers[first + a]! += read[i]!;
      });
    });
  }
  return numbers;
}

/** A prompt with answers that follow each other; `first` is the place of the first of them. */
interface Group extends PackedRow {
  first: number;
}

/** Answers in order, those with the same prompt together, in batches that there is room for. */
function* batches(answered: readonly Answered[], { maxRows }: ReadOptions): Generator<Group[]> {
  let batch: Group[] = [];
  let rows = 0;
  for (const [first, { prompt, answer }] of answered.entries()) {
    let last = batch.at(-1);
    if (last && !sameIds(last.prompt, prompt)) last = undefined;
    if (batch.length > 0 && rows + (last ? 0 : prompt.length) + answer.length > maxRows) {
      yield batch;
      batch = [];
      rows = 0;
      last = undefined;
    }
    rows += (last ? 0 : prompt.length) + answer.length;
    if (last) last.answers.push(answer);
    else batch.push({ prompt, answers: [answer], first });
  }
  if (batch.length > 0) yield batch;
}

function sameIds(a: Int32Array, b: Int32Array): boolean {
  return a === b || (a.length === b.length && a.every((id, i) => id === b[i]));
}
