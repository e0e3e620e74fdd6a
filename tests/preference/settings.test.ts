/** Settings of preference stages that contradict each other are errors of the recipe. */
import { describe, expect, it } from 'vitest';
import { dpoStage } from '../../src/stages/dpo.ts';
import { ktoStage } from '../../src/stages/kto.ts';

const ROWS = { model: 'sft', dataset: 'rows.jsonl' };

describe.each([dpoStage, ktoStage])('$type', ({ schema }) => {
  it.each([
    [{ precompute_ref_log_probs: true }, /precompute_ref_log_probs keeps/],
    [{ lora: { r: 4 } }, /frozen base itself/],
  ])('does not move a reference with %j', (settings, message) => {
    const { error } = schema.safeParse({ ...ROWS, ...settings, sync_ref_model: true });
    expect(error!.issues).toEqual([
      expect.objectContaining({ path: ['sync_ref_model'], message: expect.stringMatching(message) }),
    ]);
    expect(schema.safeParse({ ...ROWS, ...settings }).success).toBe(true);
  });
});

describe('use_weighting', () => {
  it.each(['aot', 'aot_unpaired'])('is not for %s, whose losses are of no one pair', (loss_type) => {
    const { error } = dpoStage.schema.safeParse({ ...ROWS, loss_type, use_weighting: true });
    expect(error!.issues).toEqual([
      expect.objectContaining({ path: ['use_weighting'], message: expect.stringContaining(loss_type) }),
    ]);
  });
});
