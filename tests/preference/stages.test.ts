/** Each preference stage as a recipe has it: it runs, gets better at what it is for, and resumes with the same bits. */
import { cpSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { differences, type Fixture, modelFolder, runHere } from '../training/fixture.ts';
import { keptFixtures } from '../training/fixtures.ts';
import { runWithKills, runWithStops } from '../training/kills.ts';
import { ASSISTANT, makePreferenceFixture, metricsOf, preferenceRecipe } from './fixture.ts';
import { COMMON, mean, STAGES } from './table.ts';

const newFixture = keptFixtures(makePreferenceFixture);
const shared = newFixture();
/** A fixture whose assistant is there already, so that a disturbance meets the stage of the test. */
async function assistantFixture(): Promise<Fixture> {
  const fixture = newFixture();
  await runHere(fixture, ASSISTANT);
  return fixture;
}

describe.each(STAGES)('$type', ({ type, settings, metric, rises, metrics, calls }) => {
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
    const folder = join(shared.dir, 'other');
    cpSync(modelFolder(shared, 'sft'), folder, { recursive: true, dereference: true });
    writeFileSync(
      join(folder, 'tokenizer.json'),
      `${readFileSync(join(folder, 'tokenizer.json'), 'utf8')}\n`,
    );
    const refused = await runHere(shared, preferenceRecipe('dpo', [...steps, 'ref_model: other']));
    expect(refused.outcome().error).toMatchObject({
      code: 'tokenizer_invalid',
      path: 'stages.dpo.ref_model',
    });
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
