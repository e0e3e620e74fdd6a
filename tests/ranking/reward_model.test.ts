/** Reward models as labellers: how they rank, and what of them is refused, told or counted. */
import { cpSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Fixture, makeFixture, modelFolder, runHere } from '../training/fixture.ts';
import { GENERATE, jsonl, MODELS, RANK } from './recipe.ts';

const REWARD = `  reward:
    model: sft
    dataset: rank
    max_steps: 30
    learning_rate: 5e-3
`;
const scoredBy = (model: string, more = '') =>
  `${MODELS}${GENERATE}${RANK}${REWARD}  scored:
    type: rank
    dataset: generate
    labels: reward_model
    reward_model: ${model}
${more}`;

let fixture: Fixture;
beforeAll(async () => {
  fixture = makeFixture();
  const channel = await runHere(fixture, scoredBy('reward'));
  expect(channel.outcome().error).toBeNull();
});
afterAll(() => fixture.remove());

/** The scores of the responses to each prompt. */
const scores = (stage: string) =>
  jsonl(join(fixture.home, 'datasets/tiny', stage, 'rankings.jsonl')).map(({ responses }) =>
    (responses as { score: number | null }[]).map(({ score }) => score),
  );

/** A copy of a model as a folder from elsewhere, with another tokenizer.json. */
function copyOf(stage: string, name: string, tokenizer: (text: string) => string): void {
  const folder = join(fixture.dir, name);
  cpSync(modelFolder(fixture, stage), folder, { recursive: true, dereference: true });
  rmSync(join(folder, 'artifact.json'));
  const file = join(folder, 'tokenizer.json');
  writeFileSync(file, tokenizer(readFileSync(file, 'utf8')));
}

describe('rank by a reward model', () => {
  it('ranks by the score of what was trained on pairs', () => {
    const [programs, model] = [scores('rank'), scores('scored')];
    let agreed = 0;
    let pairs = 0;
    programs.forEach((of, row) => {
      of.forEach((a, i) => {
        of.forEach((b, j) => {
          if (a! <= b!) return;
          pairs += 1;
          if (model[row]![i]! > model[row]![j]!) agreed += 1;
        });
      });
    });
    expect(agreed / pairs).toBeGreaterThan(0.75);
  });

  it('gives one with another tokenizer the texts, encoded anew, and says so', async () => {
    const own = scores('scored');
    // The same tokens by another file: as texts the responses read the same.
    copyOf('reward', 'other', (text) => `${text}\n`);
    const channel = await runHere(fixture, scoredBy('other'), { job: 'j2' });
    expect(channel.outcome().error).toBeNull();
    expect(channel.warnings().map(({ key }) => key)).toEqual(['scored/reward_model/tokenizer']);
    const { responses } = jsonl(join(fixture.home, 'datasets/tiny/scored/rankings.jsonl'))[0]!;
    const whole = (responses as { finish: string }[]).map(({ finish }) => finish === 'stop');
    // Those that were cut had no closing token; as texts they are closed.
    scores('scored')[0]!.forEach((score, i) => {
      if (whole[i]) expect(score).toBeCloseTo(own[0]![i]!, 4);
    });
  });

  it('counts responses that are longer than it reads', async () => {
    const channel = await runHere(fixture, scoredBy('reward', '    max_length: 20\n'), { job: 'j3' });
    expect(channel.outcome().error).toBeNull();
    expect(channel.events('notice').map(({ body }) => body.text)).toContainEqual(
      expect.stringMatching(/^\d+ times: reward_model met a prompt and response longer than it reads/),
    );
  });

  it.each([
    ['without a head', 'sft', (text: string) => text, /no scalar head/],
    [
      'with a tokenizer of more tokens than it knows',
      'reward',
      (text: string) => {
        const tokenizer = JSON.parse(text) as { added_tokens: { id: number; content: string }[] };
        const last = tokenizer.added_tokens.at(-1)!;
        tokenizer.added_tokens.push({ ...last, id: 5_000, content: '<further>' });
        return JSON.stringify(tokenizer);
      },
      /its tokenizer has 5001 tokens, but the model knows/,
    ],
  ])('refuses one %s', async (_, stage, tokenizer, message) => {
    copyOf(stage, 'refused', tokenizer);
    const { error } = (await runHere(fixture, scoredBy('refused'), { job: 'j4' })).outcome();
    expect(error).toMatchObject({
      code: 'model_invalid',
      path: 'stages.scored.reward_model',
      message: expect.stringMatching(message),
    });
    rmSync(join(fixture.dir, 'refused'), { recursive: true });
  });

  it('refuses one that memory is too small for, before its weights are read', async () => {
    copyOf('reward', 'large', (text) => text);
    const file = join(fixture.dir, 'large', 'config.json');
    const config = JSON.parse(readFileSync(file, 'utf8')) as Record<string, unknown>;
    writeFileSync(file, JSON.stringify({ ...config, intermediate_size: 16_000_000 }));
    const { error } = (await runHere(fixture, scoredBy('large'), { job: 'j5' })).outcome();
    expect(error).toMatchObject({
      code: 'out_of_memory',
      message: expect.stringContaining('The reward model of scored'),
    });
  });
});
