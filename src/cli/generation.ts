/** Asking a model for text: the options of sampling, names of models, and the stream of one generation. */
import { existsSync, readFileSync } from 'node:fs';
import { isAbsolute, resolve } from 'node:path';
import { type Command, InvalidArgumentError } from 'commander';
import type { CommandInput } from '../../proto/commands.ts';
import { AnnealError, type ErrorBody } from '../../proto/errors.ts';
import type { EventBody } from '../../proto/events.ts';
import type { Client } from '../client/client.ts';
import { eventsUntilSettled } from './events.ts';
import { integer, number } from './recipe.ts';

export type GenerateInput = CommandInput<'model.generate'>;
export type Completion = EventBody<'completion'>;

export interface SamplingOptions {
  maxNewTokens?: number;
  temperature?: number;
  topK?: number;
  topP?: number;
  minP?: number;
  repetitionPenalty?: number;
  stop?: string[];
  seed?: number;
  regex?: string;
  jsonSchema?: Record<string, unknown>;
}

/** Adds the options of sampling; what is not given is left to the daemon's defaults, which the help names. */
export function addSamplingOptions(command: Command): void {
  command
    .option('-m, --max-new-tokens <n>', 'most tokens of an answer (200)', integer(1))
    .option('-t, --temperature <x>', '0: always the likeliest token (0.7)', number(0))
    .option('--top-k <n>', 'only the n likeliest tokens; 0: all (0)', integer(0))
    .option('--top-p <x>', 'only the likeliest tokens that sum to x (1)', number(0, 1))
    .option('--min-p <x>', 'only tokens at least x times as likely as the likeliest (0)', number(0, 1))
    .option(
      '--repetition-penalty <x>',
      'above 1: tokens that were there already become less likely (1)',
      number(0),
    )
    .option('--stop <text>', 'end before this text; can be repeated', (text, before?: string[]) => [
      ...(before ?? []),
      text,
    ])
    .option('--seed <n>', 'same seed, same text (0)', integer(0))
    .option('--regex <expression>', 'the whole answer must match it')
    .option('--json-schema <file>', 'the answer must be JSON of this schema', jsonFile);
}

/** The sampling of a request, by the names of the protocol. */
export function samplingOf(options: SamplingOptions): NonNullable<GenerateInput['sampling']> {
  const { maxNewTokens, temperature, topK, topP, minP, repetitionPenalty, stop, seed, regex, jsonSchema } =
    options;
  return {
    ...(maxNewTokens !== undefined && { max_new_tokens: maxNewTokens }),
    ...(temperature !== undefined && { temperature }),
    ...(topK !== undefined && { top_k: topK }),
    ...(topP !== undefined && { top_p: topP }),
    ...(minP !== undefined && { min_p: minP }),
    ...(repetitionPenalty !== undefined && { repetition_penalty: repetitionPenalty }),
    ...(stop !== undefined && { stop: stop.map((text) => text.replaceAll('\\n', '\n')) }),
    ...(seed !== undefined && { seed }),
    ...(regex !== undefined && { regex }),
    ...(jsonSchema !== undefined && { json_schema: jsonSchema }),
  };
}

/** The object in a JSON file that an option names. */
function jsonFile(path: string): Record<string, unknown> {
  return objectOf(() => readFileSync(path, 'utf8'));
}

/** An option that is a JSON object. */
export function jsonObject(json: string): Record<string, unknown> {
  return objectOf(() => json);
}

function objectOf(read: () => string): Record<string, unknown> {
  let value: unknown;
  try {
    value = JSON.parse(read());
  } catch (error) {
    throw new InvalidArgumentError((error as Error).message);
  }
  if (typeof value === 'object' && value !== null && !Array.isArray(value))
    return value as Record<string, unknown>;
  throw new InvalidArgumentError('It is no JSON object.');
}

/** A model as the daemon takes it: a folder of this machine becomes an absolute path, a name stays. */
export function modelReference(name: string): string {
  const isModel = ['config.json', 'adapter_config.json'].some((file) => existsSync(resolve(name, file)));
  const isPath = name.startsWith('.') || isAbsolute(name) || isModel;
  return isPath ? resolve(name) : name;
}

/** The folder of a model that is named by a name of `anneal models` or by its path. */
export async function modelPath(client: Client, model: string): Promise<string> {
  const named = (await client.call('model.list', {})).models.find(({ name }) => name === model);
  const path = named?.path ?? modelReference(model);
  if (named !== undefined || existsSync(path)) return path;
  throw new AnnealError('model_not_found', `There is no model ${model}.`, {
    hint: '`anneal models` lists names; a folder with a model will do, too.',
    path: model,
  });
}

/**
 * Runs one generation. `onText` gets the text as it comes; the signal ends it early, and what there is by then is
 * the answer.
 */
export async function generate(
  client: Client,
  input: GenerateInput,
  onText: (text: string) => void,
  signal: AbortSignal,
): Promise<Completion> {
  const { job } = await client.call('model.generate', input);
  let streamed = '';
  let completion: Completion | undefined;
  let failure: EventBody<'state'>['error'] = null;
  const cancel = () => void client.call('job.cancel', { job: job.id }).catch(() => {});
  signal.addEventListener('abort', cancel, { once: true });
  if (signal.aborted) cancel();
  try {
    // Not ended by the signal: the daemon's own end of the job tells what the text was.
    for await (const event of eventsUntilSettled(client, job)) {
      if (event.kind === 'token') {
        streamed += event.body.text;
        onText(event.body.text);
      } else if (event.kind === 'completion') completion = event.body;
      else if (event.kind === 'state') failure = event.body.error;
    }
  } finally {
    signal.removeEventListener('abort', cancel);
  }
  if (completion !== undefined) return completion;
  if (!signal.aborted && failure !== null) throw AnnealError.fromBody(failure as ErrorBody);
  return { text: streamed, finish: 'cancelled', prompt_tokens: 0, completion_tokens: 0, seconds: 0 };
}
