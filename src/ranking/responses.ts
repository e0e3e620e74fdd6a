/**
 * Datasets of responses: rows with a prompt and its responses, as the `generate` stage writes them, or of one's own
 * (`prompt` or `messages`, and `responses` as texts or objects with `text`).
 */
import { join } from 'node:path';
import { z } from 'zod';
import { AnnealError } from '../../proto/errors.ts';
import { promptOf } from '../data/shapes/answers.ts';
import { describe, isRecord } from '../data/shapes/errors.ts';
import { parsedJson } from '../data/shapes/messages.ts';
import { type RowSource, readRows } from '../data/shapes/read.ts';
import type { RowKind } from '../data/shapes/shaper.ts';
import type { Artifact } from '../stages/stage.ts';
import { type ChatMessage, type TemplateInputs, templateInputs } from '../tokenizer/chat_template.ts';
import { exists, readJson } from '../util/files.ts';

/** `dataset.json` beside a file of responses. */
export const datasetFileSchema = z.looseObject({
  format: z.literal(1),
  kind: z.enum(['responses', 'rankings']),
  /** Of the ids; with several tokenizers there are no ids and this is `mixed`. */
  tokenizer_hash: z.string(),
  /** Of the template that rendered the prompts; null: they are plain text. */
  chat_template_hash: z.string().nullable(),
  rows: z.int(),
});
export type DatasetFile = z.output<typeof datasetFileSchema>;

export const DATASET_FILE = 'dataset.json';
export const RESPONSES_FILE = 'responses.jsonl';
export const RANKINGS_FILE = 'rankings.jsonl';

const ids = z.array(z.int().min(0));
const responseSchema = z.looseObject({
  text: z.string(),
  ids: ids.nullish(),
  log_probs: z.array(z.number()).nullish(),
  model: z.string().optional(),
  finish: z.enum(['stop', 'length']).optional(),
});
const responsesSchema = z.array(z.union([z.string().transform((text) => ({ text })), responseSchema])).min(1);

export type StoredResponse = z.output<typeof responseSchema>;

/** A prompt with its responses. */
export interface ResponseRow extends TemplateInputs {
  /** Unique in the dataset. */
  id: string;
  prompt: string | undefined;
  messages: ChatMessage[] | undefined;
  promptIds: number[] | undefined;
  /** Other fields of the row that the prompt came from. */
  fields: Record<string, unknown>;
  responses: StoredResponse[];
  /** `file:line` */
  origin: string;
}

/** Reads the rows of a dataset, in order. */
export async function readResponses(source: RowSource): Promise<ResponseRow[]> {
  const rows: ResponseRow[] = [];
  const origins = new Map<string, string>();
  for await (const { content, origin, number } of readRows(source, RESPONSES)) {
    // By its number in the whole: the row is the same where `where` leaves others out.
    const row = { ...content, id: content.id ?? String(number), origin };
    const other = origins.get(row.id);
    if (other !== undefined) {
      throw new AnnealError('data_field', `${row.origin}: id ${row.id} is that of ${other} as well.`, {
        path: `${row.origin}:id`,
        hint: 'Labels belong to rows by their id: give each its own, or none.',
      });
    }
    origins.set(row.id, row.origin);
    rows.push(row);
  }
  if (rows.length > 0) return rows;
  throw new AnnealError('data_empty', `There are no responses in ${source.patterns.join(', ')}.`, {
    path: source.patterns[0] ?? source.setting,
  });
}

/** The file of an artifact that holds responses. */
export function responsesFile(artifact: Pick<Artifact, 'path' | 'type'>): string {
  return join(artifact.path, artifact.type === 'rank' ? RANKINGS_FILE : RESPONSES_FILE);
}

/** What `dataset.json` in a folder says; undefined where there is none. */
export async function readDatasetFile(dir: string): Promise<DatasetFile | undefined> {
  const path = join(dir, DATASET_FILE);
  if (!(await exists(path))) return undefined;
  return datasetFileSchema.safeParse(await readJson(path, 'artifact_corrupt')).data;
}

/** What a template gets beside the messages, as rows of JSON have it. */
export function inputFields({ tools, templateKwargs }: TemplateInputs): Record<string, unknown> {
  return { ...(tools && { tools }), ...(templateKwargs && { chat_template_kwargs: templateKwargs }) };
}

/** The text of a row's prompt: of a conversation its last message. */
export function promptText({ prompt, messages }: Pick<ResponseRow, 'prompt' | 'messages'>): string {
  return messages?.at(-1)?.content ?? prompt ?? '';
}

const RESPONSES: RowKind<'responses', Omit<ResponseRow, 'id' | 'origin'> & { id: string | undefined }> = {
  takes: ['responses'],
  parse(row) {
    const id = row.get('id');
    if (id !== undefined && typeof id !== 'string' && typeof id !== 'number')
      throw row.failRole('id', `must be text or a number, is ${describe(id)}`);
    const parsed = responsesSchema.safeParse(parsedJson(row.get('responses')));
    if (!parsed.success) {
      const issue = parsed.error.issues[0]!;
      const below = issue.path.map((part) => `.${String(part)}`).join('');
      throw row.failRole(
        'responses',
        `is not a list of texts or of objects with text: ${issue.message}`,
        below,
      );
    }
    const asked = promptOf(row);
    const fields = row.get('fields');
    return {
      id: id === undefined ? undefined : String(id),
      prompt: asked.text,
      messages: asked.messages,
      ...templateInputs(asked),
      promptIds: asked.ids,
      fields: isRecord(fields) ? fields : {},
      responses: parsed.data,
    };
  },
};
