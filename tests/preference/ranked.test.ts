/** Preference stages on what `generate` and `rank` have made: ids as sampled, or texts encoded anew and told. */
import { cpSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Fixture } from '../training/fixture.ts';
import { runHere, type TestChannel } from '../training/fixture.ts';
import { ASSISTANT, makePreferenceFixture } from './fixture.ts';

const RANKED = `${ASSISTANT}  generate:
    models: { assistant: teacher }
    dataset: questions.jsonl
    num_generations: 4
    max_new_tokens: 10
  rank:
    dataset: generate
    labels: programs
    programs: [{ type: length, target: 5, unit: words }]
`;

let fixture: Fixture;
let ranked: TestChannel;
const stage = (type: string, dataset: string) =>
  `${RANKED}  ${type}:\n    model: sft\n    dataset: ${dataset}\n    max_steps: 3\n    learning_rate: 1e-3\n`;
const notices = (channel: TestChannel) =>
  channel
    .events('notice')
    .map(({ body }) => body.text)
    .join('\n');

beforeAll(async () => {
  fixture = makePreferenceFixture();
  ranked = await runHere(fixture, RANKED);
});
afterAll(() => fixture.remove());

describe('a rank stage', () => {
  it.each(['dpo', 'orpo', 'cpo', 'kto', 'bco', 'reward'])(
    'is the dataset of %s, as sampled',
    async (type) => {
      expect(ranked.outcome()).toEqual({ outcome: 'succeeded', error: null });
      const channel = await runHere(fixture, stage(type, 'rank'));
      expect(channel.outcome()).toEqual({ outcome: 'succeeded', error: null });
      expect(notices(channel)).not.toMatch(/encoded anew/);
      const audit = channel.events('audit').at(-1)!.body;
      expect(audit.stage).toBe(type);
      expect(audit.rows).toBeGreaterThan(4);
    },
  );

  it('of another tokenizer is encoded anew, and that is told', async () => {
    const from = join(fixture.home, 'datasets/tiny/rank');
    const to = join(fixture.dir, 'elsewhere');
    cpSync(from, to, { recursive: true, dereference: true });
    const path = join(to, 'dataset.json');
    const description = JSON.parse(readFileSync(path, 'utf8')) as object;
    writeFileSync(path, JSON.stringify({ ...description, tokenizer_hash: 'another' }));
    const channel = await runHere(fixture, stage('dpo', join(to, 'pairs.jsonl')));
    expect(channel.outcome().error).toBeNull();
    expect(notices(channel)).toMatch(/they are of another tokenizer\); the texts are encoded anew/);
    writeFileSync(path, JSON.stringify(description));
    const same = await runHere(fixture, stage('dpo', join(to, 'pairs.jsonl')));
    expect(notices(same)).not.toMatch(/encoded anew/);
  });
});

describe('a generate stage', () => {
  it('is the dataset of distill', async () => {
    const text = `${stage('distill', 'generate')}    teacher: teacher\n    lmbda: 0\n    loss_top_k: 8\n`;
    const channel = await runHere(fixture, text);
    expect(channel.outcome()).toEqual({ outcome: 'succeeded', error: null });
    expect(notices(channel)).toMatch(/likeliest tokens: 0 rows found, \d+ computed/);
  });
});
