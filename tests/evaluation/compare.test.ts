/** The stage `compare` in whole recipes: its table against what the outputs say, its KL against the full logits. */
import { cpSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { stageRows } from '../../src/data/shapes/read.ts';
import { divergence } from '../../src/evaluation/compare.ts';
import { type CompareSettings, compareSchema } from '../../src/evaluation/compare_settings.ts';
import {
  type Contestant,
  contestantSession,
  type Judged,
  judgeContestant,
  openContestant,
} from '../../src/evaluation/contestant.ts';
import { openModelFolder } from '../../src/models/load.ts';
import { readingOptions } from '../../src/models/reading.ts';
import { loadAddon } from '../../src/native/addon.ts';
import { readPromptRows } from '../../src/rollout/prompts.ts';
import { compareStage } from '../../src/stages/compare.ts';
import type { PlannedInput, StageContext } from '../../src/stages/stage.ts';
import {
  differences,
  type Fixture,
  makeFixture,
  modelFolder,
  recipeText,
  runHere,
  type TestChannel,
} from '../training/fixture.ts';

const MODELS = recipeText({
  pretrain: ['max_steps: 20'],
  sft: ['max_steps: 40', 'learning_rate: 5e-3', 'per_device_train_batch_size: 4'],
});
/** The stage, with lines of settings that replace those of the same key. */
function compareText(...changes: string[]): string {
  const key = (line: string) => line.slice(0, line.indexOf(':'));
  const lines = [
    'models: { early: pretrain, assistant: sft }',
    'against: early',
    'dataset: questions.jsonl',
    'rewards: [{ type: exact_match, contains: true }]',
    'num_generations: 3',
    'max_new_tokens: 10',
    'batch_size: 6',
    'examples: 2',
  ].filter((line) => !changes.some((change) => key(change) === key(line)));
  return `${MODELS}  compare:\n${[...lines, ...changes].map((line) => `    ${line}\n`).join('')}`;
}

let fixture: Fixture;
let first: TestChannel;
beforeAll(async () => {
  fixture = makeFixture();
  first = await runHere(fixture, compareText());
});
afterAll(() => fixture.remove());

const artifact = (of: Fixture, channel: TestChannel) =>
  join(
    of.home,
    'artifacts',
    channel.events('stage').find(({ body }) => body.stage === 'compare' && body.artifact)!.body.artifact!,
  );
const report = (channel: TestChannel) => channel.events('report').at(-1)!.body;
interface OutputRow {
  prompt: string;
  answer: string;
  outputs: Record<string, { greedy: string; sampled: string[] }>;
}
const outputRows = () =>
  readFileSync(join(artifact(fixture, first), 'outputs.jsonl'), 'utf8')
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as OutputRow);

describe('compare', () => {
  it('has a row for each model, by what its outputs are worth', () => {
    expect(first.outcome()).toEqual({ outcome: 'succeeded', error: null });
    const { columns, rows, examples } = report(first);
    expect(columns).toEqual([
      'model',
      'win_rate',
      'stderr',
      'reward',
      'kl',
      'exact_match',
      'trained_parameters',
      'seconds',
    ]);
    const outputs = outputRows();
    expect(outputs.length).toBe(12);
    const right = (text: string, answer: string) =>
      text
        .replace(/[^a-z ]/gi, ' ')
        .split(/ +/)
        .includes(answer)
        ? 1
        : 0;
    const worth = (model: string) =>
      outputs.flatMap((row) => row.outputs[model]!.sampled.map((text) => right(text, row.answer)));
    const [early, assistant] = [worth('early'), worth('assistant')];
    expect(early.length).toBe(36);
    const wins = assistant.map((own, i) => (own === early[i] ? 0.5 : Number(own > early[i]!)));
    const mean = (numbers: number[]) => numbers.reduce((sum, x) => sum + x, 0) / numbers.length;
    expect(rows.map((row) => row[0])).toEqual(['early', 'assistant']);
    expect(rows[0]!.slice(1, 5)).toEqual([null, null, mean(early), 0]);
    expect([rows[1]![1], rows[1]![3]]).toEqual([mean(wins), mean(assistant)]);
    expect(rows[1]![2]).toBeGreaterThan(0);
    expect(rows[1]![4]).toBeGreaterThan(0);
    const exact = (model: string) =>
      mean(outputs.map(({ outputs: of, answer }) => Number(of[model]!.greedy.trim() === answer)));
    expect(rows.map((row) => row[5])).toEqual([exact('early'), exact('assistant')]);
    for (const row of rows) expect(row.slice(6).every((cost) => typeof cost === 'number')).toBe(true);
    expect(examples.map(({ prompt, expected }) => [prompt, expected])).toEqual(
      outputs.slice(0, 2).map(({ prompt, answer }) => [prompt, answer]),
    );
    expect(examples[0]!.outputs.assistant).toBe(outputs[0]!.outputs.assistant!.greedy);
  });

  it('tells its report again when it is used again', async () => {
    const again = await runHere(fixture, compareText(), { job: 'j2' });
    expect(again.events('report').map(({ body }) => body)).toEqual([report(first)]);
  });

  it('that is stopped between batches goes on to the same bytes', async () => {
    const other = makeFixture();
    try {
      let stopped = 0;
      let channel: TestChannel;
      do {
        channel = await runHere(other, compareText(), {
          during: (each) => {
            each.onMessage = (message) => {
              if (message.type === 'event' && message.kind === 'progress' && message.body.stage === 'compare')
                each.stop();
            };
          },
        });
        stopped += channel.outcome().outcome === 'stopped' ? 1 : 0;
      } while (channel.outcome().outcome === 'stopped');
      expect(channel.outcome().error).toBeNull();
      expect(stopped).toBeGreaterThan(4);
      // The report says how long the training stages took.
      expect(
        differences(artifact(fixture, first), artifact(other, channel)).filter(
          (name) => !name.startsWith('report.'),
        ),
      ).toEqual([]);
      const figures = (of: TestChannel) => report(of).rows.map((row) => row.slice(0, -1));
      expect(figures(channel)).toEqual(figures(first));
    } finally {
      other.remove();
    }
  });

  it('judges by a reward model where there are no programs', async () => {
    const pairs = Array.from({ length: 20 }, (_, i) => ({
      prompt: [{ role: 'user', content: `What is Anna of Aachen ${i}?` }],
      chosen: [{ role: 'assistant', content: 'Anna is a baker.' }],
      rejected: [{ role: 'assistant', content: 'Aachen.' }],
    }));
    writeFileSync(
      join(fixture.dir, 'pairs.jsonl'),
      `${pairs.map((pair) => JSON.stringify(pair)).join('\n')}\n`,
    );
    const reward = '  reward: { model: sft, dataset: pairs.jsonl, max_steps: 3, validation_fraction: 0 }\n';
    const text = compareText('reward_model: reward').replace(/ {4}rewards:.*\n/, '') + reward;
    const channel = await runHere(fixture, text, { job: 'j3' });
    expect(channel.outcome().error).toBeNull();
    const { columns, rows } = report(channel);
    expect(columns.slice(0, 5)).toEqual(['model', 'win_rate', 'stderr', 'reward_model', 'kl']);
    expect(rows[0]![3]).not.toBe(rows[1]![3]);
    expect(rows[1]![1]).toBeGreaterThanOrEqual(0);
    expect(rows[1]![1]).toBeLessThanOrEqual(1);
  });
});

describe('its plan', () => {
  it('has room for the model compared with, the largest of the others, and the reward model', async () => {
    const addon = loadAddon();
    const settings = compareSchema.parse({
      models: { early: 'pretrain', assistant: 'sft' },
      against: 'early',
      dataset: 'questions.jsonl',
      reward_model: 'reward',
    });
    const input = (stage: string) => ({ hash: stage, path: modelFolder(fixture, stage), type: stage });
    const plan = (inputs: Record<string, PlannedInput>) =>
      compareStage.plan({
        name: 'compare',
        settings,
        threads: 1,
        addon,
        baseDir: fixture.dir,
        inputs,
        matrixSpeed: 0,
      });
    const models = { 'models.early': input('pretrain'), 'models.assistant': input('sft') };
    const { architecture } = await openModelFolder(modelFolder(fixture, 'sft'));
    const own = addon.planSession(contestantSession(settings, architecture, 1)).total;
    const judge = addon.planSession(readingOptions(architecture, 1, architecture.maxPositions)).total;
    expect((await plan(models)).memoryBytes).toBe(2 * own);
    expect((await plan({ ...models, reward_model: input('sft') })).memoryBytes).toBe(2 * own + judge);
  });
});

describe('the divergence', () => {
  const settings = compareSchema.parse({
    models: { early: 'pretrain', assistant: 'sft', twin: 'sft' },
    against: 'early',
    dataset: 'questions.jsonl',
    rewards: [{ type: 'exact_match' }],
    num_generations: 2,
    max_new_tokens: 10,
  });
  const context = (changes: Partial<CompareSettings> = {}): StageContext<CompareSettings> => {
    const input = (stage: string) => ({ hash: stage, path: modelFolder(fixture, stage), type: stage });
    return {
      name: 'compare',
      settings: { ...settings, ...changes },
      seed: 7,
      threads: 1,
      addon: loadAddon(),
      baseDir: fixture.dir,
      inputs: {
        'models.early': input('pretrain'),
        'models.assistant': input('sft'),
        'models.twin': input('sft'),
      },
      hash: `direct${JSON.stringify(changes).length}`,
      matrixSpeed: 0,
      outDir: fixture.dir,
      workDir: fixture.dir,
      cacheDir: fixture.dir,
      home: fixture.home,
      emit: () => {},
      flush: async () => {},
      checkpointRequested: () => false,
      serve: async () => {},
      record: () => {},
      log: () => {},
    };
  };

  /** log p of the tokens after a prompt in float64, from the full logits. */
  async function stated({ served }: Contestant, prompt: Int32Array, answer: number[]): Promise<number> {
    const tokens = Int32Array.from([...prompt, ...answer]);
    const logits = await served.session.logits({
      tokens,
      cuSeqlens: Int32Array.of(0, tokens.length),
      scored: Int32Array.from(answer, (_, t) => prompt.length - 1 + t),
      targets: Int32Array.from(answer),
    });
    const vocabulary = logits.length / answer.length;
    return answer.reduce((sum, id, t) => {
      const row = logits.subarray(t * vocabulary, (t + 1) * vocabulary);
      let z = 0;
      for (const logit of row) z += Math.exp(logit);
      return sum + row[id]! - Math.log(z);
    }, 0);
  }

  it('is that of the responses by the full logits, and none of a model from itself', async () => {
    const asked = context();
    const rows = await readPromptRows(stageRows(asked, asked.settings.dataset));
    const [against, own, twin] = [
      await openContestant(asked, 'early', rows),
      await openContestant(asked, 'assistant', rows),
      await openContestant(asked, 'twin', rows),
    ];
    try {
      const judged = await judgeContestant(asked, own, against, 0);
      let sum = 0;
      for (const [i, responses] of judged.sampled.entries()) {
        const prompt = own.prompts[i]!.ids;
        for (const { ids } of responses)
          sum += (await stated(own, prompt, ids)) - (await stated(against, prompt, ids));
      }
      const found = ({ logProbs }: Judged) => logProbs && divergence(logProbs.own, logProbs.other);
      expect(found(judged)).toBeCloseTo(sum / judged.sampled.flat().length, 4);
      expect(found(await judgeContestant(asked, own, twin, 1))).toBeCloseTo(0, 6);
      // Of responses that were drawn otherwise it is not known.
      const warm = context({ temperature: 0.5 });
      expect(found(await judgeContestant(warm, own, against, 0))).toBeNull();
    } finally {
      for (const each of [against, own, twin]) await each.served.session.close();
    }
  });
});

describe('bad input', () => {
  const failure = async (text: string, job: string) =>
    (await runHere(fixture, text, { job })).outcome().error;

  it.each([
    ['a model to compare with that is none of them', ['against: nobody'], 'against'],
    ['one model', ['models: { early: pretrain }'], 'models'],
    ['no judge', ['rewards: null'], 'rewards'],
  ])('%s', async (_, changes, path) => {
    const text = compareText(...changes).replace(/ {4}rewards: null\n/, '');
    expect(await failure(text, 'j4')).toMatchObject({
      code: 'recipe_invalid',
      path: expect.stringContaining(path),
    });
  });

  it('prompts that leave no room', async () => {
    expect(await failure(compareText('max_new_tokens: 90'), 'j5')).toMatchObject({
      code: 'data_row_too_long',
      path: 'stages.compare.max_new_tokens',
      message: expect.stringMatching(/12 of 12 prompts.*early, which reads 96/),
    });
  });

  it('a reward model without a head', async () => {
    const plain = join(fixture.dir, 'plain');
    cpSync(modelFolder(fixture, 'sft'), plain, { recursive: true, dereference: true });
    rmSync(join(plain, 'artifact.json'));
    expect(await failure(compareText('reward_model: plain'), 'j6')).toMatchObject({
      code: 'model_invalid',
      path: 'stages.compare.reward_model',
    });
  });

  it('models of two tokenizers are compared but for their divergence', async () => {
    const other = join(fixture.dir, 'other');
    cpSync(modelFolder(fixture, 'sft'), other, { recursive: true, dereference: true });
    rmSync(join(other, 'artifact.json'));
    const file = join(other, 'tokenizer.json');
    writeFileSync(file, `${readFileSync(file, 'utf8')}\n`);
    const channel = await runHere(fixture, compareText('models: { early: pretrain, assistant: other }'), {
      job: 'j7',
    });
    expect(channel.outcome().error).toBeNull();
    const [, row] = report(channel).rows;
    expect(row!.slice(4)).toEqual([null, expect.any(Number), null, null]);
  });
});
