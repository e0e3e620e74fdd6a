/** What a model says of answers, against the full logits of each prompt and answer alone. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Answered, readAnswers, readingOptions } from '../../src/models/reading.ts';
import { loadAddon, type Session } from '../../src/native/addon.ts';
import { architecture } from '../engine/support.ts';

let session: Session;
beforeAll(async () => {
  session = await loadAddon().createSession(readingOptions({ ...architecture, scoreHead: true }, 1, 64));
  await session.initWeights(5, 0.3);
});
afterAll(() => session.close());

const ids = (length: number, step: number) =>
  Int32Array.from({ length }, (_, i) => (i * step + 3) % architecture.vocabSize);
const PROMPTS = [ids(9, 5), ids(1, 1), ids(14, 7)];
/** Prompts that stand together and apart; answers of one token and of several. */
const ANSWERED: Answered[] = [0, 0, 0, 1, 0, 2, 2, 1].map((p, i) => ({
  prompt: PROMPTS[p]!,
  answer: ids(1 + ((i * 3) % 7), 11 + i),
}));

/** log p(answer | prompt) in float64 over the engine's logits. */
async function statedLogProb({ prompt, answer }: Answered): Promise<number> {
  const tokens = Int32Array.from([...prompt, ...answer]);
  const scored = Int32Array.from(answer, (_, t) => prompt.length - 1 + t);
  const logits = await session.logits({
    tokens,
    cuSeqlens: Int32Array.of(0, tokens.length),
    scored,
    targets: answer,
  });
  const { vocabSize } = architecture;
  return answer.reduce((sum, id, t) => {
    const row = Array.from(logits.subarray(t * vocabSize, (t + 1) * vocabSize));
    const highest = Math.max(...row);
    const logZ = highest + Math.log(row.reduce((all, z) => all + Math.exp(z - highest), 0));
    return sum + row[id]! - logZ;
  }, 0);
}

async function statedValue({ prompt, answer }: Answered): Promise<number> {
  const tokens = Int32Array.from([...prompt, ...answer]);
  const { values } = await session.forward({
    tokens,
    cuSeqlens: Int32Array.of(0, tokens.length),
    scored: Int32Array.of(tokens.length - 1),
    targets: Int32Array.of(0),
    outputs: 'values',
  });
  return values[0]!;
}

describe('readAnswers', () => {
  // All in one batch, some in each, and each alone.
  it.each([2_048, 34, 21])(
    'gives each answer its log-probability, in batches of %i rows',
    async (maxRows) => {
      const read = await readAnswers(session, ANSWERED, { outputs: 'tokens', maxRows });
      for (const [i, answered] of ANSWERED.entries())
        expect(read[i]).toBeCloseTo(await statedLogProb(answered), 4);
    },
  );

  it.each([2_048, 34, 21])('and its value, in batches of %i rows', async (maxRows) => {
    const read = await readAnswers(session, ANSWERED, { outputs: 'values', maxRows });
    for (const [i, answered] of ANSWERED.entries())
      expect(read[i]).toBeCloseTo(await statedValue(answered), 4);
  });

  it('has nothing to say of nothing', async () => {
    expect(await readAnswers(session, [], { outputs: 'tokens', maxRows: 64 })).toEqual(new Float64Array(0));
  });
});
