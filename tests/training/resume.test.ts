/** Exact resume: a run that was stopped or killed anywhere ends with the bits of one that was not. */
import { beforeAll, describe, expect, it } from 'vitest';
import { differences, type Fixture, makeFixture, modelFolder, recipeText, runHere } from './fixture.ts';
import { keptFixtures } from './fixtures.ts';
import { runWithKills, runWithStops } from './kills.ts';

const TEXT = recipeText({
  pretrain: [
    'max_steps: 10',
    'save_steps: 3',
    'eval_steps: 4',
    'sample_steps: 5',
    'sample_prompts: [Anna lives]',
    'sample_max_new_tokens: 8',
  ],
  sft: ['max_steps: 6', 'per_device_train_batch_size: 4', 'gradient_accumulation_steps: 2', 'save_steps: 2'],
});

describe('resume', () => {
  let undisturbed: Fixture;
  const fixture = keptFixtures(makeFixture);

  beforeAll(async () => {
    undisturbed = fixture();
    expect((await runHere(undisturbed, TEXT)).outcome()).toEqual({ outcome: 'succeeded', error: null });
  });

  const expectSameModels = (other: Fixture) => {
    for (const stage of ['pretrain', 'sft']) {
      // Rows are named by path, which differs from fixture to fixture.
      const differing = differences(modelFolder(undisturbed, stage), modelFolder(other, stage));
      expect(differing.filter((name) => name !== 'rows.txt')).toEqual([]);
    }
  };

  it('gives the same bits when nothing happens', async () => {
    const other = fixture();
    await runHere(other, TEXT);
    expectSameModels(other);
  });

  it('gives the same bits when stopped at every microstep', async () => {
    const other = fixture();
    const { attempts, keys } = await runWithStops(other, TEXT);
    // 10 steps of 3 microbatches and 6 of 2, most of them one an attempt.
    expect(attempts).toBeGreaterThan(20);
    expect([...keys].filter((key) => key.startsWith('pretrain/step/'))).toHaveLength(10);
    expectSameModels(other);
  });

  it('gives the same bits after kill -9 at random moments', async () => {
    const other = fixture();
    const hits = await runWithKills(other, TEXT, 8, 600, 11);
    expect(hits.length).toBeGreaterThan(0);
    expectSameModels(other);
  });
});
