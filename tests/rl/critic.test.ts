/**
 * PPO with a critic of its own, on real runs: it learns, at its own rate; exact resume of both; what the guard goes
 * back to; where a model lies and what a plan counts for it; what is refused.
 */
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import type { CommandReply } from '../../proto/commands.ts';
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
import { digitsFixture, digitsRecipe, mean, rewardStage, stepsOf } from './recipe.ts';

const fixture = keptFixtures(digitsFixture);

const PPO = [
  'per_device_train_batch_size: 32',
  'lr_scheduler_type: constant',
  'response_length: 6',
  'num_generations: 8',
  'num_ppo_epochs: 2',
  'temperature: 1',
  'learning_rate: 2e-3',
  'vf_coef: 0.5',
  'kl_coef: 0.01',
];
const SEPARATE = [...PPO, 'critic: separate'];
const REWARDED = 'reward_model: reward';
const LORA = 'lora: { r: 4, lora_alpha: 8, target_modules: all-linear }';

describe('a critic of its own', () => {
  it('learns the values, at its own rate, and the policy from them', async () => {
    const settings = [
      ...SEPARATE,
      'gradient_accumulation_steps: 2',
      'critic_learning_rate: 4e-3',
      'max_steps: 60',
    ];
    const channel = await runHere(fixture(), digitsRecipe('ppo', settings));
    expect(channel.outcome()).toEqual({ outcome: 'succeeded', error: null });
    const steps = stepsOf(channel, 'ppo');
    expect(steps[0]).toMatchObject({ learning_rate: 2e-3, 'critic/learning_rate': 4e-3 });
    for (const step of steps) expect(step['critic/grad_norm']).toBeGreaterThan(0);
    // The first step's policy is the very one that drew, whatever the critic does.
    expect(steps[0]!['policy/approxkl_avg']).toBe(0);
    const [losses, rewards] = ['loss/value_avg', 'reward'].map((name) => steps.map((step) => step[name]!));
    expect(mean(losses!.slice(-10))).toBeLessThan(0.5 * mean(losses!.slice(0, 4)));
    expect(mean(rewards!.slice(-10))).toBeGreaterThan(mean(rewards!.slice(0, 5)) + 0.15);
  });

  it('is stepped apart: its rate is no matter to the first pass of the policy, and the other way round', async () => {
    const own = fixture();
    const run = async (settings: string[]) =>
      stepsOf(await runHere(own, digitsRecipe('ppo', [...SEPARATE, 'max_steps: 2', ...settings])), 'ppo');
    const plain = await run(['critic_learning_rate: 1e-3']);
    const faster = await run(['critic_learning_rate: 1e-2']);
    expect(faster[1]!.grad_norm).toBe(plain[1]!.grad_norm);
    expect(faster[1]!['critic/grad_norm']).not.toBe(plain[1]!['critic/grad_norm']);
    const slow = ['learning_rate: 1e-4', 'critic_learning_rate: 1e-3'];
    const other = stepsOf(
      await runHere(
        own,
        digitsRecipe('ppo', [
          ...SEPARATE.filter((line) => !line.startsWith('learning_rate')),
          'max_steps: 2',
          ...slow,
        ]),
      ),
      'ppo',
    );
    expect(other[1]!['critic/grad_norm']).toBe(plain[1]!['critic/grad_norm']);
    expect(other[1]!['policy/approxkl_avg']).toBeLessThan(plain[1]!['policy/approxkl_avg']!);
  });
});

/** Files of two policies that differ, but for the name of an adapter's base: each fixture has its own. */
const policyDifferences = (a: Fixture, b: Fixture) =>
  differences(modelFolder(a, 'ppo'), modelFolder(b, 'ppo')).filter((file) => file !== 'adapter_config.json');

describe('a checkpoint', () => {
  it('is of both: one whose critic is damaged is not gone on from', async () => {
    const text = digitsRecipe('ppo', [...SEPARATE, 'max_steps: 6', 'save_steps: 1']);
    const [undisturbed, damaged] = [fixture(), fixture()];
    await runHere(undisturbed, text);
    await runHere(damaged, text, {
      during: (channel) => {
        channel.onMessage = (message) => {
          if (message.type === 'event' && message.key === 'ppo/step/4') channel.stop();
        };
      },
    });
    const dir = join(damaged.home, 'jobs', 'j1', 'work', 'ppo', 'checkpoints');
    const newest = join(dir, readdirSync(dir).sort().at(-1)!, 'snapshot-1.bin');
    const bytes = readFileSync(newest);
    bytes[bytes.length >> 1]! ^= 1;
    writeFileSync(newest, bytes);
    const channel = await runHere(damaged, text);
    expect(channel.warnings().map(({ body }) => body.text)).toEqual([
      expect.stringMatching(/damaged: snapshot-1\.bin does not match its checksum/),
    ]);
    expect(differences(modelFolder(undisturbed, 'ppo'), modelFolder(damaged, 'ppo'))).toEqual([]);
  });
});

describe.each([
  ['in full', [] as string[]],
  ['as adapters over one base', [LORA]],
])('policy, reward model and critic %s', (_, own) => {
  const recipe = (settings: string[]) =>
    digitsRecipe('ppo', [...SEPARATE, ...own, ...settings], 7, rewardStage('sft', own));

  it('end with the same bits after kill -9, and when stopped again and again', async () => {
    const text = recipe([REWARDED, 'gradient_accumulation_steps: 2', 'max_steps: 6', 'save_steps: 1']);
    const [undisturbed, killed, stopped] = [fixture(), fixture(), fixture()];
    const channel = await runHere(undisturbed, text);
    expect(channel.outcome()).toEqual({ outcome: 'succeeded', error: null });
    // Enough calls of the engine to open the models and to draw and measure a rollout, which begins anew otherwise.
    const { attempts } = await runWithStops(stopped, text, 70);
    expect(attempts).toBeGreaterThan(3);
    expect((await runWithKills(killed, text, 4, 2_000, 3)).length).toBeGreaterThan(0);
    for (const other of [stopped, killed]) expect(policyDifferences(undisturbed, other)).toEqual([]);
  }, 240_000);

  it.each([
    ['by its loss', 1e4, ['max_loss_spike: 100'], /^Step \d+: loss .* rows set aside: rollout \d+, sample/],
    // Of the values alone: advantages are whitened, and the policy has made its step by then.
    ['by the gradient of the critic', 1e41, [], /^Step \d+: gradient norm \S+ of the critic\. Back to step/],
  ] as [string, number, string[], RegExp][])(
    'go back together when the guard throws a step away %s',
    async (_, reward, bound, notice) => {
      const run = async (saveSteps: number) => {
        const odd = fixture();
        writeFileSync(
          join(odd.dir, 'odd.mjs'),
          `export default (rs) => rs.map(({ prompt, text, fields }) => (prompt === "38=" ? ${reward} : text === fields.answer ? 1 : 0));`,
        );
        const text = recipe([
          'rewards: [{ type: module, path: odd.mjs }]',
          'num_mini_batches: 2',
          'max_steps: 48',
          `save_steps: ${saveSteps}`,
          ...bound,
        ]);
        const channel = await runHere(odd, text);
        expect(channel.outcome()).toEqual({ outcome: 'succeeded', error: null });
        expect(channel.events('notice').map(({ body }) => body.text)).toContainEqual(
          expect.stringMatching(notice),
        );
        return odd;
      };
      const [often, seldom] = [await run(1), await run(1_000)];
      expect(policyDifferences(often, seldom)).toEqual([]);
    },
    120_000,
  );

  it('pass the self-test', async () => {
    const own = fixture();
    const text = recipe([REWARDED, 'max_steps: 1']);
    await runHere(own, text);
    const channel = await runHere(own, text, { job: 'j2', selftest: ['ppo'] });
    expect(channel.outcome()).toEqual({ outcome: 'succeeded', error: null });
  });
});

describe('where models lie', () => {
  let own: Fixture;
  const text = (settings: string[], reward: string[]) =>
    digitsRecipe('ppo', [...settings, REWARDED, 'max_steps: 2'], 7, rewardStage('sft', reward));
  const plan = async (recipe: string) => {
    const channel = new TestChannel();
    await runPlan(
      { task: 'plan', home: own.home, recipe: recipeSource(own, recipe), check_only: false },
      channel,
    );
    const planned = channel.sent.find((message) => message.type === 'planned');
    if (planned?.type !== 'planned') throw new Error('no plan');
    return planned.plan.stages.find(({ stage }) => stage === 'ppo')!;
  };
  type Planned = CommandReply<'job.plan'>['stages'][number];
  const bytes = ({ detail }: Planned, name: string) => detail[`${name}_bytes`] as number;
  beforeAll(() => {
    own = fixture();
  });

  it('a plan counts reference, reward model and critic, the critic also on disk', async () => {
    const [shared, separate] = [await plan(text(PPO, [])), await plan(text(SEPARATE, []))];
    for (const name of ['reference', 'reward_model']) expect(bytes(shared, name)).toBeGreaterThan(1e5);
    expect(shared.detail).not.toHaveProperty('critic_bytes');
    // Weights, gradients, two moments and a snapshot of these.
    expect(bytes(separate, 'critic')).toBeGreaterThan(2 * bytes(separate, 'weights'));
    const parts = ['reference', 'reward_model', 'critic'].reduce(
      (sum, name) => sum + bytes(separate, name),
      0,
    );
    expect(separate.memory_bytes).toBeGreaterThan(parts + bytes(separate, 'optimizer'));
    expect(separate.disk_bytes).toBeGreaterThan(1.5 * shared.disk_bytes);
    // In forward passes of equal models: three for each time that the policy is trained; it draws and is measured, and
    // so are reference and reward model. A critic is measured and trained as often.
    const trained = 3 * 2;
    const others = 4;
    const ratio = (trained + others + 1 + trained) / (trained + others);
    expect(separate.seconds! / shared.seconds!).toBeCloseTo(ratio, 1);
  });

  it('adapters over one base are held with it, planned and run alike', async () => {
    const recipe = text([...SEPARATE, LORA], [LORA]);
    const before = await plan(recipe);
    expect(before.detail).toMatchObject({ reference_bytes: 0, reward_model_bytes: 0, critic_bytes: 0 });
    const apart = await plan(text([...SEPARATE, LORA], []));
    expect(bytes(apart, 'reward_model')).toBeGreaterThan(bytes(apart, 'weights'));
    expect(bytes(apart, 'critic')).toBeGreaterThan(bytes(apart, 'weights'));
    expect(before.memory_bytes).toBeLessThan(apart.memory_bytes);

    const run = await runHere(own, recipe);
    expect(run.outcome()).toEqual({ outcome: 'succeeded', error: null });
    // What it was planned with when nothing was there is what it is when all is.
    const after = await plan(recipe.replace('max_steps: 2\n', 'max_steps: 3\n'));
    expect(after.memory_bytes).toBe(before.memory_bytes);
    // The same reward model in a session of its own says the same.
    const full = await runHere(own, text(SEPARATE, [LORA]));
    const [held, loaded] = [run, full].map((channel) => stepsOf(channel, 'ppo')[0]!);
    expect(held!.reward).toBeCloseTo(loaded!.reward!, 4);
    expect(held!['loss/value_avg']).toBeCloseTo(loaded!['loss/value_avg']!, 3);
  });

  it.each([
    ['the policy, without a reward model', [LORA], ['rewards: [{ type: exact_match }]']],
    ['the policy by name', [LORA], [REWARDED, 'critic_model: sft']],
    ['a reward model in full, under adapters', [], [REWARDED, LORA]],
    [
      'a base that pissa takes directions out of',
      [LORA],
      [REWARDED, LORA.replace('}', ', init_lora_weights: pissa }')],
    ],
  ])('the critic begins as %s', async (_, reward, settings) => {
    const lora = settings.some((line) => line.startsWith('lora')) ? [] : [LORA];
    const channel = await runHere(
      own,
      digitsRecipe('ppo', [...SEPARATE, ...lora, ...settings, 'max_steps: 2'], 7, rewardStage('sft', reward)),
    );
    expect(channel.outcome()).toEqual({ outcome: 'succeeded', error: null });
    expect(stepsOf(channel, 'ppo').at(-1)!['critic/grad_norm']).toBeGreaterThan(0);
  });

  it.each([
    ['head on its trunk', PPO],
    ['critic of its own', SEPARATE],
  ])('a policy goes on from an adapter, with a %s', async (_, settings) => {
    const tuned = [
      '  tuned:',
      '    type: sft',
      '    model: sft',
      '    dataset: digits.jsonl',
      '    max_steps: 2',
    ];
    const further = [...tuned, '    max_length: 32', `    ${LORA}`];
    const recipe = digitsRecipe('ppo', [...settings, LORA, 'max_steps: 2'], 7, further);
    const channel = await runHere(own, recipe.replace('  ppo:\n    model: sft', '  ppo:\n    model: tuned'));
    expect(channel.outcome()).toEqual({ outcome: 'succeeded', error: null });
    expect(stepsOf(channel, 'ppo')[0]!['objective/kl']).toBeCloseTo(0, 5);
  });
});

describe('is refused', () => {
  const OTHER = [
    '  other_tokenizer: { type: tokenizer, files: [corpus.jsonl], vocab_size: 280 }',
    '  other_data: { type: prepare, tokenizer: other_tokenizer, sources: [{ files: [corpus.jsonl] }] }',
    '  other:',
    '    type: pretrain',
    '    dataset: other_data',
    '    model: { hidden_size: 32, num_hidden_layers: 1, num_attention_heads: 4, max_position_embeddings: 96 }',
    '    max_steps: 1',
    '    too_long: split',
  ];
  it.each([
    ['critic_model without a critic', ['critic_model: sft'], [], 'recipe_invalid', 'critic_model'],
    ['a rate without a critic', ['critic_learning_rate: 1'], [], 'recipe_invalid', 'critic_learning_rate'],
    [
      'a critic that reads other tokens',
      ['critic: separate', 'critic_model: other'],
      OTHER,
      'tokenizer_invalid',
      'critic_model',
    ],
  ] as const)('%s', async (_, settings, further, code, path) => {
    const recipe = digitsRecipe('ppo', [...PPO, ...settings, 'max_steps: 1'], 7, [...further]);
    const { error } = (await runHere(fixture(), recipe)).outcome();
    expect(error).toMatchObject({ code, path: expect.stringContaining(path) });
  });
});
