/**
 * Labels from a judge: a model that is shown every two responses of a prompt, in both orders because models prefer a
 * place (Zheng et al. 2023). Where the two verdicts differ, the responses are equally good; where one cannot be read,
 * nothing is said about the pair.
 */
import { chatPrompt, completeBatch, rawPrompt } from '../models/complete.ts';
import type { ServedModel } from '../stages/stage.ts';
import type { Labelled, Voice } from './labelled.ts';
import { sameTexts, scoresOf } from './order.ts';
import { promptText, type ResponseRow } from './responses.ts';
import { RowLog } from './row_log.ts';

export interface JudgeOptions {
  model: ServedModel;
  rubric: string;
  maxNewTokens: number;
  /** Verdicts drawn side by side. */
  batch: number;
  log: string;
  /** Called after each row. */
  between(done: number): void;
}

/** First better, second better, equally good, or not to be read. */
export type Verdict = 'first' | 'second' | 'tie' | null;

/** Two responses, and what was said with `a` shown first and with `b` shown first. */
interface Comparison {
  a: number;
  b: number;
  verdicts: [Verdict, Verdict];
}

/** Asks about all rows. */
export async function judgeLabels(rows: readonly ResponseRow[], options: JudgeOptions): Promise<Labelled> {
  const log = await RowLog.open<Comparison[]>(options.log);
  try {
    for (let row = log.pieces.length; row < rows.length; row++) {
      await log.append(await judgeRow(rows[row]!, options));
      options.between(row + 1);
    }
    const unread = log.pieces.flat().filter(({ verdicts }) => verdicts.includes(null)).length;
    return {
      rows: rows.map((row, i) => rowLabels(row, log.pieces[i]!)),
      skipped: new Map(
        unread > 0 ? [['the judge gave no verdict that can be read about a pair', unread]] : [],
      ),
    };
  } finally {
    await log.close();
  }
}

/** The verdict of a reply: `[[A]]` anywhere, a verdict at its beginning, or the only one that it names. */
export function parseVerdict(reply: string): Verdict {
  const word = (text: string | undefined): Verdict => {
    if (text === undefined) return null;
    return /^a$/i.test(text) ? 'first' : /^b$/i.test(text) ? 'second' : 'tie';
  };
  const marked = [...reply.matchAll(/\[\[\s*(a|b|c|tie)\s*\]\]/gi)].at(-1)?.[1];
  if (marked !== undefined) return word(marked);
  const begins = /^\W*(?:answer\s+)?(a|b|tie)(?=\W*$|\s*[.,:;!)*\n]|\s+(?:is|wins)\b)/i.exec(reply)?.[1];
  if (begins !== undefined) return word(begins);
  // Small `a` is the article.
  const named = new Set([...reply.matchAll(/\b(A|B|[Tt]ie|TIE)\b/g)].map(([, text]) => word(text)));
  return named.size === 1 ? [...named][0]! : null;
}

async function judgeRow(row: ResponseRow, options: JudgeOptions): Promise<Comparison[]> {
  const texts = row.responses.map(({ text }) => text);
  const different = [...sameTexts(texts).keys()];
  const comparisons = different.flatMap((a, i) =>
    different.slice(i + 1).map((b): Comparison => ({ a, b, verdicts: [null, null] })),
  );
  const { model, maxNewTokens } = options;
  const asked = comparisons.flatMap((comparison) =>
    [0, 1].map((order) => {
      const [first, second] = order === 0 ? [comparison.a, comparison.b] : [comparison.b, comparison.a];
      return {
        comparison,
        order,
        prompt: judgePrompt(model, options.rubric, row, texts[first]!, texts[second]!),
      };
    }),
  );
  // A pair too long for the judge has no verdict.
  const fitting = asked.filter(({ prompt }) => prompt.length + maxNewTokens <= model.generationLength);
  for (let from = 0; from < fitting.length; from += options.batch) {
    const batch = fitting.slice(from, from + options.batch);
    const replies = await completeBatch(
      model,
      batch.map(({ prompt }) => prompt),
      {
        max_new_tokens: maxNewTokens,
        temperature: 0,
        top_k: 0,
        top_p: 1,
        min_p: 0,
        repetition_penalty: 1,
        stop: [],
        seed: 0,
      },
      new AbortController().signal,
    );
    batch.forEach(({ comparison, order }, i) => {
      comparison.verdicts[order as 0 | 1] = parseVerdict(replies[i]!);
    });
  }
  return comparisons;
}

function judgePrompt(
  { tokenizer }: ServedModel,
  rubric: string,
  row: ResponseRow,
  first: string,
  second: string,
): Int32Array {
  const question =
    row.messages && row.messages.length > 1
      ? row.messages.map(({ role, content }) => `${role}: ${content}`).join('\n')
      : promptText(row);
  const text = [
    rubric,
    `Question:\n${question}`,
    `Answer A:\n${first}`,
    `Answer B:\n${second}`,
    'Which answer is better? Reply with A, B or tie, and nothing else.',
  ].join('\n\n');
  return tokenizer.chatTemplate === undefined
    ? rawPrompt(tokenizer, `${text}\n\nVerdict:`)
    : chatPrompt(tokenizer, [{ role: 'user', content: text }]);
}

function rowLabels(row: ResponseRow, comparisons: readonly Comparison[]): Labelled['rows'][number] {
  const groups = sameTexts(row.responses.map(({ text }) => text));
  const ranked = (a: number, b: number, winner: 'a' | 'b' | 'tie') => {
    const [as, bs] = [groups.get(a)!, groups.get(b)!];
    return winner === 'tie' ? [[...as, ...bs]] : winner === 'a' ? [as, bs] : [bs, as];
  };
  const opinions: { ranking: number[][]; weight: number }[] = [];
  const voices: Voice[] = [];
  for (const { a, b, verdicts } of comparisons) {
    const winners = verdicts.map((verdict, order) =>
      verdict === null || verdict === 'tie' ? verdict : (verdict === 'first') === (order === 0) ? 'a' : 'b',
    );
    winners.forEach((winner, order) => {
      if (winner === null || winner === undefined) return;
      voices.push({
        labeller: order === 0 ? 'in order' : 'in reverse',
        criterion: 'rubric',
        ranking: ranked(a, b, winner),
      });
    });
    const [one, other] = winners;
    if (!one || !other) continue;
    opinions.push({ ranking: ranked(a, b, one === other ? one : 'tie'), weight: 1 });
  }
  return { scores: scoresOf(opinions, row.responses.length), voices };
}
