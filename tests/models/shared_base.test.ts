/** Adapters over one base: each answers as its merged model does, and the base is held once. */
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Sampling } from '../../proto/commands.ts';
import { heldOver } from '../../src/models/adapter_base.ts';
import { chatPrompt, complete } from '../../src/models/complete.ts';
import { loadModel, openModelFolder } from '../../src/models/load.ts';
import { SharedBase } from '../../src/models/shared_base.ts';
import { type Batch, loadAddon, type SessionOptions } from '../../src/native/addon.ts';
import { loadTokenizer } from '../../src/tokenizer/tokenizer.ts';
import { GenerateQueue } from '../../src/worker/generate.ts';
import { runServe } from '../../src/worker/serve.ts';
import {
  type Fixture,
  makeFixture,
  modelFolder,
  recipeText,
  runHere,
  TestChannel,
} from '../training/fixture.ts';

const addon = loadAddon();
const ROOM: Omit<SessionOptions, 'architecture' | 'adapters'> = {
  threads: 2,
  trainable: false,
  maxTokens: 64,
  maxSequences: 4,
  maxScored: 64,
  recompute: false,
  generationSlots: 4,
  generationLength: 96,
};
const SAMPLING: Sampling = {
  max_new_tokens: 24,
  temperature: 0,
  top_k: 0,
  top_p: 1,
  min_p: 0,
  repetition_penalty: 1,
  stop: [],
  seed: 0,
};
const MESSAGES = [{ role: 'user', content: 'What is Anna of Celle?' }];
/** Kinds of adapters that share their base. */
const LORA: Record<string, string> = {
  plain: '{ r: 4, target_modules: all-linear }',
  dora: '{ r: 2, target_modules: [q_proj, down_proj], use_dora: true }',
  copies: '{ r: 4, modules_to_save: [norm, down_proj] }',
  pissa: '{ r: 4, init_lora_weights: pissa }',
  tied: '{ r: 4, modules_to_save: [embed_tokens], ensure_weight_tying: true }',
};
const NAMES = Object.keys(LORA);
const stage = (name: string, lora: string) => `  ${name}:
    type: sft
    model: pretrain
    dataset: chats.jsonl
    max_steps: 12
    per_device_train_batch_size: 4
    learning_rate: 1e-2
    lora: ${lora}
`;

let fixture: Fixture;
beforeAll(async () => {
  fixture = makeFixture();
  const text = recipeText({ pretrain: ['max_steps: 12'] });
  const stages = Object.entries(LORA).map(([name, lora]) => stage(name, lora));
  const channel = await runHere(fixture, text + stages.join(''));
  expect(channel.outcome()).toEqual({ outcome: 'succeeded', error: null });
});
afterAll(() => fixture.remove());

const base = () => modelFolder(fixture, 'pretrain');

/** What a model answers when it is loaded alone, an adapter merged into its base. */
async function alone(path: string): Promise<string> {
  const session = await loadModel(addon, await openModelFolder(path), ROOM);
  const tokenizer = await loadTokenizer(path);
  const model = { session, tokenizer, stopIds: [tokenizer.eosId!], generationLength: 96 };
  const prompt = chatPrompt(await loadTokenizer(modelFolder(fixture, 'plain')), MESSAGES);
  const { text } = await complete(model, prompt, SAMPLING, () => {}, new AbortController().signal);
  await session.close();
  return text;
}

async function someRows(): Promise<Batch> {
  const tokenizer = await loadTokenizer(modelFolder(fixture, 'plain'));
  const tokens = tokenizer.encode('Anna of Celle is a baker. Ben lives in Jena.').slice(0, 40);
  const scored = Int32Array.from({ length: tokens.length - 1 }, (_, i) => i);
  return { tokens, cuSeqlens: Int32Array.of(0, tokens.length), scored, targets: tokens.slice(1) };
}

describe('SharedBase', () => {
  it('scores by each adapter as its merged model does, with the base held once', async () => {
    const folder = await openModelFolder(base());
    const shared = await SharedBase.open(addon, folder, ROOM, 'test');
    const { weights } = shared.session.plan();
    const batch = await someRows();
    for (const name of NAMES) {
      const own = await openModelFolder(modelFolder(fixture, name));
      const adapter = await shared.add(own);
      const merged = await loadModel(addon, own, ROOM);
      const { logProbs: expected } = await merged.forward(batch);
      const { logProbs } = await shared.session.forward({ ...batch, adapter });
      const { logProbs: without } = await shared.session.forward(batch);
      const largest = (a: Float32Array) => Math.max(...a.map((value, i) => Math.abs(value - expected[i]!)));
      expect(largest(logProbs)).toBeLessThan(1e-4);
      expect(largest(without)).toBeGreaterThan(1e-2);
      await merged.close();
    }
    // All four together are less than a second copy of the base.
    expect(shared.session.plan().weights).toBeLessThan(2 * weights);
    await shared.close();
  });

  it('tries an adapter again that could not be read, in the place that it has', async () => {
    const shared = await SharedBase.open(addon, await openModelFolder(base()), ROOM, 'test');
    const path = join(modelFolder(fixture, 'plain'), 'adapter_model.safetensors');
    const bytes = readFileSync(path);
    const folder = await openModelFolder(modelFolder(fixture, 'plain'));
    writeFileSync(path, 'nothing');
    await expect(shared.add(folder)).rejects.toThrow(/adapter_model/);
    writeFileSync(path, bytes);
    expect(await shared.add(folder)).toBe(0);
    await shared.close();
  });
});

describe('heldOver', () => {
  it('holds adapters over their base, but for those that change it or are rewards', async () => {
    const [own, adapter] = [base(), modelFolder(fixture, 'plain')];
    const held = await heldOver(adapter);
    expect(held).toEqual({ base: (await heldOver(own)).base, adapter: expect.any(String) });
    expect((await heldOver(own)).adapter).toBeUndefined();
    // Adapters that began with principal directions are saved as differences to the untouched base.
    expect((await heldOver(modelFolder(fixture, 'pissa'))).base).toBe(held.base);
    const file = join(adapter, 'adapter_config.json');
    const config = readFileSync(file, 'utf8');
    for (const [from, to] of [
      ['"init_lora_weights": true', '"init_lora_weights": "pissa"'],
      ['CAUSAL_LM', 'SEQ_CLS'],
    ] as const) {
      writeFileSync(file, config.replace(from, to));
      expect(await heldOver(adapter)).toEqual({ base: held.adapter });
    }
    writeFileSync(file, config);
  });
});

describe('a worker that serves', () => {
  /** Runs a worker on these requests; their answers by id. */
  async function serve(
    requests: Record<string, string | undefined>,
    model = base(),
  ): Promise<Record<string, string>> {
    const channel = new TestChannel();
    const ids = Object.keys(requests);
    let open = ids.length;
    channel.onMessage = (message) => {
      if (message.type !== 'generated') return;
      open -= 1;
      if (open === 0) channel.stop();
    };
    const served = runServe({ task: 'serve', home: fixture.home, model }, channel);
    for (const id of ids) {
      const adapter = requests[id];
      channel.generate({
        request: id,
        messages: MESSAGES,
        sampling: SAMPLING,
        ...(adapter === undefined ? {} : { adapter }),
      });
    }
    await served;
    return Object.fromEntries(
      channel.sent.flatMap((message) => {
        if (message.type === 'generated' && message.error) return [[message.request, message.error.message]];
        const ended = message.type === 'event' && message.kind === 'completion';
        return ended ? [[message.request!, message.body.text]] : [];
      }),
    );
  }

  it('answers by several adapters side by side, each as it answers alone', async () => {
    const requests = Object.fromEntries(NAMES.map((name) => [name, modelFolder(fixture, name)]));
    const answers = await serve(requests);
    expect(new Set(Object.values(answers)).size).toBeGreaterThan(1);
    for (const name of NAMES) expect(answers[name]).toBe(await alone(modelFolder(fixture, name)));
  });

  it('merges an adapter that is to have a base of its own', async () => {
    const folder = modelFolder(fixture, 'dora');
    expect((await serve({ merged: undefined }, folder)).merged).toBe(await alone(folder));
  });

  it('answers the others when an adapter cannot be loaded, and by the base alone', async () => {
    const answers = await serve({ good: modelFolder(fixture, 'plain'), bad: fixture.dir, base: undefined });
    expect(answers.good).toBe(await alone(modelFolder(fixture, 'plain')));
    expect(answers.bad).toMatch(/has no config\.json/);
    expect(answers.base).toBe(await alone(base()));
    expect(answers.base).not.toBe(answers.good);
  });
});

describe('a stage that draws', () => {
  it('has the requests of others answered in its own passes', async () => {
    const { session } = await SharedBase.open(addon, await openModelFolder(base()), ROOM, 'test');
    const tokenizer = await loadTokenizer(base());
    const model = { session, tokenizer, stopIds: [], generationLength: 96 };
    const channel = new TestChannel();
    const queue = new GenerateQueue(channel);
    const request = { request: 'r', prompt: 'Anna', sampling: { ...SAMPLING, max_new_tokens: 4 } };
    const draw = () =>
      complete(
        model,
        Int32Array.of(5, 6),
        { ...SAMPLING, max_new_tokens: 80 },
        () => {},
        new AbortController().signal,
      );
    const undisturbed = await draw();
    channel.generate(request);
    await queue.answer(model, 0);
    await queue.answer(model);
    const answer = channel.events('completion');
    const drawn = draw();
    channel.generate({ ...request, request: 'joined' });
    expect(await drawn).toEqual(undisturbed);
    const joined = channel.events('completion').slice(1);
    expect(joined.map(({ body }) => body.text)).toEqual(answer.map(({ body }) => body.text));
    await session.close();
  });
});
