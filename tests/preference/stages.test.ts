/** Each preference stage as a recipe has it: it runs, gets better at what it is for, and resumes with the same bits. */
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { CommandReply } from '../../proto/commands.ts';
import { loadTokenizer } from '../../src/tokenizer/tokenizer.ts';
import { runPlan } from '../../src/worker/plan.ts';
import {
  differences,
  type Fixture,
  modelFolder,
  recipeSource,
  runHere,
  TestChannel,
} from '../training/fixture.ts';
import { runWithKills, runWithStops } from '../training/kills.ts';
import {
  ASSISTANT,
  type MetricsLine,
  makePreferenceFixture,
  metricsOf,
  preferenceRecipe,
} from './fixture.ts';

const fixtures: Fixture[] = [];
afterAll(() => {
  for (const each of fixtures) each.remove();
});
function newFixture(): Fixture {
  fixtures.push(makePreferenceFixture());
  return fixtures.at(-1)!;
}
const shared = newFixture();
/** A fixture whose assistant is there already, so that a disturbance meets the stage of the test. */
async function assistantFixture(): Promise<Fixture> {
  const fixture = newFixture();
  await runHere(fixture, ASSISTANT);
  return fixture;
}

const COMMON = [
  'max_steps: 12',
  'per_device_train_batch_size: 4',
  'gradient_accumulation_steps: 2',
  'learning_rate: 1e-3',
  'save_steps: 4',
];

interface Stage {
  type: string;
  settings: string[];
  /** A metric that training is to move, up or down. */
  metric: string;
  rises: boolean;
  /** All the metrics that a step has. */
  metrics: string[];
  /** Calls of the engine from the audit to the end of the first microbatch: sessions, weights, passes. */
  calls: number;
}

const PAIR_METRICS = [
  'rewards/chosen',
  'rewards/rejected',
  'rewards/accuracies',
  'rewards/margins',
  'logps/chosen',
  'logps/rejected',
  'entropy',
];
const LABEL_METRICS = ['rewards/chosen', 'rewards/rejected', 'logps/chosen', 'logps/rejected', 'entropy'];

const stages: Stage[] = [
  {
    type: 'dpo',
    settings: ['dataset: pairs.jsonl', 'eval_dataset: eval.jsonl', 'eval_steps: 6', 'beta: 0.1'],
    metric: 'rewards/margins',
    rises: true,
    metrics: PAIR_METRICS,
    // Behind a validation, too.
    calls: 22,
  },
  {
    type: 'orpo',
    settings: ['dataset: pairs.jsonl'],
    metric: 'loss',
    rises: false,
    metrics: [...PAIR_METRICS, 'nll_loss', 'log_odds_chosen', 'log_odds_ratio'],
    calls: 6,
  },
  {
    type: 'cpo',
    settings: ['dataset: pairs.jsonl', 'loss_type: simpo', 'beta: 2', 'cpo_alpha: 0'],
    metric: 'rewards/margins',
    rises: true,
    metrics: [...PAIR_METRICS, 'nll_loss'],
    calls: 6,
  },
  {
    type: 'kto',
    settings: ['dataset: labels.jsonl', 'beta: 0.5'],
    metric: 'loss',
    rises: false,
    metrics: [...LABEL_METRICS, 'kl'],
    calls: 14,
  },
  {
    type: 'bco',
    settings: ['dataset: labels.jsonl', 'beta: 0.5'],
    metric: 'loss',
    rises: false,
    metrics: [...LABEL_METRICS, 'delta'],
    calls: 14,
  },
  {
    type: 'reward',
    settings: ['dataset: rankings.jsonl', 'center_rewards_coefficient: 0.01'],
    metric: 'accuracy',
    rises: true,
    metrics: ['accuracy', 'margin', 'mean_reward', 'min_reward', 'max_reward'],
    calls: 6,
  },
  {
    type: 'distill',
    settings: ['dataset: completions.jsonl', 'teacher: teacher', 'top_k: 16', 'beta: 0.5'],
    metric: 'loss',
    rises: false,
    metrics: ['entropy', 'teacher_tokens/student_mass'],
    calls: 12,
  },
];

const mean = (lines: MetricsLine[], metric: string) =>
  lines.reduce((sum, line) => sum + line[metric]!, 0) / lines.length;

describe.each(stages)('$type', ({ type, settings, metric, rises, metrics, calls }) => {
  const text = preferenceRecipe(type, [...COMMON, ...settings]);

  it('runs, gets better, and tells the audit and TRL’s metrics', async () => {
    const channel = await runHere(shared, text);
    expect(channel.outcome()).toEqual({ outcome: 'succeeded', error: null });
    const audit = channel.events('audit').at(-1)!.body;
    expect(audit).toMatchObject({ stage: type, too_long: 0 });
    expect(audit.examples[0]!.spans.map(({ scored }) => scored)).toContain(true);
    const steps = metricsOf(shared, type).filter((line) => 'loss' in line);
    expect(steps).toHaveLength(12);
    for (const name of metrics) expect(steps[0], name).toHaveProperty([name]);
    const change = mean(steps.slice(-3), metric) - mean(steps.slice(0, 3), metric);
    expect(rises ? change : -change).toBeGreaterThan(0);
  });

  it('resumes with the same bits, stopped at every microstep', async () => {
    const other = await assistantFixture();
    const { attempts } = await runWithStops(other, text, calls);
    expect(attempts).toBeGreaterThan(4);
    expectSameModel(other, type);
  });
});

function expectSameModel(other: Fixture, stage: string): void {
  const differing = differences(modelFolder(shared, stage), modelFolder(other, stage));
  expect(differing.filter((name) => name !== 'rows.txt')).toEqual([]);
}

describe('dpo', () => {
  const settings = [
    ...COMMON,
    'dataset: pairs.jsonl',
    'eval_dataset: eval.jsonl',
    'eval_steps: 6',
    'beta: 0.1',
  ];

  it('resumes with the same bits after kill -9', async () => {
    const other = await assistantFixture();
    await runWithKills(other, preferenceRecipe('dpo', settings), 6, 500, 5);
    expectSameModel(other, 'dpo');
  });

  it('validates by TRL’s names', () => {
    const [first] = metricsOf(shared, 'dpo').filter((line) => 'eval_loss' in line);
    expect(first).toMatchObject({
      step: 6,
      'eval_rewards/accuracies': expect.any(Number),
      'eval_rewards/margins': expect.any(Number),
    });
  });

  it('begins at log 2 with rewards of 0: policy and reference are the same', () => {
    const [first] = metricsOf(shared, 'dpo');
    expect(first!.loss).toBeCloseTo(Math.LN2, 5);
    expect(first!['rewards/margins']).toBeCloseTo(0, 4);
  });

  it('computes the reference beforehand, once for a sweep', async () => {
    const fixture = newFixture();
    const notices = async (beta: number) => {
      const text = preferenceRecipe('dpo', [
        ...settings.filter((line) => !line.startsWith('beta')),
        `beta: ${beta}`,
        'precompute_ref_log_probs: true',
      ]);
      const channel = await runHere(fixture, text, { job: `beta-${beta}` });
      expect(channel.outcome().error).toBeNull();
      return channel.events('notice').map(({ body }) => body.text);
    };
    const first = await notices(0.1);
    expect(first.join()).toMatch(/Reference log-probabilities: 0 rows found, \d\d+ computed\./);
    // To float32, it is the run with the reference beside the policy.
    const [live, kept] = [metricsOf(shared, 'dpo'), metricsOf(fixture, 'dpo')];
    kept.forEach((line, i) => {
      if ('loss' in line) expect(line.loss).toBeCloseTo(live[i]!.loss!, 3);
    });
    expect((await notices(0.5)).join()).toMatch(
      /Reference log-probabilities: \d\d+ rows found, 0 computed\./,
    );
  });

  it('takes another reference, and refuses one with another tokenizer', async () => {
    const steps = settings.map((line) => (line.startsWith('max_steps') ? 'max_steps: 2' : line));
    const other = await runHere(shared, preferenceRecipe('dpo', [...steps, 'ref_model: pretrain']));
    expect(other.outcome().error).toBeNull();
    expect(Math.abs(metricsOf(shared, 'dpo')[0]!['rewards/chosen']!)).toBeGreaterThan(0.01);
  });

  it('trains on a loss of the recipe’s own, and tells what is wrong with it', async () => {
    const short = settings.map((line) => (line.startsWith('max_steps') ? 'max_steps: 2' : line));
    const run = async (name: string, code: string) => {
      writeFileSync(join(shared.dir, name), code);
      return (await runHere(shared, preferenceRecipe('dpo', [...short, `loss_type: ${name}`]))).outcome();
    };
    const zeros = 'const z = Array.from(p.chosenLogps, () => 0);';
    expect(
      await run(
        'zero.mjs',
        `export default (p) => { ${zeros} return { losses: z, chosen: z, rejected: z }; };`,
      ),
    ).toEqual({
      outcome: 'succeeded',
      error: null,
    });
    const broken = await run(
      'mine.mjs',
      `export default (p) => { ${zeros} return { losses: z, chosen: z.with(0, NaN), rejected: z }; };`,
    );
    expect(broken.error).toMatchObject({
      code: 'objective_invalid',
      message: expect.stringMatching(/mine\.mjs returned NaN as chosen\[0\]/),
    });
  });

  it.each([
    ['loss_type: sigmiod', /sigmiod is not a loss type; did you mean sigmoid/],
    ['loss_type: exo_pair', /above 0 for exo_pair/],
    ['label_smoothing: 0.1', /is not used by sigmoid/],
    ['loss_weights: [1, 2]', /2 weights for 1 loss types/],
    ['{ loss_type: apo_zero, f_divergence_type: forward_kl }', /cannot be forward_kl with apo_zero/],
    ['beta: 0', /beta/],
  ])('refuses %s', async (line, problem) => {
    const own = line.startsWith('{') ? line.slice(2, -2).split(', ') : [line];
    const kept = settings.filter((each) => !own.some((mine) => mine.split(':')[0] === each.split(':')[0]));
    const channel = await runHere(shared, preferenceRecipe('dpo', [...kept, ...own]));
    expect(channel.outcome().error).toMatchObject({
      code: 'recipe_invalid',
      message: expect.stringMatching(problem),
    });
  });
});

describe('reward', () => {
  it('reports accuracy and calibration on prompts that it has not seen', async () => {
    const channel = await runHere(
      shared,
      preferenceRecipe('reward', [
        ...COMMON.map((line) => (line.startsWith('max_steps') ? 'max_steps: 30' : line)),
        'dataset: rankings.jsonl',
        'validation_fraction: 0.2',
      ]),
    );
    expect(channel.outcome().error).toBeNull();
    const report = JSON.parse(readFileSync(join(modelFolder(shared, 'reward'), 'report.json'), 'utf8')) as {
      calibration: { pairs: number; accuracy: number; ece: number };
    };
    // 20 of 100 prompts with 5 comparisons each: one best answer, two in the middle, one worst.
    expect(report.calibration.pairs).toBe(100);
    expect(report.calibration.accuracy).toBeGreaterThan(0.8);
    expect(channel.events('report').at(-1)!.body.title).toMatch(/held-out pairs in order, ECE/);
  });

  it('is a sequence-classification folder, read back', () => {
    const config = JSON.parse(
      readFileSync(join(modelFolder(shared, 'reward'), 'config.json'), 'utf8'),
    ) as object;
    expect(config).toMatchObject({ architectures: ['LlamaForSequenceClassification'], num_labels: 1 });
  });
});

describe('distill', () => {
  let eos = 0;
  beforeAll(async () => {
    eos = (await loadTokenizer(modelFolder(shared, 'sft'))).eosId!;
  });
  const stored = () => ({
    prompt: 'Who?',
    completion: ' A',
    completion_ids: [300, eos],
    top_ids: [
      [300, 5],
      [eos, 5],
    ],
    top_log_probs: [
      [-0.1, -3],
      [-0.1, -3],
    ],
  });
  const run = (row: object, ...settings: string[]) => {
    writeFileSync(join(shared.dir, 'own.jsonl'), `${JSON.stringify(row)}\n`);
    return runHere(shared, preferenceRecipe('distill', [...COMMON, 'dataset: own.jsonl', ...settings]));
  };

  it('learns from stored log-probabilities', async () => {
    const channel = await run(stored());
    expect(channel.outcome().error).toBeNull();
    const steps = metricsOf(shared, 'distill');
    expect(steps.at(-1)!.loss).toBeLessThan(steps[0]!.loss!);
  });

  it.each([
    [{ top_ids: undefined, top_log_probs: undefined }, [], 'data_field', /brings no top_ids/],
    [{ completion_ids: [100_000, 2] }, [], 'data_field', /100000 is not in the vocabulary/],
    [{}, ['temperature: 2'], 'recipe_invalid', /temperature/],
  ])('refuses %j %j', async (change, settings, code, message) => {
    const channel = await run({ ...stored(), ...change }, ...settings);
    expect(channel.outcome().error).toMatchObject({ code, message: expect.stringMatching(message) });
  });
});

describe('lora', () => {
  it.each(['dpo', 'reward', 'kto'])(
    '%s trains an adapter over one base, the reference without it',
    async (type) => {
      const { settings, metric, rises } = stages.find((stage) => stage.type === type)!;
      const lora = 'lora: { r: 4, target_modules: all-linear }';
      const text = preferenceRecipe(type, [
        ...COMMON.map((line) => (line.startsWith('learning_rate') ? 'learning_rate: 1e-2' : line)),
        ...settings,
        lora,
      ]);
      const channel = await runHere(shared, text);
      expect(channel.outcome().error).toBeNull();
      const steps = metricsOf(shared, type).filter((line) => 'loss' in line);
      if (type === 'dpo') expect(steps[0]!.loss).toBeCloseTo(Math.LN2, 4);
      const change = mean(steps.slice(-3), metric) - mean(steps.slice(0, 3), metric);
      expect(rises ? change : -change).toBeGreaterThan(0);
    },
  );
});

describe('rows', () => {
  const run = (rows: unknown[], settings: string[] = [], stage = 'dpo') => {
    writeFileSync(join(shared.dir, 'own.jsonl'), `${rows.map((row) => JSON.stringify(row)).join('\n')}\n`);
    return runHere(shared, preferenceRecipe(stage, [...COMMON, 'dataset: own.jsonl', ...settings]));
  };
  const good = { prompt: 'Who?', chosen: ' Anna.', rejected: ' Ben.' };

  it('that teach nothing are told and counted', async () => {
    const channel = await run(
      [
        good,
        { ...good, prompt: 'Where?' },
        { ...good, chosen: '' },
        { ...good, rejected: ' Anna.' },
        { ...good, prompt: 'Who is it? '.repeat(60) },
      ],
      ['too_long: truncate', 'max_length: 64'],
    );
    expect(channel.outcome().error).toBeNull();
    expect(channel.events('audit').at(-1)!.body.skipped).toEqual({
      'an answer is empty': 1,
      'chosen and rejected are equal': 1,
      'the prompt alone fills max_length': 1,
    });
    const texts = channel.events('notice').map(({ body }) => body.text);
    expect(texts.join('\n')).toMatch(
      /1 of the rows left out: an answer is empty \(the first is .*own\.jsonl:3\)/,
    );
  });

  it('longer than max_length need a word in the recipe', async () => {
    const channel = await run([good, { ...good, chosen: ' Anna'.repeat(100) }], ['max_length: 64']);
    expect(channel.outcome().error).toMatchObject({
      code: 'data_row_too_long',
      message: expect.stringMatching(/own\.jsonl:2 chosen/),
    });
  });

  it('of which none is left are an error that says why', async () => {
    const channel = await run([{ ...good, rejected: good.chosen }]);
    expect(channel.outcome().error).toMatchObject({
      code: 'data_empty',
      message: expect.stringMatching(/1: chosen and rejected are equal/),
    });
  });

  it('of one prompt only are no rows for KTO', async () => {
    const row = { prompt: 'Who?', completion: ' Anna.', label: true };
    const channel = await run([row, { ...row, completion: ' Ben.', label: false }], [], 'kto');
    expect(channel.outcome().error).toMatchObject({
      code: 'data_empty',
      message: expect.stringMatching(/same prompt/),
    });
  });
});

async function planHere(text: string): Promise<CommandReply<'job.plan'>> {
  const channel = new TestChannel();
  const recipe = recipeSource(shared, text);
  await runPlan({ task: 'plan', home: shared.home, recipe, check_only: true }, channel);
  const planned = channel.sent.find((message) => message.type === 'planned');
  return planned!.plan;
}

describe('a plan', () => {
  it.each(stages)('of $type names memory and time', async ({ type, settings }) => {
    const plan = await planHere(preferenceRecipe(type, [...COMMON, ...settings]));
    const stage = plan.stages.find((each) => each.type === type)!;
    expect(stage.memory_bytes).toBeGreaterThan(0);
    const compares = ['dpo', 'kto', 'bco'].includes(type);
    expect('reference_bytes' in stage.detail).toBe(compares);
    if (compares) expect(stage.detail.reference_bytes).toBeGreaterThan(0);
  });

  it('holds the reference once where an adapter is trained, or where it is computed beforehand', async () => {
    const { type, settings } = stages[0]!;
    for (const line of ['lora: { r: 4, target_modules: all-linear }', 'precompute_ref_log_probs: true']) {
      const plan = await planHere(preferenceRecipe(type, [...COMMON, ...settings, line]));
      expect(plan.stages.find((each) => each.type === type)!.detail.reference_bytes).toBe(0);
    }
  });
});
