/** Labels from scorers (programs, a reward model): weighted sums of what they say, batch by batch, kept as it is made. */
import type { Response, Scorer } from '../rewards/scorer.ts';
import { templateInputs } from '../tokenizer/chat_template.ts';
import type { Labelled, RowLabels } from './labelled.ts';
import { rankingOf } from './order.ts';
import { promptText, type ResponseRow } from './responses.ts';
import { RowLog } from './row_log.ts';

export interface ScoredOptions {
  scorers: readonly Scorer[];
  weights: readonly number[];
  /** Prompts of a batch. */
  batch: number;
  /** File in the work folder for what was scored. */
  log: string;
  /** Called after each batch, with how many prompts are done. */
  between(done: number): void;
}

/** A batch as it is kept: by row, scorer and response; and how often scorers had nothing to say since the last batch. */
interface Piece {
  scores: (number | null)[][][];
  skipped: [string, number][];
}

/** Scores all responses. */
export async function scoredLabels(rows: readonly ResponseRow[], options: ScoredOptions): Promise<Labelled> {
  const { scorers, batch, between } = options;
  const log = await RowLog.open<Piece>(options.log);
  try {
    for (let from = log.pieces.length * batch; from < rows.length; from += batch) {
      await log.append(await scoreBatch(rows.slice(from, from + batch), scorers));
      between(Math.min(from + batch, rows.length));
    }
    const skipped = new Map<string, number>();
    for (const [reason, count] of log.pieces.flatMap((piece) => piece.skipped))
      skipped.set(reason, (skipped.get(reason) ?? 0) + count);
    return {
      rows: log.pieces.flatMap(({ scores }) => scores).map((scores) => combined(scores, options)),
      skipped,
    };
  } finally {
    await log.close();
  }
}

async function scoreBatch(rows: readonly ResponseRow[], scorers: readonly Scorer[]): Promise<Piece> {
  const responses = rows.flatMap(toResponses);
  const counts = () => scorers.map(({ skipped }) => new Map(skipped));
  const before = counts();
  const said: (number | null)[][] = [];
  for (const scorer of scorers) said.push(await scorer.score(responses));
  const skipped = counts().flatMap((own, s) =>
    [...own].map(([reason, count]): [string, number] => [
      `${scorers[s]!.name} ${reason}`,
      count - (before[s]!.get(reason) ?? 0),
    ]),
  );
  let at = 0;
  const scores = rows.map((row) => {
    const from = at;
    at += row.responses.length;
    return said.map((numbers) => numbers.slice(from, at));
  });
  return { scores, skipped: skipped.filter(([, count]) => count > 0) };
}

/** A response of which a scorer says nothing has no score: sums of different terms cannot be compared. */
function combined(scores: readonly (number | null)[][], { scorers, weights }: ScoredOptions): RowLabels {
  const responses = scores[0]?.length ?? 0;
  return {
    scores: Array.from({ length: responses }, (_, i) =>
      scores.some((of) => of[i] === null)
        ? null
        : scores.reduce((sum, of, s) => sum + weights[s]! * of[i]!, 0),
    ),
    // A program that counts against a response prefers the others.
    voices: scores.map((of, s) => ({
      labeller: scorers[s]!.name,
      criterion: 'score',
      ranking: rankingOf(of.map((score) => (score === null ? null : score * Math.sign(weights[s]!)))),
    })),
  };
}

function toResponses(row: ResponseRow): Response[] {
  return row.responses.map(({ text, ids, finish }) => ({
    prompt: promptText(row),
    messages: row.messages,
    ...templateInputs(row),
    promptIds: Int32Array.from(row.promptIds ?? []),
    text,
    ids: Int32Array.from(ids ?? []),
    finish: finish ?? 'stop',
    fields: row.fields,
  }));
}
