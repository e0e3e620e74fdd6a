/** A trained reward model loads in transformers as a sequence classifier with equal scores, alone and padded. */
import { execFileSync } from 'node:child_process';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { chatPrompt } from '../../src/models/complete.ts';
import { loadModel, openModelFolder } from '../../src/models/load.ts';
import { loadAddon } from '../../src/native/addon.ts';
import { packGroups } from '../../src/preference/batch.ts';
import { loadTokenizer } from '../../src/tokenizer/tokenizer.ts';
import { makePreferenceFixture, preferenceRecipe } from '../preference/fixture.ts';
import { modelFolder, runHere } from '../training/fixture.ts';

const python = process.env.ANNEAL_PEERS_PYTHON;

describe.skipIf(!python)('transformers', () => {
  const fixture = makePreferenceFixture();
  afterAll(fixture.remove);

  it('gives the scores of a reward model that was trained here', async () => {
    const settings = ['dataset: rankings.jsonl', 'max_steps: 8', 'learning_rate: 1e-3'];
    const channel = await runHere(fixture, preferenceRecipe('reward', settings));
    expect(channel.outcome().error).toBeNull();
    const dir = modelFolder(fixture, 'reward');
    const tokenizer = await loadTokenizer(dir);
    const prompt = chatPrompt(tokenizer, [{ role: 'user', content: 'What is Anna of Kiel?' }]);
    const answers = ['Anna is a baker.', 'No.', 'I do not know.'].map((text) =>
      Int32Array.from([...tokenizer.encode(text), tokenizer.eosId!]),
    );
    const rows = { maxTokens: 256, maxSequences: 8, maxScored: 8, generationSlots: 0, generationLength: 0 };
    const session = await loadModel(loadAddon(), await openModelFolder(dir), {
      threads: 2,
      trainable: false,
      recompute: false,
      ...rows,
    });
    // The prompt once for all answers, as in training.
    const { values } = await session.forward(packGroups([{ prompt, answers }], { outputs: 'values' }).batch);
    await session.close();
    const ids = answers.map((answer) => [...prompt, ...answer]);
    const script = join(import.meta.dirname, 'reward_check.py');
    const theirs = JSON.parse(
      execFileSync(python!, [script, dir, JSON.stringify(ids)], { encoding: 'utf8' }),
    ) as { class: string; alone: number[]; together: number[] };
    expect(theirs.class).toBe('LlamaForSequenceClassification');
    expect(new Set(theirs.alone).size).toBe(3);
    values.forEach((value, i) => {
      expect(theirs.alone[i]! - value).toBeCloseTo(0, 5);
      expect(theirs.together[i]! - value).toBeCloseTo(0, 5);
    });
  });
});
