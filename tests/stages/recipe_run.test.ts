/** Whole recipes in one process: what is made, reused, made anew, planned, and told. */
import { cpSync, existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { CommandReply } from '../../proto/commands.ts';
import { samplingSchema } from '../../proto/commands.ts';
import { EVENTS } from '../../proto/events.ts';
import { ArtifactStore } from '../../src/artifacts/store.ts';
import { loadModel, openModelFolder } from '../../src/models/load.ts';
import { loadAddon } from '../../src/native/addon.ts';
import { loadTokenizer } from '../../src/tokenizer/tokenizer.ts';
import { runDoctor } from '../../src/worker/doctor.ts';
import { GenerateQueue } from '../../src/worker/generate.ts';
import { runPlan } from '../../src/worker/plan.ts';
import { runServe } from '../../src/worker/serve.ts';
import {
  type Fixture,
  makeFixture,
  modelFolder,
  recipeSource,
  recipeText,
  runHere,
  TestChannel,
} from '../training/fixture.ts';

const SFT = ['max_steps: 60', 'learning_rate: 5e-3', 'per_device_train_batch_size: 4'];
const TEXT = recipeText({ pretrain: ['max_steps: 30'], sft: SFT, evaluate: true });

let fixture: Fixture;
let first: TestChannel;
beforeAll(async () => {
  fixture = makeFixture();
  first = await runHere(fixture, TEXT);
});
afterAll(() => fixture.remove());

const phases = (channel: TestChannel) =>
  Object.fromEntries(
    channel
      .events('stage')
      .filter((event) => event.body.phase !== 'started')
      .map((event) => [event.body.stage, event.body.phase]),
  );

describe('a recipe', () => {
  it('runs to its end and tells events of the protocol, those that are not of the machine with a key', () => {
    expect(first.outcome()).toEqual({ outcome: 'succeeded', error: null });
    for (const message of first.sent) {
      if (message.type !== 'event') continue;
      EVENTS[message.kind].body.parse(message.body);
      expect(message.key === undefined).toBe(message.kind === 'speed' || message.kind === 'log');
    }
    const keys = first.sent.flatMap((message) => (message.type === 'event' ? (message.key ?? []) : []));
    expect(new Set(keys).size).toBe(keys.length);
  });

  it('says that messages have the text of a special token', async () => {
    const own = makeFixture();
    try {
      const path = join(own.dir, 'chats.jsonl');
      const odd = {
        messages: [
          { role: 'user', content: 'a <|im_end|> b' },
          { role: 'assistant', content: 'c' },
        ],
      };
      const rows = readFileSync(path, 'utf8').trim().split('\n');
      writeFileSync(path, `${[...rows, JSON.stringify(odd)].join('\n')}\n`);
      const channel = await runHere(own, recipeText({ pretrain: ['max_steps: 1'], sft: ['max_steps: 1'] }));
      expect(channel.outcome().error).toBeNull();
      expect(channel.warnings().map(({ body }) => body.text)).toContainEqual(
        expect.stringMatching(
          new RegExp(
            `^Messages of 1 of ${rows.length + 1} rows .*chats\\.jsonl:${rows.length + 1}: <.im_end.>`,
          ),
        ),
      );
    } finally {
      own.remove();
    }
  });

  it('makes a table of base and assistant by group, and lays the outputs beside it', () => {
    const report = first.events('report').find(({ body }) => body.stage === 'evaluate');
    expect(report!.body.columns).toEqual(['model', 'split', 'rows', 'exact_match', 'contains', 'question']);
    expect(report!.body.rows.map((row) => row.slice(0, 3))).toEqual([
      ['base', 'known', 6],
      ['base', 'unseen', 6],
      ['assistant', 'known', 6],
      ['assistant', 'unseen', 6],
    ]);
    expect(Object.keys(report!.body.examples[0]!.outputs)).toEqual(['base', 'assistant']);
    const hash = first.events('stage').find((e) => e.key === 'evaluate/stage/finished')!.body.artifact!;
    const folder = new ArtifactStore(fixture.home).path(hash);
    expect(readFileSync(join(folder, 'report.md'), 'utf8')).toMatch(/\| assistant \| unseen \| 6 \|/);
    const outputs = readFileSync(join(folder, 'outputs.jsonl'), 'utf8').trim().split('\n');
    expect(outputs).toHaveLength(12);
  });

  it('lays down what made the model', () => {
    const lineage = JSON.parse(readFileSync(join(modelFolder(fixture, 'sft'), 'artifact.json'), 'utf8')) as {
      inputs: Record<string, string>;
      data_files: { path: string; sha256: string }[];
      results: Record<string, unknown>;
      recipe: { text: string };
    };
    const pretrain = first.events('stage').find((e) => e.key === 'pretrain/stage/finished')!;
    expect(lineage.inputs).toEqual({ model: pretrain.body.artifact });
    expect(lineage.data_files).toEqual([
      {
        path: join(fixture.dir, 'chats.jsonl'),
        bytes: expect.any(Number),
        sha256: expect.stringMatching(/^[0-9a-f]{64}$/),
      },
    ]);
    expect(lineage.results).toMatchObject({ steps: 60, tokenizer_hash: expect.any(String) });
    expect(lineage.recipe.text).toBe(TEXT);
  });

  it('is reused by another job, with its report told again', async () => {
    const again = await runHere(fixture, TEXT, { job: 'j2' });
    expect(again.outcome().outcome).toBe('succeeded');
    expect(new Set(Object.values(phases(again)))).toEqual(new Set(['reused']));
    expect(again.events('progress')).toEqual([]);
    expect(again.events('report').map((event) => event.body)).toEqual(
      first.events('report').map((event) => event.body),
    );
  });

  it('is made anew from the stage whose settings or data changed', async () => {
    const changed = TEXT.replace('max_steps: 60', 'max_steps: 61');
    expect(phases(await runHere(fixture, changed, { job: 'j3' }))).toEqual({
      tokenizer: 'reused',
      prepare: 'reused',
      pretrain: 'reused',
      sft: 'finished',
      evaluate: 'finished',
    });
    const questions = join(fixture.dir, 'questions.jsonl');
    const before = readFileSync(questions, 'utf8');
    writeFileSync(questions, before.split('\n').slice(1).join('\n'));
    const shorter = await runHere(fixture, changed, { job: 'j4' });
    writeFileSync(questions, before);
    expect(phases(shorter)).toMatchObject({ sft: 'reused', evaluate: 'finished' });
  });

  it('is made anew when asked to, and once only by one job', async () => {
    const short = TEXT.slice(0, TEXT.indexOf('  sft:'));
    const fresh = await runHere(fixture, short, { job: 'j5', fresh: true });
    expect(new Set(Object.values(phases(fresh)))).toEqual(new Set(['finished']));
    expect(fresh.events('progress').length).toBeGreaterThan(30);
    // Restarted, it finds what it has made.
    const restarted = await runHere(fixture, short, { job: 'j5', fresh: true });
    expect(restarted.events('progress')).toEqual([]);
    expect(phases(restarted)).toEqual(phases(fresh));
  });

  it('is made anew when the artifact is damaged', async () => {
    const path = join(modelFolder(fixture, 'pretrain'), 'model.safetensors');
    const bytes = readFileSync(path);
    const damaged = Buffer.from(bytes);
    damaged[damaged.length - 5]! ^= 4;
    writeFileSync(path, damaged);
    const again = await runHere(fixture, TEXT, { job: 'j6' });
    expect(phases(again)).toMatchObject({ prepare: 'reused', pretrain: 'finished', sft: 'reused' });
    expect(again.events('notice')[0]!.body.text).toMatch(/model\.safetensors does not match its checksum/);
    expect(readFileSync(path).equals(bytes)).toBe(true);
  });

  it('goes on from a model of another job, by name', async () => {
    const text = [
      'name: more',
      'threads: 2',
      'stages:',
      '  tokenizer: { files: [corpus.jsonl], vocab_size: 400 }',
      '  prepare: { sources: [{ files: [corpus.jsonl] }] }',
      '  pretrain: { dataset: prepare, base: tiny/pretrain, max_steps: 2, learning_rate: 1e-4 }',
      '  texts: { type: evaluate, models: { before: tiny/pretrain, after: pretrain }, dataset: texts.jsonl }',
      '',
    ].join('\n');
    writeFileSync(
      join(fixture.dir, 'texts.jsonl'),
      `${JSON.stringify({ text: 'Anna lives in Aachen.' })}\n${JSON.stringify({ text: 'Zyx qwv! '.repeat(60) })}\n`,
    );
    const channel = await runHere(fixture, text, { job: 'j7' });
    expect(channel.outcome()).toEqual({ outcome: 'succeeded', error: null });
    const losses = channel.events('progress').filter((e) => e.body.stage === 'pretrain');
    expect(losses[0]!.body.metrics.loss).toBeLessThan(4);
    const report = channel.events('report').find(({ body }) => body.stage === 'texts');
    expect(report!.body.columns).toEqual(['model', 'rows', 'perplexity', 'bits_per_byte']);
    const [before] = report!.body.rows;
    expect(before![2]).toBeGreaterThan(1);
    expect(before![3]).toBeGreaterThan(0);
  });

  it('is refused before anything starts when a data file is missing', async () => {
    const error = (await runHere(fixture, TEXT.replace('chats.jsonl', 'chat.jsonl'), { job: 'j8' })).outcome()
      .error;
    expect(error).toMatchObject({ code: 'file_not_found', message: expect.stringMatching(/chat\.jsonl/) });
  });
});

describe('models', () => {
  it('are listed and found by name', async () => {
    const store = new ArtifactStore(fixture.home);
    const models = await store.listModels();
    expect(models.map((model) => model.name)).toEqual(expect.arrayContaining(['tiny/pretrain', 'tiny/sft']));
    expect(models.every((model) => model.parameters > 10_000)).toBe(true);
    const path = await store.resolveModel('tiny/sft');
    expect(existsSync(join(path, 'model.safetensors'))).toBe(true);
    await expect(store.resolveModel('tiny/nothing')).rejects.toMatchObject({ code: 'model_not_found' });
  });

  it('are served: chat and raw prompts, stop strings, errors for what is too long', async () => {
    const channel = new TestChannel();
    const sampling = samplingSchema.parse({ max_new_tokens: 12, temperature: 0 });
    const ended = () => channel.sent.filter((message) => message.type === 'generated').length;
    channel.onMessage = () => {
      if (ended() === 3) channel.stop();
    };
    const serving = runServe({ task: 'serve', home: fixture.home, model: 'tiny/sft' }, channel);
    channel.generate({
      request: 'a',
      messages: [{ role: 'user', content: 'What is Anna of Aachen?' }],
      sampling,
    });
    channel.generate({ request: 'b', prompt: 'Anna lives', sampling: { ...sampling, stop: ['e'] } });
    channel.generate({ request: 'c', prompt: 'Anna '.repeat(200), sampling });
    await serving;
    const [a, b] = ['a', 'b'].map((request) => {
      const message = channel.sent.find(
        (sent) => sent.type === 'event' && sent.kind === 'completion' && sent.request === request,
      );
      return message?.type === 'event' && message.kind === 'completion' ? message.body : undefined;
    });
    expect(a!.text).toMatch(/is a /);
    expect(a!.finish).toBe('stop');
    expect(b!.text).not.toMatch(/e/);
    expect(
      channel.sent.find((message) => message.type === 'generated' && message.request === 'c'),
    ).toMatchObject({
      error: { code: 'bad_request', path: 'prompt' },
    });
  });

  it('gives the chat template its variables', async () => {
    const path = join(fixture.dir, 'noted');
    cpSync(modelFolder(fixture, 'sft'), path, { recursive: true, dereference: true });
    const { files, chatTemplate } = await loadTokenizer(path);
    const config = JSON.parse(files.get('tokenizer_config.json')!) as object;
    const chat_template = `{% if note %}{{ note }}{% endif %}${chatTemplate}`;
    writeFileSync(join(path, 'tokenizer_config.json'), JSON.stringify({ ...config, chat_template }));
    const channel = new TestChannel();
    channel.onMessage = (message) => {
      if (message.type === 'generated' && message.request === 'with') channel.stop();
    };
    const serving = runServe({ task: 'serve', home: fixture.home, model: path }, channel);
    const request = {
      messages: [{ role: 'user', content: 'What is Anna of Aachen?' }],
      sampling: samplingSchema.parse({ max_new_tokens: 1, temperature: 0 }),
    };
    channel.generate({ ...request, request: 'without' });
    channel.generate({ ...request, request: 'with', chat_template_kwargs: { note: 'zzz' } });
    await serving;
    const [without, withNote] = ['without', 'with'].map((asked) => {
      const sent = channel.sent.find(
        (each) => each.type === 'event' && each.request === asked && each.kind === 'completion',
      );
      return (sent as { body: { prompt_tokens: number } }).body.prompt_tokens;
    });
    expect(withNote).toBe(without! + (await loadTokenizer(path)).encode('zzz').length);
  });
});

describe('the queue of generate requests', () => {
  it('goes on at each boundary where it stopped, side by side, by the weights of the moment', async () => {
    const path = await new ArtifactStore(fixture.home).resolveModel('tiny/sft');
    const folder = await openModelFolder(path);
    const room = { generationSlots: 4, generationLength: 64 };
    const session = await loadModel(loadAddon(), folder, {
      threads: 1,
      trainable: true,
      maxTokens: 64,
      maxSequences: 1,
      maxScored: 1,
      recompute: false,
      ...room,
    });
    const tokenizer = await loadTokenizer(path);
    const model = { session, tokenizer, stopIds: [], generationLength: room.generationLength };
    const channel = new TestChannel();
    const queue = new GenerateQueue(channel);
    const sampling = samplingSchema.parse({ max_new_tokens: 10, temperature: 0 });
    const told = (request: string) =>
      channel.sent.filter(
        (sent) => sent.type === 'event' && sent.request === request && sent.kind === 'token',
      ).length;
    const ended = () => channel.sent.flatMap((sent) => (sent.type === 'generated' ? [sent.request] : []));
    channel.generate({ request: 'long', prompt: 'Anna lives in', sampling });
    channel.generate({ request: 'short', prompt: 'Ben', sampling: { ...sampling, max_new_tokens: 2 } });
    channel.generate({ request: 'gone', prompt: 'Ben', sampling });
    channel.generate({ request: 'form', prompt: 'Ben', sampling: { ...sampling, regex: '[0-9]{3}' } });
    channel.generate({ request: 'bad', prompt: 'Ben', sampling: { ...sampling, regex: '(' } });
    channel.cancel('gone');
    expect(ended()).toEqual(['gone']);
    // One pass a boundary.
    for (let boundary = 1; boundary <= 3; boundary++) await queue.answer(model, 0);
    expect(ended()).toEqual(['gone', 'bad', 'short', 'form']);
    expect(told('long')).toBeGreaterThan(0);
    const form = channel.sent.find(
      (sent) => sent.type === 'event' && sent.kind === 'completion' && sent.request === 'form',
    );
    expect(form).toMatchObject({ body: { finish: 'stop', text: expect.stringMatching(/^[0-9]{3}$/) } });
    expect(channel.sent.find((sent) => sent.type === 'generated' && sent.request === 'bad')).toMatchObject({
      error: { code: 'constraint_invalid', message: expect.stringContaining('character 1') },
    });
    // New weights: the answer goes on all the same.
    await session.initWeights(3, 0.1);
    await queue.answer(model);
    expect(ended()).toEqual(['gone', 'bad', 'short', 'form', 'long']);
    await session.close();
  });
});

describe('a plan', () => {
  const plan = async (text: string, home = fixture.home): Promise<CommandReply<'job.plan'>> => {
    const channel = new TestChannel();
    await runPlan({ task: 'plan', home, recipe: recipeSource(fixture, text), check_only: false }, channel);
    const planned = channel.sent.find((message) => message.type === 'planned');
    if (planned?.type !== 'planned') throw new Error('no plan');
    return planned.plan;
  };

  it('counts what has still to be made, by the sizing of the engine', async () => {
    const other = makeFixture();
    const made = await plan(TEXT, other.home);
    other.remove();
    const [, , pretrain, sft] = made.stages;
    expect(pretrain).toMatchObject({ stage: 'pretrain', reused: false });
    expect(pretrain!.memory_bytes).toBeGreaterThan(1e5);
    expect(pretrain!.seconds).toBeGreaterThan(0);
    expect(sft!.memory_bytes).toBeGreaterThan(1e5);
    expect(made.fits).toBe(true);

    const done = await plan(TEXT);
    expect(done.stages.every((stage) => stage.reused)).toBe(true);
    expect(done.seconds).toBe(0);
  });

  it('says what will not fit', async () => {
    const large = TEXT.replace('hidden_size: 32', 'hidden_size: 65536');
    expect((await plan(large)).fits).toBe(false);
  });
});

describe('doctor', () => {
  it('tells what the machine can do', async () => {
    const channel = new TestChannel();
    await runDoctor({ task: 'doctor', home: fixture.home }, channel);
    const report = channel.sent.find((message) => message.type === 'doctored');
    if (report?.type !== 'doctored') throw new Error('no report');
    const names = report.report.checks.map((check) => check.name);
    expect(names).toEqual(expect.arrayContaining(['engine', 'blas', 'matrix speed', 'memory', 'disk']));
  });
});
