/** Model folders: what is saved loads again with the same numbers, and what does not fit is refused by name. */
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { FAMILIES } from '../../src/models/families.ts';
import { loadModel, openModelFolder } from '../../src/models/load.ts';
import { makeSafetensorsHeader, readSafetensorsHeader } from '../../src/models/safetensors.ts';
import { probeModel, readBack, saveModel } from '../../src/models/save.ts';
import { modelSettingsSchema, newArchitecture } from '../../src/models/settings.ts';
import { loadAddon } from '../../src/native/addon.ts';

const root = mkdtempSync(join(tmpdir(), 'anneal-models-'));
afterAll(() => rmSync(root, { recursive: true, force: true }));
const addon = loadAddon();
const options = {
  threads: 2,
  trainable: false,
  maxTokens: 64,
  maxSequences: 4,
  maxScored: 64,
  recompute: false,
  generationSlots: 0,
  generationLength: 0,
};
const tokenizer = { files: new Map<string, string>(), bosId: undefined, eosId: 1 };

async function saved(family: string, name = family): Promise<{ dir: string; expected: Float32Array }> {
  const dir = join(root, name);
  mkdirSync(dir);
  const model = newArchitecture(
    modelSettingsSchema.parse({
      architecture: family,
      hidden_size: 32,
      num_hidden_layers: 2,
      num_attention_heads: 4,
      num_key_value_heads: 2,
      max_position_embeddings: 64,
    }),
    120,
  );
  const session = await addon.createSession({ ...options, architecture: model.architecture });
  await session.initWeights(5, 0.1);
  const expected = await probeModel(session, model.architecture);
  await saveModel(session, dir, { ...model, initializerRange: 0.1, tokenizer, stopIds: [1] });
  await session.close();
  return { dir, expected };
}

describe.each([...FAMILIES.keys()])('%s', (family) => {
  it('loads again with the same numbers', async () => {
    const { dir, expected } = await saved(family);
    expect(expected.every(Number.isFinite)).toBe(true);
    await readBack(addon, dir, 2, expected);
    await expect(
      readBack(
        addon,
        dir,
        2,
        expected.map((value) => value + 1e-3),
      ),
    ).rejects.toMatchObject({
      code: 'readback_failed',
    });
    await expect(
      readBack(
        addon,
        dir,
        2,
        expected.map((value, i) => (i === 0 ? Number.NaN : value)),
      ),
    ).rejects.toMatchObject({ code: 'readback_failed' });
  });
});

describe('a folder that does not fit', () => {
  let dir: string;
  let config: Record<string, unknown>;
  let weights: Buffer;
  beforeAll(async () => {
    ({ dir } = await saved('LlamaForCausalLM', 'broken'));
    config = JSON.parse(readFileSync(join(dir, 'config.json'), 'utf8')) as Record<string, unknown>;
    weights = readFileSync(join(dir, 'model.safetensors'));
  });
  const load = async (changed: Record<string, unknown>, bytes: Buffer = weights) => {
    writeFileSync(join(dir, 'config.json'), JSON.stringify({ ...config, ...changed }));
    writeFileSync(join(dir, 'model.safetensors'), bytes);
    const session = await loadModel(addon, await openModelFolder(dir), options);
    await session.close();
  };
  const invalid = (message: RegExp) => ({ code: 'model_invalid', message: expect.stringMatching(message) });

  it.each<[string, Record<string, unknown>, RegExp]>([
    ['an unknown architecture', { architectures: ['LamaForCausalLM'] }, /LamaForCausalLM is not a known/],
    ['no architecture', { architectures: undefined }, /names no architecture/],
    ['a size that is text', { hidden_size: 'big' }, /hidden_size/],
    ['a size of 2^40', { vocab_size: 2 ** 40 }, /vocab_size/],
    ['heads that do not divide', { num_key_value_heads: 3 }, /multiple/],
    ['rotary scaling', { rope_parameters: { rope_type: 'llama3', factor: 8 } }, /llama3/],
    ['another activation', { hidden_act: 'relu' }, /relu/],
    ['more layers than weights', { num_hidden_layers: 3 }, /lacks the tensor model\.layers\.2/],
    ['fewer layers than weights', { num_hidden_layers: 1 }, /no place for: model\.layers\.1/],
    ['another width', { intermediate_size: 64 }, /shape \[128, 32\].*\[64, 32\]/],
    ['an untied head without weights', { tie_word_embeddings: false }, /lacks the tensor lm_head/],
  ])('is refused: %s', async (_, changed, message) => {
    await expect(load(changed)).rejects.toMatchObject(invalid(message));
  });

  it('is refused: integers for weights', async () => {
    const text = weights.subarray(8, 8 + Number(weights.readBigUInt64LE(0))).toString();
    const changed = text.replace('"F32"', '"I32"');
    const bytes = Buffer.concat([
      weights.subarray(0, 8),
      Buffer.from(changed),
      weights.subarray(8 + text.length),
    ]);
    await expect(load({}, bytes)).rejects.toMatchObject(invalid(/of type I32/));
  });

  it('is refused: weights cut short', async () => {
    await expect(load({}, weights.subarray(0, weights.length - 1))).rejects.toMatchObject(
      invalid(/truncated/),
    );
  });

  it('is refused: no config.json', async () => {
    await expect(openModelFolder(join(root, 'nothing'))).rejects.toMatchObject(invalid(/no config\.json/));
  });
});

describe('shards', () => {
  it('are read by their index, which cannot point outside of the folder', async () => {
    const { dir, expected } = await saved('Qwen2ForCausalLM', 'shards');
    const path = join(dir, 'model.safetensors');
    const bytes = readFileSync(path);
    const tensors = await readSafetensorsHeader(path);
    const weightMap: Record<string, string> = {};
    for (const [s, part] of [tensors.slice(0, 5), tensors.slice(5)].entries()) {
      const name = `model-${s + 1}-of-2.safetensors`;
      for (const tensor of part) weightMap[tensor.name] = name;
      const values = part.map(({ offset, bytes: size }) => bytes.subarray(offset, offset + size));
      writeFileSync(join(dir, name), Buffer.concat([makeSafetensorsHeader(part, {}), ...values]));
    }
    rmSync(path);
    const index = join(dir, 'model.safetensors.index.json');
    writeFileSync(index, JSON.stringify({ metadata: {}, weight_map: weightMap }));
    await readBack(addon, dir, 2, expected);
    const [first] = Object.keys(weightMap);
    for (const outside of ['../model.safetensors', '/etc/passwd', '..']) {
      writeFileSync(index, JSON.stringify({ weight_map: { ...weightMap, [first!]: outside } }));
      await expect(readBack(addon, dir, 2, expected)).rejects.toMatchObject({
        code: 'model_invalid',
        message: expect.stringMatching(/outside/),
      });
    }
  });
});
