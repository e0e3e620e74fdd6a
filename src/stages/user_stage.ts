/**
 * A stage of the user's own: an ES module named as the `type` of a stage (`./my-stage.mjs`). Its default export is a
 * function that gets the tools of `TOOLS` and returns a definition as `stage.ts` has it; `inputs`,
 * `files` and `plan` may be left out. Loaded by workers only. The files that it is loaded from decide its result, so
 * they enter the hash of the artifact.
 */
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { registerHooks } from 'node:module';
import { resolve } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { z } from 'zod';
import { AnnealError, toAnnealError } from '../../proto/errors.ts';
import { loadModel, openModelFolder } from '../models/load.ts';
import { loadTokenizer } from '../tokenizer/tokenizer.ts';
import { asFileError } from '../util/files.ts';
import type { AnyStage } from './stage.ts';
import { StageStopped } from './stage.ts';

export interface UserStage {
  definition: AnyStage;
  /** The files that it was loaded from, sorted: the module and what it imports. */
  files: string[];
}

/** What a module gets: nothing that it would have to find in the folder of this program. */
const TOOLS = { z, AnnealError, StageStopped, openModelFolder, loadModel, loadTokenizer };

const HINT = 'Its default export is ({ z, ... }) => ({ type, schema, run }): see docs/stages.md.';

const loaded = new Map<string, Promise<UserStage>>();

/** Whether the `type` of a stage names a module instead of a type. */
export function namesModule(type: string): boolean {
  return type.endsWith('.mjs');
}

/** Loads the module; `place` is where the recipe names it (`stages.filter.type`). */
export async function loadUserStage(name: string, baseDir: string, place: string): Promise<UserStage> {
  const file = resolve(baseDir, name);
  let text: Buffer;
  try {
    text = readFileSync(file);
  } catch (cause) {
    throw new AnnealError('file_not_found', `${place}: there is no module ${file} that can be read.`, {
      path: place,
      hint: 'A path to a stage of your own starts from the folder of the recipe.',
      cause,
    });
  }
  // A module is evaluated once in a process; another content of the same file is another module.
  const version = createHash('sha256').update(text).digest('hex').slice(0, 16);
  const key = `${pathToFileURL(file).href}?${version}`;
  let stage = loaded.get(key);
  if (!stage) {
    stage = load(file, key, place);
    loaded.set(key, stage);
  }
  return stage;
}

async function load(file: string, url: string, place: string): Promise<UserStage> {
  const failed = (problem: string, cause?: unknown) =>
    new AnnealError('stage_invalid', `${file} ${problem}`, { path: place, hint: HINT, cause });
  const files = new Set([file]);
  const hooks = registerHooks({
    load(address, context, next) {
      if (address.startsWith('file:')) files.add(fileURLToPath(address.split('?')[0]!));
      return next(address, context);
    },
  });
  let made: unknown;
  try {
    const { default: make } = (await import(/* @vite-ignore */ url)) as { default?: unknown };
    if (typeof make !== 'function') throw failed('has no function as its default export.');
    made = await (make as (tools: typeof TOOLS) => unknown)(TOOLS);
  } catch (error) {
    if (error instanceof AnnealError && error.code === 'stage_invalid') throw error;
    throw failed(`cannot be loaded: ${error instanceof Error ? error.message : String(error)}`, error);
  } finally {
    hooks.deregister();
  }
  const definition = checked(made, failed);
  const run: AnyStage['run'] = async (context) => {
    try {
      await definition.run(context);
    } catch (error) {
      throw ownError(error, file, context.name);
    }
  };
  return { definition: { ...definition, run }, files: [...files].sort() };
}

/** What a module threw that says nothing of what and where by itself: with the module and the line. */
function ownError(error: unknown, file: string, stage: string): unknown {
  if (error instanceof StageStopped) return error;
  if (toAnnealError(asFileError(error, '')).code !== 'internal') return error;
  const { message, stack = '' } = error instanceof Error ? error : new Error(String(error));
  const names = [file, pathToFileURL(file).href];
  const line = stack.split('\n').find((text) => names.some((name) => text.includes(name)));
  const at = /:(\d+):\d+\)?$/.exec(line ?? '')?.[1];
  const place = at === undefined ? file : `${file}:${at}`;
  return new AnnealError('stage_invalid', `Stage ${stage}: ${place}: ${message}`, {
    path: place,
    hint: 'Mend the module; what has a code and a hint of its own is thrown as an AnnealError, which it gets.',
    cause: error,
  });
}

const shape = z.strictObject({
  type: z.string().min(1),
  doc: z.string().default(''),
  schema: z.custom<z.ZodType>((value) => value instanceof z.ZodType, 'made with the `z` that it gets'),
  inputs: z
    .record(
      z.string(),
      z.strictObject({
        types: z.array(z.string()),
        optional: z.boolean().optional(),
        orFiles: z.boolean().optional(),
      }),
    )
    .default({}),
  serves: z.literal(true).optional(),
  trains: z.literal(true).optional(),
  files: z.custom<AnyStage['files']>(isFunction, 'a function').default(() => async () => []),
  plan: z.custom<AnyStage['plan']>(isFunction, 'a function').default(() => async () => NOTHING_PLANNED),
  run: z.custom<AnyStage['run']>(isFunction, 'a function'),
  retell: z.custom<NonNullable<AnyStage['retell']>>(isFunction, 'a function').optional(),
});

const NOTHING_PLANNED = { memoryBytes: 0, diskBytes: 0, seconds: null, detail: {} };

function isFunction(value: unknown): boolean {
  return typeof value === 'function';
}

function checked(made: unknown, failed: (problem: string) => AnnealError): AnyStage {
  const parsed = shape.safeParse(made);
  if (parsed.success) return parsed.data as AnyStage;
  const issue = parsed.error.issues[0]!;
  if (issue.path.length === 0 && issue.code !== 'unrecognized_keys') throw failed('returns no definition.');
  if (issue.code === 'unrecognized_keys')
    throw failed(`returns a definition with an unknown \`${issue.keys[0]}\`.`);
  throw failed(`returns a definition whose \`${issue.path.join('.')}\` is not right: ${issue.message}.`);
}
