/** Rows of an evaluation: questions with answers, or texts whose likelihood is measured. */
import { AnnealError } from '../../proto/errors.ts';
import { describe } from '../data/shapes/errors.ts';
import { parsedJson } from '../data/shapes/messages.ts';
import { type RowSource, readRows } from '../data/shapes/read.ts';
import type { FieldRow } from '../data/shapes/row.ts';
import type { RowKind } from '../data/shapes/shaper.ts';
import type { ChatMessage, TemplateInputs } from '../tokenizer/chat_template.ts';

/** Raw text, or the turns of a conversation up to the answer. */
export type Question = ({ prompt: string } | { messages: ChatMessage[] }) & TemplateInputs;

/** What a question asks: of a conversation its last message. */
export function questionText(question: Question): string {
  return 'prompt' in question ? question.prompt : (question.messages.at(-1)!.content ?? '');
}

export interface EvaluationRow {
  question: Question | undefined;
  /** Any of these is right. */
  answers: string[];
  /** Set where there is no question. */
  text: string | undefined;
  /** The whole row, for grouping. */
  fields: Record<string, unknown>;
  origin: string;
}

/** Reads the rows of a stage's data, in order. */
export async function readEvaluationRows(source: RowSource): Promise<EvaluationRow[]> {
  const rows: EvaluationRow[] = [];
  for await (const { content, origin } of readRows(source, EVALUATION)) rows.push({ ...content, origin });
  if (rows.length > 0) return rows;
  throw new AnnealError('data_empty', `There are no rows in ${source.patterns.join(', ')}.`, {
    path: source.patterns[0] ?? source.setting,
  });
}

type EvaluationShape = 'question' | 'completion' | 'alpaca' | 'messages' | 'text';

const EVALUATION: RowKind<EvaluationShape, Omit<EvaluationRow, 'origin'>> = {
  takes: ['question', 'completion', 'alpaca', 'messages', 'text'],
  parse(row, shape) {
    const fields = row.rest();
    if (shape === 'text') return { question: undefined, answers: [], text: row.text('text'), fields };
    if (shape === 'messages' && !row.has('answer')) return { ...lastTurn(row), text: undefined, fields };
    const asked = row.has('messages') ? row.messages('messages') : row.prompt();
    const question = {
      ...(typeof asked === 'string' ? { prompt: asked } : { messages: asked }),
      ...row.templateInputs(),
    };
    const answers =
      shape === 'completion'
        ? [row.text('completion')]
        : shape === 'alpaca'
          ? [row.text('output')]
          : answersOf(row);
    return { question, answers, text: undefined, fields };
  },
};

/** A conversation that ends with its answer: that is what is right. */
function lastTurn(row: FieldRow): Pick<EvaluationRow, 'question' | 'answers'> {
  const messages = row.messages('messages');
  const last = messages.at(-1)!;
  if (last.role !== 'assistant' || last.content === null || messages.length < 2)
    throw row.failRole(
      'answer',
      'is missing, and the conversation does not end with a question and its answer',
    );
  return { question: { messages: messages.slice(0, -1), ...row.templateInputs() }, answers: [last.content] };
}

/** The answers that are right: one text, or a list of them. */
function answersOf(row: FieldRow): string[] {
  const value = row.get('answer');
  const given = Array.isArray(value) ? value : [parsedJson(value)].flat();
  if (given.length > 0 && given.every((answer) => typeof answer === 'string')) return given;
  throw row.failRole('answer', `must be text or a list of texts, is ${describe(value)}`);
}
