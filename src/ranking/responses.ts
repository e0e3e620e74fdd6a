/**
 * Datasets of responses: JSONL, a prompt with its responses a line, as the `generate` stage writes it, or of one's
 * own (`prompt` or `messages`, and `responses` as texts or objects with `text`).
 */
import { join } from 'node:path';
import { z } from 'zod';
import { AnnealError } from '../../proto/errors.ts';
import { readLines } from '../data/lines.ts';
import type { Artifact } from '../stages/stage.ts';
import type { ChatMessage } from '../tokenizer/chat_template.ts';
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
const rowSchema = z.looseObject({
  id: z.union([z.string(), z.number()]).optional(),
  prompt: z.string().optional(),
  messages: z
    .array(z.looseObject({ role: z.string(), content: z.string() }))
    .min(1)
    .optional(),
  prompt_ids: ids.nullish(),
  fields: z.record(z.string(), z.unknown()).optional(),
  responses: z.array(z.union([z.string().transform((text) => ({ text })), responseSchema])).min(1),
});

export type StoredResponse = z.output<typeof responseSchema>;

/** A prompt with its responses. */
export interface ResponseRow {
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

/** Reads the rows of files, in order; a line that does not fit is an error with its place. */
export async function readResponses(files: readonly string[]): Promise<ResponseRow[]> {
  const rows: ResponseRow[] = [];
  const origins = new Map<string, string>();
  for (const file of files) {
    for await (const lines of readLines(file)) {
      for (const { bytes, number } of lines) {
        const line = bytes.toString();
        if (line.trim() === '') continue;
        const row = parseRow(line, `${file}:${number}`, String(rows.length));
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
    }
  }
  if (rows.length === 0) {
    throw new AnnealError('data_empty', `There are no responses in ${files.join(', ')}.`, {
      path: files[0] ?? 'dataset',
    });
  }
  return rows;
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

/** The text of a row's prompt: of a conversation its last message. */
export function promptText({ prompt, messages }: Pick<ResponseRow, 'prompt' | 'messages'>): string {
  return messages?.at(-1)?.content ?? prompt ?? '';
}

function parseRow(line: string, origin: string, number: string): ResponseRow {
  let value: unknown;
  try {
    value = JSON.parse(line);
  } catch (cause) {
    throw new AnnealError('data_syntax', `${origin} is not valid JSON: ${(cause as Error).message}`, {
      path: origin,
      hint: 'JSONL has one JSON object a line.',
      cause,
    });
  }
  const parsed = rowSchema.safeParse(value);
  const field = parsed.success
    ? parsed.data.prompt === undefined && parsed.data.messages === undefined
      ? 'prompt'
      : undefined
    : parsed.error.issues[0]!.path.join('.') || 'row';
  if (!parsed.success || field !== undefined) {
    const problem = parsed.success ? 'is missing' : parsed.error.issues[0]!.message;
    throw new AnnealError('data_field', `${origin}: ${field}: ${problem}.`, {
      path: `${origin}:${field}`,
      hint: 'A row has `prompt` (or `messages`) and `responses`: texts, or objects with `text`.',
    });
  }
  const { id, prompt, messages, prompt_ids, fields, responses } = parsed.data;
  return {
    id: String(id ?? number),
    prompt: messages ? undefined : prompt,
    messages,
    promptIds: prompt_ids ?? undefined,
    fields: fields ?? {},
    responses,
    origin,
  };
}
