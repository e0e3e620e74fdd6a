/**
 * Labels from a judge: a model that is shown every two responses of a prompt, in both orders because models prefer a
 * place (Zheng et al. 2023). It has three replies to choose from, A, B and tie: its verdict is the likeliest of them,
 * and how likely, among the three, its confidence. Where the two verdicts name different winners, the responses are
 * equally good.
 */
import { encodeAnswer } from '../data/preference.ts';
import { chatPrompt, rawPrompt } from '../models/complete.ts';
import { type Answered, readAnswers } from '../models/reading.ts';
import type { Session } from '../native/addon.ts';
import type { TemplateKwargs } from '../tokenizer/chat_template.ts';
import type { Tokenizer } from '../tokenizer/tokenizer.ts';
import type { Labelled, Voice } from './labelled.ts';
import { type Opinion, type Ranking, sameTexts, scoresOf } from './order.ts';
import { promptText, type ResponseRow } from './responses.ts';
import { RowLog } from './row_log.ts';

/** A judge, open. */
export interface Judge {
  session: Session;
  tokenizer: Tokenizer;
  /** Asked in conversation, or as text to go on from. */
  chat: boolean;
  /** Rows of a batch: what the session has reserved. */
  maxRows: number;
  /** Longest question with its verdict that it reads. */
  maxLength: number;
  /** What its chat template is given. */
  templateKwargs?: TemplateKwargs | undefined;
}

export interface JudgeOptions {
  model: Judge;
  rubric: string;
  /** Prompts of a batch. */
  batch: number;
  log: string;
  /** Called after each batch, with how many prompts are done. */
  between(done: number): void;
}

/** The replies that a judge chooses from, and who is better then. */
const REPLIES = [
  ['A', 'first'],
  ['B', 'second'],
  ['tie', 'tie'],
] as const;

/** Who is better of the two that are shown, and its share of the replies' probability. */
export interface Verdict {
  better: 'first' | 'second' | 'tie';
  confidence: number;
}

/** Two responses, and what was said with `a` shown first and with `b` shown first; null: too long for the judge. */
export interface Comparison {
  a: number;
  b: number;
  verdicts: (Verdict | null)[];
}

/** Asks about all rows. */
export async function judgeLabels(rows: readonly ResponseRow[], options: JudgeOptions): Promise<Labelled> {
  const { batch, between } = options;
  const log = await RowLog.open<Comparison[][]>(options.log);
  try {
    for (let from = log.pieces.length * batch; from < rows.length; from += batch) {
      await log.append(await judgeRows(rows.slice(from, from + batch), options));
      between(Math.min(from + batch, rows.length));
    }
    const compared = log.pieces.flat();
    const unread = compared.flat().filter(({ verdicts }) => verdicts.includes(null)).length;
    return {
      rows: rows.map((row, i) => rowLabels(row, compared[i]!)),
      skipped: new Map(unread > 0 ? [['the judge met a pair longer than it reads', unread]] : []),
      results: judgeResults(compared.flat()),
    };
  } finally {
    await log.close();
  }
}

/** The verdict from the log-probabilities of the replies. */
export function verdictOf(logProbs: ArrayLike<number>): Verdict {
  const all = Array.from(logProbs);
  const highest = Math.max(...all);
  const total = all.reduce((sum, logProb) => sum + Math.exp(logProb - highest), 0);
  return { better: REPLIES[all.indexOf(highest)]![1], confidence: 1 / total };
}

async function judgeRows(rows: readonly ResponseRow[], options: JudgeOptions): Promise<Comparison[][]> {
  const { session, maxLength, maxRows } = options.model;
  const asked: { comparison: Comparison; order: number; replies: Answered[] }[] = [];
  const compared = rows.map((row) => {
    const texts = row.responses.map(({ text }) => text);
    const different = [...sameTexts(texts).keys()];
    return different.flatMap((a, i) =>
      different.slice(i + 1).map((b): Comparison => {
        const comparison: Comparison = { a, b, verdicts: [null, null] };
        for (const order of [0, 1]) {
          const [first, second] = order === 0 ? [texts[a]!, texts[b]!] : [texts[b]!, texts[a]!];
          const replies = repliesTo(options, row, first, second);
          if (replies.every(({ prompt, answer }) => prompt.length + answer.length <= maxLength))
            asked.push({ comparison, order, replies });
        }
        return comparison;
      }),
    );
  });
  const answered = asked.flatMap(({ replies }) => replies);
  const logProbs = await readAnswers(session, answered, {
    outputs: 'tokens',
    maxRows,
  });
  asked.forEach(({ comparison, order }, i) => {
    const own = logProbs.subarray(i * REPLIES.length, (i + 1) * REPLIES.length);
    comparison.verdicts[order] = verdictOf(own);
  });
  return compared;
}

/** The question about two responses with each of the replies, as ids. */
function repliesTo(
  { model: { tokenizer, chat, templateKwargs }, rubric }: JudgeOptions,
  row: ResponseRow,
  first: string,
  second: string,
): Answered[] {
  const text = question(rubric, row, first, second);
  const messages = chat ? [{ role: 'user', content: text }] : undefined;
  const asked = { text, messages, ids: undefined, templateKwargs };
  const prompt = messages
    ? chatPrompt(tokenizer, messages, asked)
    : rawPrompt(tokenizer, `${text}\n\nVerdict:`);
  return REPLIES.map(([reply]) => {
    const answer = { text: chat ? reply : ` ${reply}`, ids: undefined };
    return {
      prompt,
      answer: encodeAnswer(asked, prompt, answer, tokenizer, false),
    };
  });
}

/** What the judge is asked about two responses. */
export function question(rubric: string, row: ResponseRow, first: string, second: string): string {
  const asked =
    row.messages && row.messages.length > 1
      ? row.messages.map(({ role, content }) => `${role}: ${content ?? ''}`).join('\n')
      : promptText(row);
  return [
    rubric,
    `Question:\n${asked}`,
    `Answer A:\n${first}`,
    `Answer B:\n${second}`,
    'Which answer is better? Reply with A, B or tie, and nothing else.',
  ].join('\n\n');
}

/** Who is better by each of the verdicts: `a`, `b`, neither, or not known. */
function winners({ verdicts }: Comparison): ('a' | 'b' | 'tie' | null)[] {
  return verdicts.map((verdict, order) => {
    if (verdict === null || verdict.better === 'tie') return verdict && 'tie';
    return (verdict.better === 'first') === (order === 0) ? 'a' : 'b';
  });
}

/**
 * Scores by the comparisons that a response won. A win counts by the mean confidence of its two verdicts, the rest of
 * the comparison as a tie; so of two responses that beat a third the one that does it more clearly has the higher score.
 */
function rowLabels(row: ResponseRow, comparisons: readonly Comparison[]): Labelled['rows'][number] {
  const groups = sameTexts(row.responses.map(({ text }) => text));
  const opinions: Opinion[] = [];
  const voices: Voice[] = [];
  for (const comparison of comparisons) {
    const [as, bs] = [groups.get(comparison.a)!, groups.get(comparison.b)!];
    const tie: Ranking = [[...as, ...bs]];
    const ranked = (winner: 'a' | 'b' | 'tie'): Ranking =>
      winner === 'tie' ? tie : winner === 'a' ? [as, bs] : [bs, as];
    const [one, other] = winners(comparison);
    if (!one || !other) continue;
    voices.push(
      { labeller: 'in order', criterion: 'rubric', ranking: ranked(one) },
      { labeller: 'in reverse', criterion: 'rubric', ranking: ranked(other) },
    );
    const agreed = one === other ? one : 'tie';
    const share = agreed === 'tie' ? 0 : meanConfidence([comparison]);
    opinions.push({ ranking: ranked(agreed), weight: share }, { ranking: tie, weight: 1 - share });
  }
  return { scores: scoresOf(opinions, row.responses.length), voices };
}

/**
 * What is to know of a judge: the share of pairs with the same winner in both orders, the share of verdicts for the
 * response that was shown first (half, if the place does not matter), and the mean confidence.
 */
function judgeResults(comparisons: readonly Comparison[]): Record<string, number> {
  const read = comparisons.filter(({ verdicts }) => !verdicts.includes(null));
  if (read.length === 0) return {};
  const share = (count: number, of: number) => count / of;
  const decided = read.flatMap(({ verdicts }) => verdicts.filter((verdict) => verdict!.better !== 'tie'));
  const first = decided.filter((verdict) => verdict!.better === 'first').length;
  const same = read.filter((comparison) => new Set(winners(comparison)).size === 1).length;
  return {
    judge_consistency: share(same, read.length),
    ...(decided.length === 0 ? {} : { judge_prefers_first: share(first, decided.length) }),
    judge_confidence: meanConfidence(read),
  };
}

function meanConfidence(comparisons: readonly Comparison[]): number {
  const all = comparisons.flatMap(({ verdicts }) => verdicts.map((verdict) => verdict!.confidence));
  return all.reduce((sum, confidence) => sum + confidence, 0) / all.length;
}
