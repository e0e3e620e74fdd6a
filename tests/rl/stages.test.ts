/** The stages of reinforcement learning on real runs: what they make, exact resume, and what they refuse. */
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import { readSafetensorsHeader } from '../../src/models/safetensors.ts';
import { differences, type Fixture, modelFolder, runHere } from '../training/fixture.ts';
import { keptFixtures } from '../training/fixtures.ts';
import { runWithKills } from '../training/kills.ts';
import { digitsFixture, digitsRecipe, mean, stepsOf } from './recipe.ts';

const fixture = keptFixtures(digitsFixture);

const ROOM = [
  'per_device_train_batch_size: 32',
  'gradient_accumulation_steps: 2',
  'lr_scheduler_type: constant',
];
const GRPO = [...ROOM, 'num_generations: 8', 'max_completion_length: 6', 'learning_rate: 2e-3'];
const SETTINGS: Record<string, string[]> = {
  grpo: [...GRPO, 'max_steps: 60'],
  rloo: [
    ...ROOM,
    'num_generations: 4',
    'max_completion_length: 6',
    'learning_rate: 2e-3',
    'max_steps: 60',
    'beta: 0.01',
  ],
  ppo: [
    ...ROOM,
    'response_length: 6',
    'num_generations: 8',
    'num_ppo_epochs: 2',
    'temperature: 1',
    'learning_rate: 2e-3',
    'vf_coef: 0.5',
    'kl_coef: 0.01',
    'max_steps: 60',
  ],
  online_dpo: [...ROOM, 'max_new_tokens: 6', 'temperature: 1', 'learning_rate: 1e-3', 'max_steps: 60'],
};

describe.each(Object.keys(SETTINGS))('%s', (type) => {
  it('makes a better model of a weak one, and tells what TRL tells', async () => {
    const channel = await runHere(fixture(), digitsRecipe(type, SETTINGS[type]!));
    expect(channel.outcome()).toEqual({ outcome: 'succeeded', error: null });
    const steps = stepsOf(channel, type);
    expect(steps).toHaveLength(60);
    const rewards = steps.map(({ reward }) => reward!);
    expect(mean(rewards.slice(0, 5))).toBeLessThan(0.5);
    expect(mean(rewards.slice(-10))).toBeGreaterThan(mean(rewards.slice(0, 5)) + 0.15);
    for (const name of [
      'loss',
      'grad_norm',
      'learning_rate',
      'num_tokens',
      'epoch',
      'reward_std',
      'rewards/exact_match/mean',
      'completions/mean_length',
      'completions/clipped_ratio',
      'sampling/sampling_logp_difference/max',
    ]) {
      expect(steps[0], name).toHaveProperty([name]);
    }
    expect(Math.max(...steps.map((step) => step['sampling/sampling_logp_difference/max']!))).toBeLessThan(
      1e-4,
    );
  });
});

describe('ppo', () => {
  it('tells what its losses are made of, and saves the policy without its value head', async () => {
    const own = fixture();
    const settings = SETTINGS.ppo!.map((line) => (line.startsWith('max_steps') ? 'max_steps: 2' : line));
    const channel = await runHere(own, digitsRecipe('ppo', settings));
    const steps = stepsOf(channel, 'ppo');
    for (const name of [
      'objective/kl',
      'objective/entropy',
      'objective/non_score_reward',
      'objective/rlhf_reward',
      'objective/scores',
      'policy/approxkl_avg',
      'policy/clipfrac_avg',
      'policy/entropy_avg',
      'loss/policy_avg',
      'loss/value_avg',
      'val/clipfrac_avg',
      'val/ratio',
      'val/num_eos_tokens',
      'episode',
    ]) {
      expect(steps[0], name).toHaveProperty([name]);
    }
    // The policy that is trained first is the very one that drew, and the very one it is compared with.
    expect(steps[0]!['policy/approxkl_avg']).toBe(0);
    expect(steps[0]!['objective/kl']).toBeCloseTo(0, 5);
    const tensors = await readSafetensorsHeader(join(modelFolder(own, 'ppo'), 'model.safetensors'));
    expect(tensors.map(({ name }) => name)).not.toContain('score.weight');
  });

  it('holds a target of divergence by its weight', async () => {
    const settings = [...SETTINGS.ppo!.filter((line) => !/^(kl_coef|max_steps)/.test(line)), 'kl_coef: 0.05'];
    const run = async (more: string[]) => {
      const channel = await runHere(fixture(), digitsRecipe('ppo', [...settings, 'max_steps: 20', ...more]));
      return stepsOf(channel, 'ppo').at(-1)!;
    };
    const far = await run(['kl_target: 1e-4', 'kl_horizon: 500']);
    const near = await run(['kl_target: 100', 'kl_horizon: 500']);
    expect(far['objective/kl_coef']).toBeGreaterThan(0.05);
    expect(near['objective/kl_coef']).toBeLessThan(0.05);
  });
});

describe('resume', () => {
  // Two steps a pass, two passes: rollouts are killed while they are drawn, measured, written and trained on.
  const TEXT = digitsRecipe('grpo', [
    ...GRPO,
    'steps_per_generation: 4',
    'num_iterations: 2',
    'beta: 0.02',
    'save_steps: 3',
    'max_steps: 14',
    'dynamic_sampling: true',
  ]);
  let undisturbed: Fixture;
  beforeAll(async () => {
    undisturbed = fixture();
    expect((await runHere(undisturbed, TEXT)).outcome()).toEqual({ outcome: 'succeeded', error: null });
  });
  const expectSame = (other: Fixture) =>
    expect(differences(modelFolder(undisturbed, 'grpo'), modelFolder(other, 'grpo'))).toEqual([]);

  it('gives the same bits after kill -9 at random moments', async () => {
    const other = fixture();
    const hits = await runWithKills(other, TEXT, 6, 2_500, 5);
    expect(hits.length).toBeGreaterThan(0);
    expectSame(other);
  }, 240_000);

  it('gives the same bits when stopped again and again', async () => {
    const other = fixture();
    let attempts = 0;
    for (let outcome = 'paused'; outcome !== 'succeeded'; attempts++) {
      expect(attempts).toBeLessThan(30);
      const channel = await runHere(other, TEXT, {
        during: (started) => {
          let calls = 0;
          let audited = false;
          started.onMessage = (message) => {
            if (message.type === 'event' && message.key === 'grpo/audit') audited = true;
          };
          // Enough for a rollout, which begins anew when it is stopped, and for some of its microbatches.
          started.onCall = () => {
            if (audited) calls += 1;
            if (calls === 45 + ((attempts * 7) % 11)) started.stop();
          };
        },
      });
      ({ outcome } = channel.outcome());
      expect(channel.outcome().error).toBeNull();
    }
    expect(attempts).toBeGreaterThan(2);
    expectSame(other);
  }, 240_000);
});

describe('bad input', () => {
  const failure = async (
    settings: string[],
    files: Record<string, string> = {},
    replace?: [string, string],
  ) => {
    const own = fixture();
    for (const [name, content] of Object.entries(files)) writeFileSync(join(own.dir, name), content);
    let text = digitsRecipe('grpo', [...GRPO, 'max_steps: 2', ...settings]);
    if (replace) text = text.replace(...replace);
    const channel = await runHere(own, text);
    return { channel, error: channel.outcome().error };
  };
  const REWARDS = 'rewards: [{ type: exact_match }]';

  it.each([
    ['throws', 'export default () => { throw new Error("no luck"); };', /no luck/],
    ['gives NaN', 'export default (rs) => rs.map(() => NaN);', /NaN/],
    ['gives too few', 'export default () => [1];', /./],
    ['hangs', 'export default () => { for (;;); };', /0\.5 s/],
  ])('a reward module that %s', async (_, code, message) => {
    const { error } = await failure([], { 'mine.mjs': code }, [
      REWARDS,
      'rewards: [{ type: module, path: mine.mjs, name: mine, timeout_seconds: 0.5 }]',
    ]);
    expect(error).toMatchObject({ code: 'reward_invalid', message: expect.stringMatching(message) });
    expect(error!.message).toContain('mine');
  });

  it('prompts that leave no room are counted; none left is an error', async () => {
    const asked = [
      { prompt: '12=', answer: '2' },
      { prompt: '1234567890123456789012345678901234567890=', answer: '2' },
    ];
    const rows = (all: unknown[]) => `${all.map((row) => JSON.stringify(row)).join('\n')}\n`;
    const some = await failure([], { 'asked.jsonl': rows(asked) });
    expect(some.error).toBeNull();
    expect(some.channel.events('notice').map(({ body }) => body.text)).toContainEqual(
      expect.stringMatching(/^1 of 2 prompts are left out.*asked\.jsonl:2/),
    );
    const none = await failure([], { 'asked.jsonl': rows(asked.slice(1)) });
    expect(none.error).toMatchObject({ code: 'data_row_too_long' });
  });

  it.each([
    ['no reward', [], [REWARDS, ''], 'rewards'],
    ['a rollout that is not of whole groups', ['num_generations: 7'], undefined, 'num_generations'],
    [
      'two sizes of a rollout',
      ['generation_batch_size: 64', 'steps_per_generation: 2'],
      undefined,
      'steps_per_generation',
    ],
    ['a delta within the clipping', ['delta: 1.1'], undefined, 'delta'],
    ['an unknown loss', ['loss_type: drgrpo'], undefined, 'loss_type'],
  ] as [string, string[], [string, string] | undefined, string][])(
    '%s',
    async (_, settings, replace, path) => {
      const own = fixture();
      let text = digitsRecipe(
        'grpo',
        ['per_device_train_batch_size: 32', 'num_generations: 8', ...settings].filter(
          (line, i, all) => all.findLastIndex((other) => other.split(':')[0] === line.split(':')[0]) === i,
        ),
      );
      if (replace) text = text.replace(...replace);
      const { error } = (await runHere(own, text)).outcome();
      expect(error).toMatchObject({ code: 'recipe_invalid', path: expect.stringContaining(path) });
    },
  );

  it('a loss of the recipe is used, and named when it fails', async () => {
    const mine = `export default ({ logProbs, oldLogProbs, advantages }) => ({
      losses: logProbs.map((l, t) => -Math.exp(l - oldLogProbs[t]) * advantages[t]),
      gradient: logProbs.map((l, t) => -Math.exp(l - oldLogProbs[t]) * advantages[t]),
    });`;
    const run = await failure(['loss_type: mine.mjs'], { 'mine.mjs': mine });
    expect(run.error).toBeNull();
    const plain = await failure(['loss_type: bnpo', 'epsilon: 1e9']);
    const [own, built] = [run, plain].map(({ channel }) => stepsOf(channel, 'grpo').at(-1)!);
    expect(own!.grad_norm).toBeCloseTo(built!.grad_norm!, 5);
    const bad = await failure(['loss_type: mine.mjs'], { 'mine.mjs': mine.replace('losses:', 'loss:') });
    expect(bad.error).toMatchObject({
      code: 'objective_invalid',
      message: expect.stringContaining('losses'),
    });
  });
});

describe('the artifact', () => {
  it('has its samples by number in the ledger, and the rollouts go with the work folder', async () => {
    const own = fixture();
    await runHere(own, digitsRecipe('grpo', [...GRPO, 'max_steps: 2']));
    const ledger = readFileSync(join(modelFolder(own, 'grpo'), 'ledger.jsonl'), 'utf8')
      .trim()
      .split('\n');
    const steps = ledger.map((line) => JSON.parse(line) as { step: number; rows: number[][] });
    expect(steps.map(({ rows }) => [...rows.flat()].sort((a, b) => a - b))).toEqual([
      Array.from({ length: 64 }, (_, i) => i),
      Array.from({ length: 64 }, (_, i) => 64 + i),
    ]);
  });
});
