/**
 * A recipe: YAML text to a checked list of stages in the order in which they run. Settings are validated by each
 * stage's own schema; references to stages are resolved here, so that nothing starts before all of it is known
 * to fit together.
 */
import { stat } from 'node:fs/promises';
import { join, parse as parsePath, resolve } from 'node:path';
import { z } from 'zod';
import { AnnealError } from '../../proto/errors.ts';
import type { RecipeSource } from '../../proto/worker.ts';
import type { AnyStage } from '../stages/stage.ts';
import { nearest } from '../util/nearest.ts';
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
}

export interface Recipe {
  name: string;
  seed: number;
  /** undefined: as many as the machine has cores. */
  threads: number | undefined;
  device: string;
  baseDir: string;
  /** In the order in which they run. */
  stages: RecipeStage[];
}

const NAME = /^[A-Za-z0-9][A-Za-z0-9._-]*$/;
const nameSchema = z.string().max(100).regex(NAME, 'a name is letters, digits, `.`, `_` and `-`');

/** The top level of a recipe; each stage's settings have the schema of its type. */
export const recipeSchema = z.strictObject({
  name: nameSchema.optional().describe('Default: the name of the file.'),
  seed: z.int().min(0).max(Number.MAX_SAFE_INTEGER).default(0),
  threads: z.int().min(1).max(1024).optional().describe('Default: as many as the machine has cores.'),
  device: z.literal('cpu').default('cpu'),
  stages: z.record(z.string(), z.record(z.string(), z.unknown()).nullable()),
});

/**
 * Checks a recipe as far as it can be without the data; throws the first error as an AnnealError. `home` is where
 * models and datasets that are named `<job name>/<stage>` are found.
 */
export async function parseRecipe(source: RecipeSource, types: StageTypes, home: string): Promise<Recipe> {
  const { value, locate } = readDocument(source);
  const parsed = recipeSchema.safeParse(value);
  if (!parsed.success) throw recipeError(parsed.error, recipeSchema, [], locate);
  const { stages: raw, name, seed, threads, device } = parsed.data;
  if (Object.keys(raw).length === 0) {
    throw new AnnealError('recipe_invalid', `${locate(['stages'])}: stages is empty.`, {
      path: 'stages',
      hint: `Name at least one stage; types are ${[...types.keys()].join(', ')}.`,
    });
  }
  const stages = new Map<string, RecipeStage>();
  for (const [stage, settings] of Object.entries(raw)) {
    stages.set(stage, parseStage(stage, settings ?? {}, types, locate));
  }
  for (const stage of stages.values()) {
    await resolveInputs(stage, stages, [source.base_dir, join(home, 'models'), join(home, 'datasets')], locate);
  }
  return {
    name: name ?? defaultName(source.source),
    seed,
    threads,
    device,
    baseDir: source.base_dir,
    stages: inOrder(stages, locate),
  };
}

function defaultName(source: string): string {
  const stem = parsePath(source).name;
  return NAME.test(stem) ? stem : 'recipe';
}

function parseStage(
  name: string,
  raw: Record<string, unknown>,
  types: StageTypes,
  locate: Locate,
): RecipeStage {
  const path = ['stages', name];
  if (!NAME.test(name) || name.length > 100) {
    throw new AnnealError('recipe_invalid', `${locate(path)}: stages.${name}: not a name for a stage.`, {
      path: path.join('.'),
      hint: 'Use letters, digits, `.`, `_` and `-`.',
    });
  }
  const { type = name, ...settings } = raw;
  const definition = typeof type === 'string' ? types.get(type) : undefined;
  if (!definition) {
    const guess = nearest(String(type), types.keys());
    const where = 'type' in raw ? [...path, 'type'] : path;
    throw new AnnealError('recipe_invalid', `${locate(where)}: ${String(type)} is not a type of stage.`, {
      path: where.join('.'),
      hint: `${guess === undefined ? '' : `Did you mean ${guess}? `}Types are ${[...types.keys()].join(', ')}${
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
        [...Object.keys(definition.schema.shape), 'type'],
        locate,
      );
    }
    throw recipeError(parsed.error, definition.schema, path, locate);
  }
  return { name, definition, settings: parsed.data as Record<string, unknown>, inputs: {} };
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
    for (const input of Object.values(stage.inputs)) {
      if (input.kind === 'stage') visit(stages.get(input.stage)!, [...trail, stage.name]);
    }
    state.set(stage.name, 'done');
    order.push(stage);
  };
  for (const stage of stages.values()) visit(stage, []);
  return order;
}
