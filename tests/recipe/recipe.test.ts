/** Recipes: what is accepted, and that every mistake is said with place and remedy. */
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { AnnealError } from '../../proto/errors.ts';
import { atStage } from '../../src/recipe/errors.ts';
import { parseRecipe } from '../../src/recipe/recipe.ts';
import { STAGES } from '../../src/stages/registry.ts';
import { editDistance, nearest } from '../../src/util/nearest.ts';

const dir = mkdtempSync(join(tmpdir(), 'anneal-recipe-'));
mkdirSync(join(dir, 'models', 'other', 'sft'), { recursive: true });
afterAll(() => rmSync(dir, { recursive: true, force: true }));

const parse = (text: string, set: Record<string, string> = {}) =>
  parseRecipe(
    {
      text,
      base_dir: dir,
      source: 'r.yaml',
      set: Object.entries(set).map(([key, value]) => ({ key, value })),
    },
    STAGES,
    dir,
  );

const failure = async (text: string, set: Record<string, string> = {}) => {
  const error: unknown = await parse(text, set).then(
    () => undefined,
    (thrown: unknown) => thrown,
  );
  expect(error).toBeInstanceOf(AnnealError);
  return (error as AnnealError).toBody();
};

const GOOD = `name: good
seed: 3
stages:
  sft:
    model: pretrain
    dataset: chats.jsonl
  pretrain:
    dataset: prepare
    model: { hidden_size: 64, num_hidden_layers: 2, num_attention_heads: 4 }
    max_tokens: 1000
  prepare:
    sources: [{ files: [a.txt] }]
  tokenizer:
    files: [a.txt]
`;

describe('a recipe', () => {
  it('is put into the order of its needs', async () => {
    const recipe = await parse(GOOD);
    expect(recipe).toMatchObject({ name: 'good', seed: 3, device: 'cpu' });
    expect(recipe.stages.map((stage) => stage.name)).toEqual(['tokenizer', 'prepare', 'pretrain', 'sft']);
    expect(recipe.stages[3]!.inputs).toEqual({ model: { kind: 'stage', stage: 'pretrain' } });
  });

  it('takes overrides as YAML, also of keys that it does not have', async () => {
    const recipe = await parse(GOOD, {
      'stages.pretrain.learning_rate': '1e-3',
      'stages.pretrain.model.num_hidden_layers': '4',
      'stages.sft.dataset': '[a.jsonl, b.jsonl]',
      seed: '9',
    });
    expect(recipe.seed).toBe(9);
    const [, , pretrain, sft] = recipe.stages;
    expect(pretrain!.settings).toMatchObject({ learning_rate: 0.001, model: { num_hidden_layers: 4 } });
    expect(sft!.settings.dataset).toEqual(['a.jsonl', 'b.jsonl']);
  });

  it('takes a name of data where a list may stand', async () => {
    const named = await parse(GOOD.replaceAll('files: [a.txt]', 'files: a.txt'));
    const listed = await parse(GOOD);
    expect(named.stages.map(({ settings }) => settings)).toEqual(
      listed.stages.map(({ settings }) => settings),
    );
  });

  it('takes models by folder and by name', async () => {
    const recipe = await parse('stages:\n  sft: { model: other/sft, dataset: x.jsonl }\n');
    expect(recipe.name).toBe('r');
    expect(recipe.stages[0]!.inputs.model).toEqual({
      kind: 'folder',
      path: join(dir, 'models', 'other', 'sft'),
    });
  });

  it('takes several models as a map', async () => {
    const recipe = await parse(
      `${GOOD}  evaluate:\n    models: { base: pretrain, assistant: sft }\n    dataset: q.jsonl\n`,
    );
    expect(Object.keys(recipe.stages.at(-1)!.inputs)).toEqual(['models.base', 'models.assistant']);
  });
});

describe('a mistake', () => {
  it.each([
    ['not YAML', 'stages: [1, 2\nname: x', { code: 'recipe_syntax', path: /^r\.yaml:2:/ }],
    ['a key twice', 'stages: {}\nstages: {}', { code: 'recipe_syntax', message: /unique/ }],
    ['a list', '- a\n', { code: 'recipe_syntax' }],
    ['no stages', 'name: x', { code: 'recipe_invalid', path: /^stages$/ }],
    ['empty stages', 'stages: {}', { code: 'recipe_invalid', path: /^stages$/ }],
    [
      'an unknown key of the recipe',
      'sed: 3\nstages: { tokenizer: { files: [a] } }',
      { code: 'recipe_invalid', path: /^sed$/, hint: /seed/ },
    ],
    [
      'an unknown key of a stage',
      GOOD.replace('max_tokens', 'max_tokns'),
      {
        code: 'recipe_invalid',
        path: /^stages\.pretrain\.max_tokns$/,
        hint: /max_tokens\?/,
        message: /r\.yaml:10/,
      },
    ],
    [
      'a key of one line, such as commands make of their options',
      JSON.stringify({ stages: { tokenizer: { file: ['a.txt'] } } }),
      { path: /^stages\.tokenizer\.file$/, message: /^r\.yaml: stages\.tokenizer/ },
    ],
    [
      'an unknown key deeper down',
      GOOD.replace('hidden_size', 'hiden_size'),
      { path: /^stages\.pretrain\.model\.hiden_size$/, hint: /hidden_size\?/ },
    ],
    [
      'an unknown key in a list',
      GOOD.replace('{ files: [a.txt] }', '{ files: [a.txt], wieght: 2 }'),
      { path: /^stages\.prepare\.sources\.0\.wieght$/, hint: /weight\?/ },
    ],
    [
      'a wrong type',
      GOOD.replace('max_tokens: 1000', 'max_tokens: many'),
      { code: 'recipe_invalid', path: /^stages\.pretrain\.max_tokens$/, message: /expected number/ },
    ],
    [
      'a missing key',
      GOOD.replace('    dataset: chats.jsonl\n', ''),
      { code: 'recipe_invalid', path: /^stages\.sft\.dataset$/ },
    ],
    [
      'an unknown stage type',
      'stages: { pretrane: {} }',
      { code: 'recipe_invalid', path: /^stages\.pretrane$/, hint: /pretrain\?/ },
    ],
    ['a bad name', 'stages: { "a/b": { type: sft } }', { code: 'recipe_invalid', path: /a\/b/ }],
    [
      'a stage that nobody makes',
      GOOD.replace('model: pretrain', 'model: pretrian'),
      { code: 'recipe_reference', path: /^stages\.sft\.model$/, hint: /pretrain\?/ },
    ],
    [
      'a stage of the wrong type',
      GOOD.replace('model: pretrain', 'model: tokenizer'),
      { code: 'recipe_reference', path: /^stages\.sft\.model$/, hint: /pretrain or sft/ },
    ],
    [
      'stages in a circle',
      'stages:\n  a: { type: sft, model: b, dataset: x }\n  b: { type: sft, model: a, dataset: x }\n',
      { code: 'recipe_reference', message: /a -> b -> a/ },
    ],
    [
      'itself as input',
      'stages:\n  a: { type: sft, model: a, dataset: x }\n',
      { code: 'recipe_reference', message: /its own stage/ },
    ],
    [
      'a width that heads do not divide',
      GOOD.replace('hidden_size: 64', 'hidden_size: 65'),
      { path: /^stages\.pretrain\.model\.num_attention_heads$/, message: /65.*not a multiple/ },
    ],
    [
      'heads that key/value heads do not divide',
      GOOD.replace('num_attention_heads: 4', 'num_attention_heads: 4, num_key_value_heads: 3'),
      { path: /num_key_value_heads$/ },
    ],
    [
      'an odd head size',
      GOOD.replace('hidden_size: 64', 'hidden_size: 60'),
      { path: /head_dim$/, message: /not even/ },
    ],
    [
      'a bias that the family fixes',
      GOOD.replace(
        'hidden_size: 64',
        'hidden_size: 64, architecture: Qwen2ForCausalLM, attention_bias: false',
      ),
      { path: /attention_bias$/, message: /fixed by Qwen2/ },
    ],
    [
      'epochs and tokens',
      GOOD.replace('max_tokens', 'num_train_epochs: 2\n    max_tokens'),
      { message: /contradicts/ },
    ],
    [
      'both model and base',
      GOOD.replace('max_tokens', 'base: sft\n    max_tokens'),
      { message: /either model/ },
    ],
    [
      'rows longer than the context',
      GOOD.replace('max_tokens', 'max_length: 4096\n    max_tokens'),
      { path: /max_length$/, message: /1024/ },
    ],
    [
      'an unknown key of one of several types',
      `stages:\n  rank:\n    dataset: x.jsonl\n    labels: programs\n    programs: [{ type: regex, patern: a }]\n`,
      { path: /^stages\.rank\.programs\.0\.patern$/, hint: /pattern\?/ },
    ],
    [
      'a wrong value of one of several types',
      `stages:\n  rank:\n    dataset: x.jsonl\n    labels: programs\n    programs: [{ type: module, path: 3 }]\n`,
      { path: /^stages\.rank\.programs\.0\.path$/, hint: /It is: A file relative to the recipe/ },
    ],
    [
      'a list in the place of a map',
      'stages: { evaluate: { models: [a], dataset: q.jsonl } }',
      { path: /models$/, message: /expected map, received list/ },
    ],
    [
      'a value near one of a few, where others are possible too',
      'stages: { grpo: { model: other/sft, dataset: q.jsonl, rewards: [{ type: length, max: 3 }], loss_type: grop } }',
      {
        path: /loss_type$/,
        message: /expected "grpo" or .* or text that matches/,
        hint: /^Did you mean grpo\?/,
      },
    ],
    [
      'a value that is none of several kinds',
      GOOD.replace('max_tokens', 'lora: { init_lora_weights: olora }\n    max_tokens').replace(
        'model: {',
        'base: sft\n    # {',
      ),
      {
        path: /init_lora_weights$/,
        message: /expected boolean or "gaussian" or "pissa"/,
        hint: /It is: true: A uniform/,
      },
    ],
    [
      'a wrong value in a list where a text may stand as well',
      GOOD.replace('chats.jsonl', '[a.jsonl, 3]'),
      { path: /^stages\.sft\.dataset\.1$/, message: /expected text/, hint: /Data files/ },
    ],
  ])('%s', async (_, text, expected: Record<string, string | RegExp>) => {
    const error = await failure(text);
    for (const [field, value] of Object.entries(expected)) {
      const found = error[field as keyof typeof error];
      if (typeof value === 'string') expect(found).toBe(value);
      else expect(found).toMatch(value);
    }
  });

  it.each([
    ['stages.pretrain.max_tokens.x', '3', /is a value/],
    ['stages..x', '3', /empty part/],
    ['stages.pretrain.max_tokens', '[1', /not YAML/],
    ['stages.pretrain.lerning_rate', '1', /not a known key/],
    ['stages.pretrian.learning_rate', '1', /not a type of stage/],
  ])('--set %s=%s', async (key, value, message) => {
    const error = await failure(GOOD, { [key]: value });
    expect(error.code).toBe('recipe_invalid');
    expect(error.message).toMatch(message);
    expect(error.message).toMatch(/^--set/);
  });
});

describe('an error of a setting that the model decides', () => {
  it('gets the place of its stage', async () => {
    const recipe = await parse(GOOD);
    const stage = { name: 'pretrain', settings: recipe.stages[2]!.settings };
    const inner = new AnnealError('recipe_invalid', 'max_tokens: are too few.', { path: 'max_tokens' });
    expect(atStage(inner, stage, recipe.locate)).toMatchObject({
      message: 'r.yaml:10: stages.pretrain.max_tokens: are too few.',
      path: 'stages.pretrain.max_tokens',
    });
    const other = new AnnealError('data_empty', 'Nothing.', { path: 'a.jsonl' });
    expect(atStage(other, stage, recipe.locate)).toBe(other);
  });
});

describe('the nearest name', () => {
  it('counts edits, a swap as one', () => {
    expect(editDistance('learning_rate', 'lerning_rate')).toBe(1);
    expect(editDistance('ab', 'ba')).toBe(1);
    expect(editDistance('', 'abc')).toBe(3);
  });
  it('is given only when it is near', () => {
    expect(nearest('lr_scheduler', ['learning_rate', 'lr_scheduler_type'])).toBe('lr_scheduler_type');
    expect(nearest('zebra', ['learning_rate', 'seed'])).toBeUndefined();
    expect(nearest('layer_replication', ['r', 'bias'])).toBeUndefined();
  });
});
