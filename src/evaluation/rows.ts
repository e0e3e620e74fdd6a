/** Rows of an evaluation: questions with answers, or texts whose likelihood is measured. One JSON object a line. */
import { z } from 'zod';
import { AnnealError } from '../../proto/errors.ts';
import { readLines } from '../data/lines.ts';

export interface EvaluationRow {
  /** Raw text, or the turns of a conversation up to the answer. */
  question: { prompt: string } | { messages: { role: string; content: string }[] } | undefined;
  /** Any of these is right. */
  answers: string[];
  /** Set where there is no question. */
  text: string | undefined;
  /** The whole row, for grouping. */
  fields: Record<string, unknown>;
  origin: string;
}

const rowSchema = z.looseObject({
  prompt: z.string().optional(),
  messages: z
    .array(z.looseObject({ role: z.string(), content: z.string() }))
    .min(1)
    .optional(),
  answer: z.union([z.string(), z.array(z.string()).min(1)]).optional(),
  text: z.string().optional(),
});

/** Reads the rows of JSONL files, in order. */
export async function readEvaluationRows(files: readonly string[]): Promise<EvaluationRow[]> {
  const rows: EvaluationRow[] = [];
  for (const file of files) {
    for await (const lines of readLines(file)) {
      for (const { bytes, number } of lines) {
        const content = bytes.toString();
        if (content.trim() !== '') rows.push(parseRow(content, `${file}:${number}`));
      }
    }
  }
  if (rows.length === 0) {
    throw new AnnealError('data_empty', `There are no rows in ${files.join(', ')}.`, {
      path: files[0] ?? 'dataset',
    });
  }
  return rows;
}

function parseRow(content: string, origin: string): EvaluationRow {
  let value: unknown;
  try {
    value = JSON.parse(content);
  } catch (cause) {
    throw new AnnealError('data_syntax', `${origin} is not JSON: ${(cause as Error).message}`, {
      path: origin,
      cause,
    });
  }
  const parsed = rowSchema.safeParse(value);
  if (!parsed.success) {
    const issue = parsed.error.issues[0]!;
    const field = issue.path.join('.') || 'row';
    throw new AnnealError('data_field', `${origin}: ${field}: ${issue.message}.`, {
      path: `${origin}:${field}`,
    });
  }
  const { prompt, messages, answer, text } = parsed.data;
  const question = messages ? { messages } : prompt === undefined ? undefined : { prompt };
  if (question ? answer === undefined : text === undefined) {
    throw new AnnealError('data_field', `${origin}: ${question ? 'answer' : 'prompt'} is missing.`, {
      path: origin,
      hint: 'A row has `prompt` (or `messages`) and `answer`, or `text` for perplexity.',
    });
  }
  return {
    question,
    answers: answer === undefined ? [] : [answer].flat(),
    text: question ? undefined : text,
    fields: parsed.data,
    origin,
  };
}
