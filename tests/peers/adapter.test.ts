/**
 * Adapters against PEFT: the same modules for the same settings, equal logits of PEFT's adapters here and of ours there,
 * the same merged model, the same training. The other side is adapter_peer.py.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface, type Interface } from 'node:readline';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { importAdapter, saveAdapter } from '../../src/models/adapter.ts';
import { loadModel, loadUnmerged, openBase, openModelFolder, sessionOptions } from '../../src/models/load.ts';
import { adapterParameters, type LoraSettings, loraSettings, resolveLora } from '../../src/models/lora.ts';
import { readSafetensorsHeader } from '../../src/models/safetensors.ts';
import { saveModel } from '../../src/models/save.ts';
import { modelSettingsSchema, newArchitecture } from '../../src/models/settings.ts';
import { type Batch, loadAddon, type Session } from '../../src/native/addon.ts';
import { type Base, type Case, cases, llama, qwen2, qwen3, starcoder2, untied } from './adapter_cases.ts';

const python = process.env.ANNEAL_PEERS_PYTHON ?? '';
const addon = loadAddon();
const LENGTH = 24;
const room = {
  threads: 1,
  trainable: false,
  maxTokens: 64,
  maxSequences: 64,
  maxScored: 64,
  recompute: false,
  generationSlots: 0,
  generationLength: 0,
};

/** The other side: one process, one request at a time. */
class Peer {
  readonly #child: ChildProcess;
  readonly #lines: AsyncIterator<string>;
  readonly #reader: Interface;

  constructor() {
    this.#child = spawn(python, [join(import.meta.dirname, 'adapter_peer.py')], {
      stdio: ['pipe', 'pipe', 'inherit'],
      env: { ...process.env, HF_HUB_OFFLINE: '1', TRANSFORMERS_VERBOSITY: 'error', PYTHONWARNINGS: 'ignore' },
    });
    this.#reader = createInterface({ input: this.#child.stdout! });
    this.#lines = this.#reader[Symbol.asyncIterator]();
  }

  async ask<T>(request: Record<string, unknown>): Promise<T> {
    this.#child.stdin!.write(`${JSON.stringify(request)}\n`);
    const { value } = await this.#lines.next();
    const answer = JSON.parse(value as string) as T & { error?: string };
    if (answer.error) throw new Error(answer.error);
    return answer;
  }

  close(): void {
    this.#child.stdin!.end();
    this.#reader.close();
  }
}

interface Made {
  modules: Record<string, [rank: number, scale: number]>;
  trained: number;
  logits: number[];
  merged: number[];
}

const root = mkdtempSync(join(tmpdir(), 'anneal-adapters-'));
const dir = (...path: string[]) => {
  const made = join(root, ...path);
  mkdirSync(made, { recursive: true });
  return made;
};

const VOCABULARY = 90;
const ids = Array.from({ length: LENGTH }, (_, i) => (i * i * 7 + 3 * i + 11) % VOCABULARY);

/** All positions of the sequence, each scored against the next id. */
function batchOf(adapter: number | undefined, count = LENGTH): Batch {
  return {
    tokens: Int32Array.from(ids.slice(0, count)),
    cuSeqlens: Int32Array.of(0, count),
    scored: Int32Array.from({ length: count }, (_, i) => i),
    targets: Int32Array.from({ length: count }, (_, i) => ids[(i + 1) % LENGTH]!),
    ...(adapter === undefined ? {} : { adapter }),
  };
}

function relativeError(actual: ArrayLike<number>, reference: ArrayLike<number>): number {
  expect(actual.length).toBe(reference.length);
  let difference = 0;
  let size = 0;
  for (let i = 0; i < actual.length; i++) {
    difference += (actual[i]! - reference[i]!) ** 2;
    size += reference[i]! ** 2;
  }
  return Math.sqrt(difference / size);
}

async function withSession<T>(opening: Promise<Session>, use: (session: Session) => Promise<T>): Promise<T> {
  const session = await opening;
  try {
    return await use(session);
  } finally {
    await session.close();
  }
}

async function makeBase({ name, architecture, options }: Base): Promise<void> {
  const model = newArchitecture(
    modelSettingsSchema.parse({
      architecture,
      hidden_size: 32,
      num_hidden_layers: 3,
      num_attention_heads: 4,
      num_key_value_heads: 2,
      max_position_embeddings: 64,
      ...options,
    }),
    VOCABULARY,
  );
  await withSession(addon.createSession({ ...room, architecture: model.architecture }), async (session) => {
    await session.initWeights(5, 0.15);
    const tokenizer = { files: new Map<string, string>(), bosId: undefined, eosId: 1 };
    await saveModel(session, dir(name), { ...model, initializerRange: 0.15, tokenizer, stopIds: [1] });
  });
}

const settingsOf = ({ lora }: Case): LoraSettings => loraSettings.parse({ r: 4, ...lora });
const peft = (test: Case) => ({ r: 4, lora_alpha: 8, task_type: 'CAUSAL_LM', ...test.lora });

describe.skipIf(python === '')('adapters', () => {
  let peer: Peer;
  const made = new Map<Case, Made>();
  const theirs = (test: Case) => dir('theirs', String(cases.indexOf(test)));

  beforeAll(async () => {
    for (const base of [llama, untied, qwen2, qwen3, starcoder2]) await makeBase(base);
    peer = new Peer();
    for (const test of cases) {
      const request = {
        op: 'make',
        base: dir(test.base.name),
        config: peft(test),
        seed: 3,
        scale: 0.05,
        ids,
      };
      made.set(test, await peer.ask<Made>({ ...request, out: theirs(test) }));
    }
  }, 300_000);
  afterAll(() => {
    peer.close();
    rmSync(root, { recursive: true });
  });

  it.each(cases)('take the modules that PEFT takes: $name', async (test) => {
    const { architecture } = await openModelFolder(dir(test.base.name));
    const options = resolveLora(settingsOf(test), architecture, 'lora');
    const { modules, trained } = made.get(test)!;
    const ours = options.modules.map(({ name, rank, scale }) => [name, [rank, expect.closeTo(scale, 12)]]);
    expect(modules).toEqual(Object.fromEntries(ours));
    expect(adapterParameters(options, architecture)).toBe(trained);
  });

  it.each(cases)("of PEFT's give the same logits here, merged and not: $name", async (test) => {
    const folder = await openModelFolder(theirs(test));
    const { logits, merged } = made.get(test)!;
    // What PiSSA takes out of the base is found anew: PEFT in float32, to the gap between singular values.
    const most = folder.adapter!.settings.init_lora_weights === 'pissa' ? 1e-4 : 1e-5;
    await withSession(loadUnmerged(addon, folder, room), async (session) => {
      expect(relativeError(await session.logits(batchOf(0)), logits)).toBeLessThan(most);
    });
    await withSession(loadModel(addon, folder, room), async (session) => {
      expect(relativeError(await session.logits(batchOf(undefined)), merged)).toBeLessThan(most);
    });
  });

  it.each(cases)('of ours give the same logits in PEFT: $name', async (test) => {
    const folder = await openModelFolder(dir(test.base.name));
    const settings = settingsOf(test);
    const options = resolveLora(settings, folder.architecture, 'lora');
    const out = dir('ours', String(cases.indexOf(test)));
    const began = dir('began', String(cases.indexOf(test)));
    const pissa = settings.init_lora_weights === 'pissa';
    const adapters = pissa ? [options, { ...options, trainable: false }] : [options];
    const opening = openBase(addon, folder, { ...sessionOptions(folder, room), adapters }, undefined);
    const logits = await withSession(opening, async (session) => {
      const kinds = { true: 'default', false: 'random', gaussian: 'gaussian', pissa: 'pissa' } as const;
      await session.initAdapter(0, { seed: 9, kind: kinds[`${settings.init_lora_weights}`] });
      const save = { settings, options, base: folder.path, architecture: folder.architecture };
      if (pissa) {
        // The beginning, as a file, to the second adapter: the base has lost these directions already.
        await saveAdapter(session, 0, began, { ...save, settings: { ...settings, init_lora_weights: true } });
        await importAdapter(session, 1, (await openModelFolder(began)).adapter!);
      }
      await trainSome(session);
      await saveAdapter(session, 0, out, { ...save, initial: pissa ? 1 : undefined });
      return session.logits(batchOf(0));
    });
    const reply = await peer.ask<{ logits: number[] }>({ op: 'load', base: folder.path, adapter: out, ids });
    expect(relativeError(logits, reply.logits)).toBeLessThan(1e-5);
  });

  it('whose copies of embeddings and head differ are refused', async () => {
    const torn = dir('torn');
    cpSync(theirs(cases.find(({ lora }) => lora.ensure_weight_tying)!), torn, { recursive: true });
    const path = join(torn, 'adapter_model.safetensors');
    const head = (await readSafetensorsHeader(path)).find(({ name }) => name.endsWith('lm_head.weight'))!;
    const bytes = readFileSync(path);
    bytes[head.offset + head.bytes - 1]! ^= 1;
    writeFileSync(path, bytes);
    await expect(loadUnmerged(addon, await openModelFolder(torn), room)).rejects.toMatchObject({
      code: 'model_invalid',
      message: expect.stringContaining('copies of embeddings and head differ'),
    });
  });

  it('of a reward model give the same scores on both sides', async () => {
    const lora = { r: 4, lora_alpha: 8, target_modules: ['q_proj', 'down_proj'] };
    const base = dir(untied.name);
    const from = dir('reward', 'theirs');
    const request = { base, classifier: true, ids };
    const config = { ...lora, task_type: 'SEQ_CLS' };
    const { logits, merged } = await peer.ask<Made>({
      ...request,
      op: 'make',
      config,
      seed: 4,
      scale: 0.05,
      out: from,
    });
    const folder = await openModelFolder(from);
    const values = { ...batchOf(0), outputs: 'values' as const };
    const out = dir('reward', 'ours');
    await withSession(loadUnmerged(addon, folder, room), async (session) => {
      expect(relativeError((await session.forward(values)).values, logits)).toBeLessThan(1e-5);
      const { settings, options } = folder.adapter!;
      await saveAdapter(session, 0, out, { settings, options, base, architecture: folder.architecture });
    });
    await withSession(loadModel(addon, folder, room), async (session) => {
      const { adapter: _, ...alone } = values;
      expect(relativeError((await session.forward(alone)).values, merged)).toBeLessThan(1e-5);
    });
    const back = await peer.ask<{ logits: number[] }>({ ...request, op: 'load', adapter: out });
    expect(relativeError(back.logits, logits)).toBeLessThan(1e-6);
  });

  const learning = cases.filter(
    ({ lora }, i) => i < 3 || lora.ensure_weight_tying || (lora.lora_dropout && !lora.modules_to_save),
  );
  it.each(learning)('learn as in PEFT for ten steps: $name', async (test) => {
    const folder = await openModelFolder(theirs(test));
    const adapter = { ...folder.adapter!.options, trainable: true };
    const opening = openBase(
      addon,
      folder,
      { ...sessionOptions(folder, room), adapters: [adapter] },
      undefined,
    );
    const request = {
      op: 'train',
      base: dir(test.base.name),
      adapter: theirs(test),
      ids,
      steps: 10,
      lr: 3e-3,
    };
    // The same numbers decide on both sides what is dropped.
    const seeds = Array.from({ length: 10 }, (_, step) => 2 ** 40 + 977 * step);
    const drops = test.lora.lora_dropout !== undefined;
    const reply = await peer.ask<{ losses: number[]; norms: number[]; logits: number[] }>({
      ...request,
      ...(drops ? { dropout: { seeds, modules: adapter.modules.map(({ name }) => name) } } : {}),
      out: dir('trained', String(cases.indexOf(test))),
    });
    await withSession(opening, async (session) => {
      await importAdapter(session, 0, folder.adapter!);
      const batch = batchOf(0, LENGTH - 1);
      const weights = new Float32Array(LENGTH - 1).fill(1 / (LENGTH - 1));
      for (const [i, expected] of reply.losses.entries()) {
        const dropped = drops ? { ...batch, dropoutSeed: seeds[i]! } : batch;
        const { logProbs } = await session.forwardBackward(dropped, weights);
        const loss = -logProbs.reduce((sum, value, n) => sum + value * weights[n]!, 0);
        expect(Math.abs(loss / expected - 1), `loss of step ${i + 1}`).toBeLessThan(1e-4);
        const { gradNorm } = await session.step({
          learningRate: 3e-3,
          beta1: 0.9,
          beta2: 0.999,
          epsilon: 1e-8,
          weightDecay: 0,
          maxGradNorm: 1,
          step: i + 1,
          adapter: 0,
        });
        expect(Math.abs(gradNorm / reply.norms[i]! - 1), `gradient of step ${i + 1}`).toBeLessThan(1e-3);
      }
      expect(relativeError(await session.logits(batchOf(0)), reply.logits)).toBeLessThan(1e-4);
    });
  });
});

/** A few steps, so that nothing of an adapter is as it began. */
async function trainSome(session: Session): Promise<void> {
  const weights = new Float32Array(LENGTH).fill(1 / LENGTH);
  for (let step = 1; step <= 5; step++) {
    await session.forwardBackward(batchOf(0), weights);
    await session.step({
      learningRate: 0.01,
      beta1: 0.9,
      beta2: 0.999,
      epsilon: 1e-8,
      weightDecay: 0,
      maxGradNorm: 0,
      step,
      adapter: 0,
    });
  }
}
