/**
 * `lora:` of a recipe: low-rank adapters by PEFT's keys, and which modules of a model they mean. A name in
 * `target_modules` takes every module that has it as its last parts; a text is a regular expression over whole names
 * (`all-linear`: every linear module but the head); the first pattern that fits decides rank and alpha.
 */
import { z } from 'zod';
import { AnnealError } from '../../proto/errors.ts';
import type { AdapterOptions, Architecture } from '../native/addon.ts';
import { didYouMean } from '../util/nearest.ts';
import { type ModelModule, modelModules, moduleTensors } from './modules.ts';

/** The engine's limit. */
const MAX_RANK = 65_536;
const rank = z.int().positive().max(MAX_RANK);
const names = z.array(z.string().min(1));

const ALL_LINEAR = 'all-linear';

export const loraSettings = z
  .strictObject({
    r: rank.default(8).describe('Rank of the update.'),
    lora_alpha: z.number().positive().default(8).describe('The update is scaled by lora_alpha / r.'),
    lora_dropout: z
      .number()
      .min(0)
      .lt(1)
      .default(0)
      .describe('Of the input of the update, in training; with use_dora of all that is scaled, as in PEFT.'),
    target_modules: z
      .union([z.string().min(1), names.min(1)])
      .default(['q_proj', 'v_proj'])
      .describe(
        'Modules that get an update: names (the last parts of them), a regular expression over whole names, or `all-linear`.',
      ),
    modules_to_save: names.default([]).describe('Modules that are trained whole, as copies.'),
    ensure_weight_tying: z
      .boolean()
      .default(false)
      .describe(
        'Where a model ties embeddings and head, modules_to_save makes one copy of them, which stays tied.',
      ),
    use_rslora: z.boolean().default(false).describe('Scale by lora_alpha / sqrt(r).'),
    use_dora: z.boolean().default(false).describe('Train the length of each output row apart (DoRA).'),
    init_lora_weights: z
      .union([z.boolean(), z.enum(['gaussian', 'pissa'])])
      .default(true)
      .describe(
        'true: A uniform, B zero; gaussian: A normal, B zero; false: both at random; pissa: the principal singular directions of the weight, which are taken out of it.',
      ),
    rank_pattern: z.record(z.string(), rank).default({}).describe('Ranks of modules by pattern.'),
    alpha_pattern: z
      .record(z.string(), z.number().positive())
      .default({})
      .describe('The same for lora_alpha.'),
    layers_to_transform: z
      .union([z.int().min(0), z.array(z.int().min(0)).min(1)])
      .optional()
      .describe('Layers, from 0, in which target_modules (a list of names) are looked for. Default: all.'),
    bias: z
      .enum(['none', 'all', 'lora_only'])
      .default('none')
      .describe('Biases that are trained: none, all, or those of the target modules.'),
  })
  .superRefine((settings, context) => {
    const issue = (path: (string | number)[], message: string) =>
      context.addIssue({ code: 'custom', path, message });
    const { target_modules, layers_to_transform, rank_pattern, alpha_pattern, init_lora_weights } = settings;
    if (typeof target_modules === 'string') {
      if (layers_to_transform !== undefined)
        issue(['layers_to_transform'], 'needs a list of names as target_modules');
      if (!isPattern(target_modules)) issue(['target_modules'], 'is not a regular expression');
    }
    for (const [field, patterns] of Object.entries({ rank_pattern, alpha_pattern })) {
      for (const pattern of Object.keys(patterns))
        if (!isPattern(pattern)) issue([field, pattern], 'is not a regular expression');
    }
    if (settings.use_dora && init_lora_weights === 'pissa')
      issue(['init_lora_weights'], 'pissa takes directions out of the weight, whose length use_dora trains');
  });
export type LoraSettings = z.output<typeof loraSettings>;

/**
 * The adapter that settings of a recipe mean for a model; `place` is where they stand in it. A pattern that fits none
 * of its modules is an error.
 */
export function resolveLora(
  settings: LoraSettings,
  architecture: Architecture,
  place: string,
): AdapterOptions {
  const options = adapterOptions(settings, architecture, place);
  for (const field of ['rank_pattern', 'alpha_pattern'] as const) {
    for (const pattern of Object.keys(settings[field])) {
      if (options.modules.some(({ name }) => modulePattern(pattern).test(name))) continue;
      const path = `${place}.${field}.${pattern}`;
      throw new AnnealError('recipe_invalid', `${path} fits none of the modules that get an update.`, {
        path,
        hint: `They are ${lastParts(options.modules).join(', ')}.`,
      });
    }
  }
  return options;
}

/** The adapter that settings mean for a model, without regard to patterns that fit nothing, as PEFT has it. */
export function adapterOptions(
  settings: LoraSettings,
  architecture: Architecture,
  place: string,
): AdapterOptions {
  const all = modelModules(architecture);
  const saved = savedModules(settings, all, architecture, place);
  const targets = targetModules(settings, all, architecture.numLayers, place).filter(
    ({ name }) => !excluded(name, settings),
  );
  if (targets.length === 0) {
    throw new AnnealError('recipe_invalid', `${place}.target_modules takes no module of the model.`, {
      path: `${place}.target_modules`,
      hint: 'All that it names are in modules_to_save.',
    });
  }
  const biases = all.flatMap((module) => {
    const wanted = settings.bias === 'all' || (settings.bias === 'lora_only' && targets.includes(module));
    return module.bias && wanted ? [`${module.name}.bias`] : [];
  });
  const replaces = new Set([...saved.flatMap(moduleTensors), ...biases]);
  // A reward model's head is always trained.
  replaces.delete('score.weight');
  return {
    modules: targets.map(({ name }) => {
      const rank = patternValue(settings.rank_pattern, name) ?? settings.r;
      const alpha = patternValue(settings.alpha_pattern, name) ?? settings.lora_alpha;
      return {
        name,
        rank,
        scale: alpha / (settings.use_rslora ? Math.sqrt(rank) : rank),
        dropout: settings.lora_dropout,
        dora: settings.use_dora,
      };
    }),
    replaces: [...replaces],
    ...(architecture.scoreHead ? { scoreHead: true } : {}),
    trainable: true,
  };
}

/** Parameters of an adapter over an architecture. */
export function adapterParameters(adapter: AdapterOptions, architecture: Architecture): number {
  const sizes = new Map<string, number>();
  let total = adapter.scoreHead ? architecture.hiddenSize : 0;
  for (const module of modelModules(architecture)) {
    const [rows, columns] = module.shape as [number, number | undefined];
    sizes.set(`${module.name}.weight`, rows * (columns ?? 1));
    if (module.bias) sizes.set(`${module.name}.bias`, rows);
    const update = adapter.modules.find(({ name }) => name === module.name);
    if (update) total += update.rank * (rows + columns!) + (update.dora ? rows : 0);
  }
  return adapter.replaces.reduce((sum, name) => sum + sizes.get(name)!, total);
}

function targetModules(
  settings: LoraSettings,
  all: readonly ModelModule[],
  layerCount: number,
  place: string,
): ModelModule[] {
  const { target_modules: targets } = settings;
  const linear = all.filter(({ kind }) => kind === 'linear');
  if (typeof targets === 'string') {
    if (targets.toLowerCase() === ALL_LINEAR)
      return linear.filter(({ name }) => name !== 'lm_head' && name !== 'score');
    const pattern = wholePattern(targets);
    const found = all.filter(({ name }) => pattern.test(name));
    if (found.length === 0) throw noMatch(targets, linear, place);
    return requireLinear(found, place);
  }
  for (const target of targets) {
    if (!all.some(({ name }) => endsWithParts(name, target))) throw noMatch(target, linear, place);
  }
  const found = all.filter(({ name }) => targets.some((target) => endsWithParts(name, target)));
  const { layers_to_transform: layers } = settings;
  if (layers === undefined) return requireLinear(found, place);
  const wanted = new Set([layers].flat());
  const path = `${place}.layers_to_transform`;
  const missing = [...wanted].find((layer) => layer >= layerCount);
  if (missing !== undefined) {
    throw new AnnealError('recipe_invalid', `${path} names layer ${missing}, which the model lacks.`, {
      path,
      hint: `Its layers are 0 to ${layerCount - 1}.`,
    });
  }
  const kept = found.filter(({ name }) =>
    wanted.has(Number(/\.layers\.(\d+)\./.exec(name)?.[1] ?? Number.NaN)),
  );
  if (kept.length > 0) return requireLinear(kept, place);
  throw new AnnealError('recipe_invalid', `${path}: target_modules lie in no layer.`, {
    path,
    hint: 'Leave layers_to_transform out.',
  });
}

function requireLinear(modules: ModelModule[], place: string): ModelModule[] {
  const other = modules.find(({ kind }) => kind !== 'linear');
  if (!other) return modules;
  throw new AnnealError(
    'recipe_invalid',
    `${place}.target_modules takes ${other.name}, which is not linear.`,
    {
      path: `${place}.target_modules`,
      hint: 'Name it in modules_to_save to train it whole.',
    },
  );
}

/** Whether the head's weights are the embeddings'. */
export function tiesHead({ tieEmbeddings, scoreHead }: Architecture): boolean {
  return tieEmbeddings && !scoreHead;
}

/** Modules that are trained whole: those whose names end with one of `modules_to_save`, and all that lies in them. */
function savedModules(
  settings: LoraSettings,
  all: readonly ModelModule[],
  architecture: Architecture,
  place: string,
): ModelModule[] {
  const path = `${place}.modules_to_save`;
  const saved = new Set<ModelModule>();
  for (const wanted of settings.modules_to_save) {
    const found = all.filter(({ name }) => parentsOf(name).some((parent) => parent.endsWith(wanted)));
    const ofTie =
      tiesHead(architecture) &&
      ('lm_head'.endsWith(wanted) || found.some(({ kind }) => kind === 'embedding'));
    if (ofTie && !settings.ensure_weight_tying) {
      throw new AnnealError(
        'recipe_invalid',
        `${path}: ${wanted} shares its weights with the other end of the model.`,
        {
          path,
          hint: 'This model ties embeddings and head: with ensure_weight_tying: true one copy of both is trained.',
        },
      );
    }
    if (ofTie) found.push(...all.filter(({ kind }) => kind === 'embedding'));
    if (found.length === 0) throw noMatch(wanted, all, place, 'modules_to_save');
    for (const module of found) saved.add(module);
  }
  return [...saved];
}

/** A module's name and those of what it lies in. */
function parentsOf(name: string): string[] {
  const parts = name.split('.');
  return parts.map((_, i) => parts.slice(0, i + 1).join('.'));
}

/** Modules that are trained whole get no update. */
function excluded(name: string, { modules_to_save }: LoraSettings): boolean {
  return modules_to_save.some((saved) => new RegExp(`^(?:|.*\\.)${saved}(?:$|\\..*)`, 'u').test(name));
}

function noMatch(
  wanted: string,
  modules: readonly ModelModule[],
  place: string,
  field = 'target_modules',
): AnnealError {
  const last = lastParts(modules);
  return new AnnealError('recipe_invalid', `${place}.${field}: ${wanted} is no module of the model.`, {
    path: `${place}.${field}`,
    hint: `${didYouMean(wanted, last)}It has ${last.join(', ')}.`,
  });
}

function lastParts(modules: readonly { name: string }[]): string[] {
  return [...new Set(modules.map(({ name }) => name.split('.').at(-1)!))];
}

function endsWithParts(name: string, target: string): boolean {
  return name === target || name.endsWith(`.${target}`);
}

function patternValue(patterns: Readonly<Record<string, number>>, name: string): number | undefined {
  const found = Object.keys(patterns).find((pattern) => modulePattern(pattern).test(name));
  return found === undefined ? undefined : patterns[found];
}

/** What a pattern of ranks or alphas fits: whole names, or their last parts. */
function modulePattern(pattern: string): RegExp {
  return wholePattern(`(?:.*\\.)?(?:${pattern})`);
}

function wholePattern(source: string): RegExp {
  return new RegExp(`^(?:${source})$`, 'u');
}

function isPattern(source: string): boolean {
  try {
    wholePattern(source);
    return true;
  } catch {
    return false;
  }
}
