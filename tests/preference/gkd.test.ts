/** Distillation on written answers as recipes have it: it runs, gets better, resumes with the same bits, and refuses. */
import { cpSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import { runPlan } from '../../src/worker/plan.ts';
import {
  differences,
  type Fixture,
  modelFolder,
  recipeSource,
  runHere,
  TestChannel,
} from '../training/fixture.ts';
import { keptFixtures } from '../training/fixtures.ts';
import { runWithKills, runWithStops } from '../training/kills.ts';
import { ASSISTANT, makePreferenceFixture, metricsOf, preferenceRecipe } from './fixture.ts';
import { COMMON, mean } from './table.ts';

const newFixture = keptFixtures(makePreferenceFixture);
/** A fixture whose student (`sft`) and teacher are there already. */
async function assistantFixture(): Promise<Fixture> {
  const fixture = newFixture();
  expect((await runHere(fixture, ASSISTANT)).outcome().error).toBeNull();
  return fixture;
}

const ON_POLICY = ['teacher: teacher', 'max_new_tokens: 12'];
const recipe = (...settings: string[]) =>
  preferenceRecipe('distill', [...COMMON, 'dataset: completions.jsonl', ...ON_POLICY, ...settings]);

let shared: Fixture;
beforeAll(async () => {
  shared = await assistantFixture();
});

/** Runs on the shared fixture; metrics of the steps, which are 12. */
async function stepsOf(...settings: string[]) {
  const channel = await runHere(shared, recipe(...settings));
  expect(channel.outcome()).toEqual({ outcome: 'succeeded', error: null });
  const lines = metricsOf(shared, 'distill');
  const steps = lines.filter((line) => 'loss' in line);
  expect(steps).toHaveLength(12);
  return { channel, steps, validations: lines.filter((line) => 'eval_loss' in line) };
}

const WRITTEN = ['completions/mean_length', 'completions/clipped_ratio', 'completions/max_terminated_length'];
const SAMPLER = 'sampling/sampling_logp_difference/max';

describe('distill', () => {
  it('learns on answers that the student writes, all of them or by a coin', async () => {
    const { channel, steps } = await stepsOf('lmbda: 1', 'loss_top_k: 16');
    expect(channel.events('audit').at(-1)!.body).toMatchObject({ stage: 'distill', rows: 100 });
    for (const name of [...WRITTEN, SAMPLER, 'entropy', 'on_policy_loss', 'loss_top_k/teacher_mass'])
      expect(steps[0], name).toHaveProperty([name]);
    expect(steps[0]).not.toHaveProperty(['off_policy_loss']);
    expect(Math.max(...steps.map((step) => step[SAMPLER]!))).toBeLessThan(1e-4);
    for (const step of steps) expect(step.on_policy_loss).toBeCloseTo(step.loss!, 6);
    expect(mean(steps.slice(-3), 'loss')).toBeLessThan(mean(steps.slice(0, 3), 'loss'));

    const mixed = (await stepsOf('loss_top_k: 16')).steps;
    const both = mixed.filter((step) => 'on_policy_loss' in step && 'off_policy_loss' in step);
    expect(both.length).toBeGreaterThan(0);
    expect(both.length).toBeLessThan(12);
  });

  it('validates on the answers that are given', async () => {
    writeFileSync(
      join(shared.dir, 'held.jsonl'),
      readFileSync(join(shared.dir, 'completions.jsonl'), 'utf8').split('\n').slice(0, 8).join('\n'),
    );
    const { validations } = await stepsOf('lmbda: 1', 'eval_dataset: held.jsonl', 'eval_steps: 4', 'beta: 0');
    expect(validations).toHaveLength(3);
    expect(validations[2]!.eval_loss).toBeLessThan(validations[0]!.eval_loss!);
    expect(validations[0]).toHaveProperty(['eval_entropy']);
  });

  it('learns on answers that the teacher writes', async () => {
    const { steps } = await stepsOf('lmbda: 0', 'seq_kd: true', 'loss_top_k: 0', 'beta: 0');
    expect(steps[0]).not.toHaveProperty([SAMPLER]);
    expect(steps[0]).toHaveProperty(['off_policy_loss']);
    for (const step of steps) expect(step['loss_top_k/student_mass']).toBeCloseTo(1, 4);
    expect(mean(steps.slice(-3), 'loss')).toBeLessThan(mean(steps.slice(0, 3), 'loss'));
  });

  it('trains an adapter, and learns from a teacher that is one', async () => {
    const lora = 'lora: { r: 4, target_modules: all-linear }';
    const { steps } = await stepsOf('lmbda: 1', 'beta: 1', lora, 'loss_top_k: 16');
    expect(mean(steps.slice(-3), 'loss')).toBeLessThan(mean(steps.slice(0, 3), 'loss'));
    expect(
      JSON.parse(readFileSync(join(modelFolder(shared, 'distill'), 'adapter_config.json'), 'utf8')),
    ).toMatchObject({ r: 4 });
    cpSync(modelFolder(shared, 'distill'), join(shared.dir, 'adapter'), {
      recursive: true,
      dereference: true,
    });
    const channel = await runHere(
      shared,
      recipe('lmbda: 1').replace('teacher: teacher', 'teacher: ./adapter'),
    );
    expect(channel.outcome()).toEqual({ outcome: 'succeeded', error: null });
    // The teacher is the student with a little training: near it from the first step on.
    expect(metricsOf(shared, 'distill')[0]!.loss).toBeLessThan(0.2);
  });
});

describe('what is asked before and beside training', () => {
  it('passes the self-test of its recipe', async () => {
    const text = recipe('lmbda: 1', 'beta: 1', 'loss_top_k: 16');
    const channel = await runHere(shared, text, { job: 'selftest', selftest: ['distill'] });
    expect(channel.outcome()).toEqual({ outcome: 'succeeded', error: null });
    expect(channel.events('report')[0]!.body.rows.length).toBeGreaterThan(5);
  });

  it('is planned with the teacher: beside the student, or before it', async () => {
    const plan = async (...settings: string[]) => {
      const channel = new TestChannel();
      const source = recipeSource(shared, recipe(...settings));
      await runPlan({ task: 'plan', home: shared.home, recipe: source, check_only: true }, channel);
      const { stages } = channel.sent.find((message) => message.type === 'planned')!.plan;
      const { memory_bytes, detail } = stages.find(({ type }) => type === 'distill')!;
      return { memory: memory_bytes, teacher: detail.teacher_bytes as number };
    };
    const [given, own, taught] = [await plan('lmbda: 0'), await plan('lmbda: 1'), await plan('seq_kd: true')];
    expect(own.teacher).toBeGreaterThan(0);
    // It has keys and values only where it writes.
    expect(taught.teacher).toBeGreaterThan(own.teacher);
    expect(taught.memory - own.memory).toBe(taught.teacher - own.teacher);
    expect(own.memory).toBeGreaterThan(own.teacher);
    expect(given.memory).toBeGreaterThanOrEqual(given.teacher);
  });
});

describe('resume', () => {
  const TEXT = recipe('lmbda: 0.5', 'seq_kd: true', 'loss_top_k: 16');
  beforeAll(async () => {
    expect((await runHere(shared, TEXT)).outcome().error).toBeNull();
  });
  const expectSame = (other: Fixture) =>
    expect(
      differences(modelFolder(shared, 'distill'), modelFolder(other, 'distill')).filter(
        (n) => n !== 'rows.txt',
      ),
    ).toEqual([]);

  it('gives the same bits when stopped again and again', async () => {
    const other = await assistantFixture();
    const { attempts } = await runWithStops(other, TEXT, 34);
    expect(attempts).toBeGreaterThan(4);
    expectSame(other);
  }, 240_000);

  it('gives the same bits after kill -9 at random moments', async () => {
    const other = await assistantFixture();
    const hits = await runWithKills(other, TEXT, 5, 1_500, 3);
    expect(hits.length).toBeGreaterThan(0);
    expectSame(other);
  }, 240_000);
});

/** A tokenizer.json in which two tokens have each other's ids. */
function swapped(text: string): string {
  const json = JSON.parse(text) as { model: { vocab: Record<string, number> } };
  const { vocab } = json.model;
  [vocab.a, vocab.b] = [vocab.b!, vocab.a!];
  return JSON.stringify(json);
}

describe('bad input', () => {
  const failure = async (text: string) => (await runHere(shared, text)).outcome().error;

  it('a teacher with another tokenizer, or a larger vocabulary, is refused', async () => {
    const other = join(shared.dir, 'other');
    const copied = (change: () => void) => {
      cpSync(modelFolder(shared, 'teacher'), other, { recursive: true, dereference: true });
      change();
      return failure(recipe('lmbda: 1').replace('teacher: teacher', 'teacher: ./other'));
    };
    const edit = (file: string, by: (text: string) => string) =>
      writeFileSync(join(other, file), by(readFileSync(join(other, file), 'utf8')));
    expect(await copied(() => edit('tokenizer.json', swapped))).toMatchObject({
      code: 'tokenizer_invalid',
      path: 'stages.distill.teacher',
    });
    expect(
      await copied(() =>
        edit('config.json', (text) => text.replace(/"vocab_size": \d+/, '"vocab_size": 512')),
      ),
    ).toMatchObject({ code: 'model_invalid', message: expect.stringMatching(/512 tokens/) });
  });

  it.each([
    ['packing: true', 'packing'],
    ['lmbda: 1.5', 'lmbda'],
    ['top_k: 8', 'top_k'],
  ])('%s', async (setting, path) => {
    expect(await failure(recipe(setting))).toMatchObject({
      code: 'recipe_invalid',
      path: expect.stringContaining(path),
    });
  });

  it('a length in tokens', async () => {
    const text = recipe('max_tokens: 1000').replace('    max_steps: 12\n', '');
    expect(await failure(text)).toMatchObject({
      code: 'recipe_invalid',
      path: expect.stringContaining('max_tokens'),
    });
  });
});
