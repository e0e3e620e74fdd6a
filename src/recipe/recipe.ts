/**
 * A recipe: YAML text to a checked list of stages in the order in which they run. Settings are validated by each
 * stage's own schema; references to stages are resolved here, so that nothing starts before all of it is known
 * to fit together.
 */
import { stat } from 'node:fs/promises';
import { join, parse as parsePath, resolve } from 'node:path';
import { z } from 'zod';
import { windowSchema } from '../../proto/commands.ts';
import { AnnealError } from '../../proto/errors.ts';
import type { RecipeSource, Retry } from '../../proto/worker.ts';
import type { AnyStage } from '../stages/stage.ts';
import { loadUserStage, namesModule } from '../stages/user_stage.ts';
import { didYouMean, nearest } from '../util/nearest.ts';
import { readDocument } from './document.ts';
import { type Locate, recipeError, unknownKey } from './errors.ts';

/** Stages by type. */
export type StageTypes = ReadonlyMap<string, AnyStage>;

/** Where an input comes from: an earlier stage of the recipe, or a folder on disk. */
export type InputSource = { kind: 'stage'; stage: string } | { kind: 'folder'; path: string };

export interface RecipeStage {
  name: string;
  definition: AnyStage;
  /** Output of the definition's schema. */
  settings: Record<string, unknown>;
  /** By settings key, or `key.name` for a map of inputs. */
  inputs: Record<string, InputSource>;
  /** Stages that it has to wait for without using what they make. */
  after: string[];
  /** The files of a stage of the recipe's own. */
  module: string[];
}

export interface Recipe {
  name: string;
  seed: number;
  /** undefined: as many as the machine has cores. */
  threads: number | undefined;
  device: string;
  /** Hours of the day in which the job runs. */
  window: string | undefined;
  retry: Retry;
  baseDir: string;
  locate: Locate;
  /** In the order in which they run. */
  stages: RecipeStage[];
}

const NAME = /^[A-Za-z0-9][A-Za-z0-9._-]*$/;
const nameSchema = z.string().max(100).regex(NAME, 'a name is letters, digits, `.`, `_` and `-`');

/** Beside `type`, what every stage takes. */
export const afterSchema = z
  .union([z.string(), z.array(z.string())])
  .describe('Stages that run before this one, although it uses nothing of theirs.');

/** The top level of a recipe; each stage's settings have the schema of its type. */
export const recipeSchema = z.strictObject({
  name: nameSchema.optional().describe('Default: the name of the file.'),
  seed: z.int().min(0).max(Number.MAX_SAFE_INTEGER).default(0),
  threads: z.int().min(1).max(1024).optional().describe('Default: as many as the machine has cores.'),
  device: z.literal('cpu').default('cpu'),
  window: windowSchema.optional(),
  retry: z
    .strictObject({
      limit: z
        .int()
        .min(0)
        .max(1000)
        .default(2)
        .describe('Tries after the first without progress in between.'),
      delay_seconds: z
        .number()
        .min(0)
        .max(86_400)
        .default(0)
        .describe('Before the first of them; each further one waits twice as long.'),
    })
    .prefault({})
    .describe(
      'When the worker of the job dies or hangs, which may be chance. Errors that would come again end a stage at once.',
    ),
  stages: z.record(z.string(), z.record(z.string(), z.unknown()).nullable()),
});

/**
 * Checks a recipe as far as it can be without the data; throws the first error as an AnnealError. `home` is where
 * models and datasets that are named `<job name>/<stage>` are found.
 */
export async function parseRecipe(source: RecipeSource, types: StageTypes, home: string): Promise<Recipe> {
  const { value, locate } = readDocument(source);
  const parsed = recipeSchema.safeParse(value);
  if (!parsed.success) throw recipeError(parsed.error, recipeSchema, value, [], locate);
  const { stages: raw, name, seed, threads, device, window, retry } = parsed.data;
  if (Object.keys(raw).length === 0) {
    throw new AnnealError('recipe_invalid', `${locate(['stages'])}: stages is empty.`, {
      path: 'stages',
      hint: `Name at least one stage; types are ${[...types.keys()].join(', ')}.`,
    });
  }
  const stages = new Map<string, RecipeStage>();
  for (const [stage, settings] of Object.entries(raw)) {
    stages.set(stage, await parseStage(stage, settings ?? {}, types, source.base_dir, locate));
  }
  for (const stage of stages.values()) {
    checkAfter(stage, stages, locate);
    await resolveInputs(
      stage,
      stages,
      [source.base_dir, join(home, 'models'), join(home, 'datasets')],
      locate,
    );
  }
  return {
    name: name ?? defaultName(source.source),
    seed,
    threads,
    device,
    window,
    retry,
    baseDir: source.base_dir,
    locate,
    stages: inOrder(stages, locate),
  };
}

function defaultName(source: string): string {
  const stem = parsePath(source).name;
  return NAME.test(stem) ? stem : 'recipe';
}

async function parseStage(
  name: string,
  raw: Record<string, unknown>,
  types: StageTypes,
  baseDir: string,
  locate: Locate,
): Promise<RecipeStage> {
  const path = ['stages', name];
  if (!NAME.test(name) || name.length > 100) {
    throw new AnnealError('recipe_invalid', `${locate(path)}: stages.${name}: not a name for a stage.`, {
      path: path.join('.'),
      hint: 'Use letters, digits, `.`, `_` and `-`.',
    });
  }
  const { type = name, after = [], ...settings } = raw;
  const own =
    typeof type === 'string' && namesModule(type)
      ? await loadUserStage(type, baseDir, [...path, 'type'].join('.'))
      : undefined;
  const definition = own?.definition ?? (typeof type === 'string' ? types.get(type) : undefined);
  if (!definition) {
    const where = 'type' in raw ? [...path, 'type'] : path;
    throw new AnnealError('recipe_invalid', `${locate(where)}: ${String(type)} is not a type of stage.`, {
      path: where.join('.'),
      hint: `${didYouMean(String(type), types.keys())}Types are ${[...types.keys()].join(', ')}${
        'type' in raw ? '' : '; give one with `type:` or name the stage after its type'
      }.`,
    });
  }
  const parsed = definition.schema.safeParse(settings);
  if (!parsed.success) {
    const unknown = parsed.error.issues.find(
      (issue) => issue.code === 'unrecognized_keys' && issue.path.length === 0,
    );
    if (unknown?.code === 'unrecognized_keys' && definition.schema instanceof z.ZodObject) {
      throw unknownKey(
        [...path, unknown.keys[0]!],
        [...Object.keys(definition.schema.shape), 'type', 'after'],
        locate,
      );
    }
    throw recipeError(parsed.error, definition.schema, settings, path, locate);
  }
  const order = afterSchema.safeParse(after);
  if (!order.success) throw recipeError(order.error, afterSchema, after, [...path, 'after'], locate);
  return {
    name,
    definition,
    settings: parsed.data as Record<string, unknown>,
    inputs: {},
    after: [order.data].flat(),
    module: own?.files ?? [],
  };
}

/** The stages that have to be done before this one runs. */
export function needsOf(stage: RecipeStage): string[] {
  const made = Object.values(stage.inputs).flatMap((input) => (input.kind === 'stage' ? [input.stage] : []));
  return [...new Set([...made, ...stage.after])];
}

function checkAfter(stage: RecipeStage, stages: ReadonlyMap<string, RecipeStage>, locate: Locate): void {
  for (const other of stage.after) {
    if (stages.has(other)) continue;
    const path = ['stages', stage.name, 'after'];
    const guess = nearest(other, stages.keys());
    throw new AnnealError(
      'recipe_reference',
      `${locate(path)}: ${path.join('.')} names ${other}, which is no stage of this recipe.`,
      {
        path: path.join('.'),
        hint: guess ? `Did you mean ${guess}?` : `Stages are ${[...stages.keys()].join(', ')}.`,
      },
    );
  }
}

/** Settings as a stage's `files` gets them: without those that may name files and have named an input. */
export function fileSettings({ settings, inputs, definition }: RecipeStage): Record<string, unknown> {
  return Object.fromEntries(
    Object.entries(settings).filter(([key]) => !(definition.inputs[key]?.orFiles && key in inputs)),
  );
}

async function resolveInputs(
  stage: RecipeStage,
  stages: ReadonlyMap<string, RecipeStage>,
  folders: string[],
  locate: Locate,
): Promise<void> {
  for (const [key, { types, optional, orFiles }] of Object.entries(stage.definition.inputs)) {
    const given = stage.settings[key];
    // Where files may be listed as well, one name is a list of one.
    const value = orFiles && Array.isArray(given) && given.length === 1 ? (given[0] as unknown) : given;
    const path = ['stages', stage.name, key];
    if (value === undefined) {
      if (optional) continue;
      throw new AnnealError('recipe_invalid', `${locate(path)}: ${path.join('.')} is missing.`, {
        path: path.join('.'),
        hint: `Name a stage of type ${types.join(' or ')}, or a folder.`,
      });
    }
    if (
      orFiles &&
      !(typeof value === 'string' && (stages.has(value) || (await namesFolder(value, folders))))
    ) {
      continue;
    }
    if (typeof value === 'string') {
      stage.inputs[key] = await resolveInput(value, types, path, stages, folders, locate);
      continue;
    }
    for (const [name, reference] of Object.entries(value as Record<string, string>)) {
      stage.inputs[`${key}.${name}`] = await resolveInput(
        reference,
        types,
        [...path, name],
        stages,
        folders,
        locate,
      );
    }
  }
}

async function resolveInput(
  reference: string,
  types: string[],
  path: string[],
  stages: ReadonlyMap<string, RecipeStage>,
  folders: string[],
  locate: Locate,
): Promise<InputSource> {
  const place = path.join('.');
  const other = stages.get(reference);
  if (other && other.name !== path[1]) {
    if (types.includes(other.definition.type)) return { kind: 'stage', stage: reference };
    throw new AnnealError(
      'recipe_reference',
      `${locate(path)}: ${place} names ${reference}, a stage of type ${other.definition.type}.`,
      { path: place, hint: `Name a stage of type ${types.join(' or ')}.` },
    );
  }
  const folder = other ? undefined : await namesFolder(reference, folders);
  if (folder !== undefined) return { kind: 'folder', path: folder };
  const suitable = [...stages.values()].filter(
    (s) => s.name !== path[1] && types.includes(s.definition.type),
  );
  const guess = nearest(
    reference,
    suitable.map((s) => s.name),
  );
  throw new AnnealError(
    'recipe_reference',
    other
      ? `${locate(path)}: ${place} names its own stage.`
      : `${locate(path)}: ${place} names ${reference}, which is neither a stage of this recipe nor a folder.`,
    {
      path: place,
      hint:
        guess !== undefined
          ? `Did you mean ${guess}?`
          : suitable.length > 0
            ? `Stages that fit: ${suitable.map((s) => s.name).join(', ')}.`
            : `Add a stage of type ${types.join(' or ')}, or name a folder.`,
    },
  );
}

/** The folder that a reference names, seen from one of `bases`. */
async function namesFolder(reference: string, bases: readonly string[]): Promise<string | undefined> {
  for (const path of bases.map((base) => resolve(base, reference))) {
    if ((await stat(path).catch(() => undefined))?.isDirectory()) return path;
  }
  return undefined;
}

/** Depth-first by dependency; otherwise as the recipe lists them. */
function inOrder(stages: ReadonlyMap<string, RecipeStage>, locate: Locate): RecipeStage[] {
  const order: RecipeStage[] = [];
  const state = new Map<string, 'visiting' | 'done'>();
  const visit = (stage: RecipeStage, trail: string[]) => {
    if (state.get(stage.name) === 'done') return;
    if (state.get(stage.name) === 'visiting') {
      const circle = [...trail.slice(trail.indexOf(stage.name)), stage.name].join(' -> ');
      throw new AnnealError(
        'recipe_reference',
        `${locate(['stages', stage.name])}: stages need each other: ${circle}.`,
        {
          path: `stages.${stage.name}`,
          hint: 'A stage can only use what was made before it.',
        },
      );
    }
    state.set(stage.name, 'visiting');
    for (const other of needsOf(stage)) visit(stages.get(other)!, [...trail, stage.name]);
    state.set(stage.name, 'done');
    order.push(stage);
  };
  for (const stage of stages.values()) visit(stage, []);
  return order;
}
