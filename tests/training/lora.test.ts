/** Training with `lora`: what comes out, exact resume, going on from an adapter, merging, and what is refused. */
import {
  copyFileSync,
  cpSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  realpathSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import { ArtifactStore } from '../../src/artifacts/store.ts';
import { loadModel, loadUnmerged, openModelFolder } from '../../src/models/load.ts';
import { loraSettings } from '../../src/models/lora.ts';
import { probeModel } from '../../src/models/save.ts';
import { loadAddon, type SessionOptions } from '../../src/native/addon.ts';
import { openTrainingModel, trainingAdapters } from '../../src/training/model.ts';
import { differences, type Fixture, makeFixture, modelFolder, recipeText, runHere } from './fixture.ts';
import { keptFixtures } from './fixtures.ts';
import { runWithKills, runWithStops } from './kills.ts';

const addon = loadAddon();
const LORA = 'lora: { r: 4, target_modules: all-linear, lora_dropout: 0.1 }';
const SFT = ['max_steps: 6', 'per_device_train_batch_size: 4', 'learning_rate: 1e-2', 'save_steps: 2'];
const TEXT = recipeText({ pretrain: ['max_steps: 6'], sft: [...SFT, LORA] });

/** Further stages behind those of the fixture. */
const withStages = (lines: string[], text = TEXT) => `${text}${lines.map((line) => `  ${line}\n`).join('')}`;
const room: Omit<SessionOptions, 'architecture'> = {
  threads: 2,
  trainable: false,
  maxTokens: 64,
  maxSequences: 64,
  maxScored: 64,
  recompute: false,
  generationSlots: 0,
  generationLength: 0,
};

async function probe(dir: string): Promise<Float32Array> {
  const folder = await openModelFolder(dir);
  const session = await loadUnmerged(addon, folder, room);
  const numbers = await probeModel(session, folder.architecture, folder.adapter ? 0 : undefined);
  await session.close();
  return numbers;
}

function largestDifference(a: Float32Array, b: Float32Array): number {
  expect(a.length).toBe(b.length);
  return a.reduce((max, value, i) => Math.max(max, Math.abs(value - b[i]!)), 0);
}

describe('training with lora', () => {
  let of: Fixture;
  const fixture = keptFixtures(makeFixture);
  beforeAll(async () => {
    of = fixture();
    expect((await runHere(of, TEXT)).outcome()).toEqual({ outcome: 'succeeded', error: null });
  });
  const sft = (where = of) => modelFolder(where, 'sft');

  it('makes a folder in the format of PEFT, and learns', async () => {
    const names = readdirSync(sft());
    expect(names).toEqual(
      expect.arrayContaining(['adapter_config.json', 'adapter_model.safetensors', 'tokenizer.json']),
    );
    expect(names).not.toContain('model.safetensors');
    const config = JSON.parse(readFileSync(join(sft(), 'adapter_config.json'), 'utf8')) as Record<
      string,
      unknown
    >;
    expect(config).toMatchObject({
      peft_type: 'LORA',
      r: 4,
      lora_dropout: 0.1,
      target_modules: 'all-linear',
    });
    const losses = readFileSync(join(sft(), 'metrics.jsonl'), 'utf8').trim().split('\n');
    const loss = (line: string) => (JSON.parse(line) as { loss: number }).loss;
    expect(loss(losses.at(-1)!)).toBeLessThan(loss(losses[0]!) - 0.3);
    const { results } = JSON.parse(readFileSync(join(sft(), 'artifact.json'), 'utf8')) as {
      results: { parameters: number; trained_parameters: number };
    };
    expect(results.trained_parameters).toBeLessThan(results.parameters / 2);
    // Every query, key, value, output, gate, up and down of two layers.
    const [D, F, K] = [32, 128, 16];
    expect(results.trained_parameters).toBe(2 * 4 * (2 * (D + D) + 2 * (D + K) + 3 * (D + F)));
  });

  it('keeps the trained tensors only in a checkpoint', async () => {
    const sizes = async (text: string) => {
      const other = fixture();
      const found: number[] = [];
      await runHere(other, text, {
        during: (channel) => {
          channel.onMessage = (message) => {
            if (message.type === 'event' && message.kind === 'checkpoint' && message.body.stage === 'sft')
              found.push(message.body.bytes);
          };
        },
      });
      return found;
    };
    const { trained_parameters: trained } = (
      JSON.parse(readFileSync(join(sft(), 'artifact.json'), 'utf8')) as {
        results: { trained_parameters: number };
      }
    ).results;
    const [bytes] = await sizes(TEXT);
    // Weights, gradients and two moments, with some room for alignment.
    expect(bytes).toBeLessThan(1.5 * 16 * trained);
    const [full] = await sizes(recipeText({ pretrain: ['max_steps: 6'], sft: SFT }));
    expect(bytes).toBeLessThan(full! / 2);
  });

  it('ends with the same bits when stopped at every microstep, and after kill -9', async () => {
    const same = (other: Fixture) =>
      expect(
        // Rows and the base are named by path, which differs from fixture to fixture.
        differences(sft(), sft(other)).filter(
          (name) => name !== 'rows.txt' && name !== 'adapter_config.json',
        ),
      ).toEqual([]);
    const stopped = fixture();
    await runWithStops(stopped, TEXT);
    same(stopped);
    const killed = fixture();
    await runWithKills(killed, TEXT, 5, 500, 3);
    same(killed);
  });

  it('merges to a model with the same numbers, and says how exact it is', async () => {
    const channel = await runHere(of, withStages(['merge:', '  model: sft']));
    expect(channel.outcome().error).toBeNull();
    const report = channel.events('report').find(({ body }) => body.stage === 'merge')!.body;
    const figures = Object.fromEntries(report.rows as [string, number][]);
    expect(figures.mean_kl).toBeLessThan(1e-8);
    expect(figures.top1_agreement).toBe(1);
    expect(readdirSync(modelFolder(of, 'merge'))).toContain('model.safetensors');
    const [adapter, merged] = [await probe(sft()), await probe(modelFolder(of, 'merge'))];
    expect(largestDifference(merged!, adapter!)).toBeLessThan(1e-5);
    const again = await runHere(of, withStages(['merge:', '  model: pretrain']), { job: 'j2' });
    expect(again.outcome().error).toMatchObject({ code: 'model_invalid', path: 'stages.merge.model' });
  });

  it('is evaluated as it is, without a merge', async () => {
    const text = recipeText({ pretrain: ['max_steps: 6'], sft: [...SFT, LORA], evaluate: true });
    const channel = await runHere(of, text, { job: 'j3' });
    expect(channel.outcome().error).toBeNull();
    expect(
      channel
        .events('report')
        .at(-1)!
        .body.rows.map(([model]) => model),
    ).toContain('assistant');
  });

  it('goes on with an adapter, or from it in full', async () => {
    const second = (lines: string[]) =>
      withStages([
        'second:',
        '  type: sft',
        '  model: sft',
        '  dataset: chats.jsonl',
        ...lines.map((l) => `  ${l}`),
      ]);
    const steps = ['max_steps: 2', 'learning_rate: 1e-3'];
    const on = await runHere(of, second([...steps, LORA]), { job: 'j4' });
    expect(on.outcome().error).toBeNull();
    const { base } = (await openModelFolder(modelFolder(of, 'second'))).adapter!;
    expect(base).toBe((await openModelFolder(sft())).adapter!.base);
    expect(await probe(modelFolder(of, 'second'))).not.toEqual(await probe(sft()));

    const full = await runHere(of, second(steps), { job: 'j5' });
    expect(full.outcome().error).toBeNull();
    const folder = await openModelFolder(modelFolder(of, 'second'));
    expect(folder.adapter).toBeUndefined();

    const other = await runHere(of, second([...steps, 'lora: { r: 2 }']), { job: 'j6' });
    expect(other.outcome().error).toMatchObject({ code: 'recipe_invalid', path: 'stages.second.lora' });
    expect(other.outcome().error!.hint).toMatch(/merge/);
  });

  it('has the model before training as its reference', async () => {
    const folder = await openModelFolder(modelFolder(of, 'pretrain'));
    const adapter = await openModelFolder(sft());
    const before = new Map([
      [folder, await probe(folder.path)],
      [adapter, await probe(adapter.path)],
    ]);
    const same = { r: 4, target_modules: 'all-linear', lora_dropout: 0.1 };
    const cases = [
      { base: folder, lora: undefined },
      { base: adapter, lora: undefined },
      { base: folder, lora: loraSettings.parse(same) },
      { base: adapter, lora: loraSettings.parse(same) },
      { base: folder, lora: loraSettings.parse({ ...same, init_lora_weights: 'pissa' }) },
    ];
    mkdirSync(join(of.dir, 'work'), { recursive: true });
    for (const { base, lora } of cases) {
      const options = {
        ...room,
        architecture: base.architecture,
        ...trainingAdapters(lora, base.architecture, base),
      };
      const model = await openTrainingModel(
        { settings: { lora }, addon, seed: 1, name: 'test', workDir: join(of.dir, 'work') },
        { base, initializerRange: 0.02 },
        options,
      );
      const { session, passFields, adapter: trained, reference } = model.runtime;
      const expected = before.get(base)!;
      const start = await probeModel(session, base.architecture, trained);
      expect(largestDifference(start, expected)).toBeLessThan(1e-5);
      // Training moves the model, and leaves the reference.
      const batch = { ...probeBatchOf(), ...passFields(undefined) };
      await session.forwardBackward(batch, new Float32Array(batch.scored.length).fill(0.1));
      await session.step({
        learningRate: 0.05,
        beta1: 0.9,
        beta2: 0.99,
        epsilon: 1e-8,
        weightDecay: 0,
        maxGradNorm: 0,
        step: 1,
        ...(trained === undefined ? {} : { adapter: trained }),
      });
      const moved = await probeModel(session, base.architecture, trained);
      expect(largestDifference(moved, expected)).toBeGreaterThan(1e-2);
      const asked = await reference();
      const answer = await probeModel(asked as typeof session, base.architecture, trained);
      expect(largestDifference(answer, expected)).toBeLessThan(1e-5);
      await model.close();
    }
  });

  it('keeps PiSSA as a difference to the base, the best model too', async () => {
    const pissa = 'lora: { r: 4, target_modules: all-linear, init_lora_weights: pissa }';
    const more = ['eval_dataset: chats.jsonl', 'eval_steps: 1', 'load_best_model_at_end: true'];
    const other = fixture();
    const text = recipeText({ pretrain: ['max_steps: 6'], sft: [...SFT, pissa, ...more] });
    expect((await runHere(other, text)).outcome().error).toBeNull();
    const { settings } = (await openModelFolder(sft(other))).adapter!;
    expect(settings).toMatchObject({ r: 8, lora_alpha: 16, init_lora_weights: true });
  });

  describe('an adapter', () => {
    const copy = (name: string) => {
      const dir = join(of.dir, name);
      cpSync(realpathSync(sft()), dir, { recursive: true });
      return dir;
    };
    const config = (dir: string, changes: Record<string, unknown>) => {
      const file = join(dir, 'adapter_config.json');
      const value = JSON.parse(readFileSync(file, 'utf8')) as Record<string, unknown>;
      writeFileSync(file, JSON.stringify({ ...value, ...changes }));
    };
    const loading = async (dir: string) => loadModel(addon, await openModelFolder(dir), room);

    it('of another base is refused by its weights, its shapes, and its modules', async () => {
      const retrained = join(of.dir, 'retrained');
      cpSync(realpathSync(modelFolder(of, 'pretrain')), retrained, { recursive: true });
      const weights = join(retrained, 'model.safetensors');
      const bytes = readFileSync(weights);
      bytes[bytes.length - 4]! ^= 1;
      writeFileSync(weights, bytes);
      const moved = copy('moved');
      config(moved, { base_model_name_or_path: retrained });
      await expect(loading(moved)).rejects.toMatchObject({
        code: 'model_invalid',
        message: expect.stringMatching(/not those that it was trained on/),
      });
      const shaped = copy('shaped');
      config(shaped, { r: 3 });
      await expect(loading(shaped)).rejects.toMatchObject({
        code: 'model_invalid',
        message: expect.stringMatching(/has shape \[4, 32\], and the base makes it \[3, 32\]/),
      });
      const named = copy('named');
      config(named, { target_modules: ['c_fc'] });
      await expect(loading(named)).rejects.toMatchObject({
        code: 'model_invalid',
        message: expect.stringMatching(/c_fc/),
      });
    });

    it('that lost its base, its weights or its meaning is refused by name', async () => {
      const lost = copy('lost');
      config(lost, { base_model_name_or_path: '/nowhere' });
      await expect(loading(lost)).rejects.toMatchObject({
        code: 'model_not_found',
        hint: expect.stringMatching(/base_model/),
      });
      const empty = copy('empty');
      copyFileSync(join(sft(), 'tokenizer.json'), join(empty, 'adapter_model.safetensors'));
      await expect(loading(empty)).rejects.toMatchObject({ code: 'model_invalid' });
      const prompts = copy('prompts');
      config(prompts, { peft_type: 'PROMPT_TUNING' });
      await expect(loading(prompts)).rejects.toMatchObject({
        code: 'model_invalid',
        message: expect.stringMatching(/peft_type/),
      });
      const replicated = copy('replicated');
      config(replicated, { layer_replication: [[0, 2]] });
      await expect(loading(replicated)).rejects.toMatchObject({
        message: expect.stringMatching(/layer_replication/),
      });
    });

    it('is a model where models are named', async () => {
      const models = await new ArtifactStore(of.home).listModels();
      expect(models.map(({ name }) => name)).toContain('tiny/sft');
      expect(statSync(join(sft(), 'adapter_model.safetensors')).size).toBeGreaterThan(0);
    });
  });
});

function probeBatchOf() {
  const tokens = Int32Array.from({ length: 16 }, (_, i) => (i * 13 + 5) % 300);
  return {
    tokens,
    cuSeqlens: Int32Array.of(0, 16),
    scored: Int32Array.from({ length: 16 }, (_, i) => i),
    targets: Int32Array.from({ length: 16 }, (_, i) => (i * 7 + 1) % 300),
  };
}
