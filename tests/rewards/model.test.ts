/** A reward model as a scorer, against the engine asked for each response alone. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { loadAddon, type Session } from '../../src/native/addon.ts';
import { modelScorer } from '../../src/rewards/model.ts';
import type { Response } from '../../src/rewards/scorer.ts';
import { encodeChat } from '../../src/tokenizer/chat.ts';
import type { Tokenizer } from '../../src/tokenizer/tokenizer.ts';
import { architecture } from '../engine/support.ts';
import { trainTokenizer } from '../tokenizer/fixture.ts';

const root = mkdtempSync(join(tmpdir(), 'anneal-reward-model-'));
let tokenizer: Tokenizer;
let session: Session;
/** Batches of two responses or so. */
const ROOM = { maxRows: 40, maxLength: 40 };

beforeAll(async () => {
  tokenizer = await trainTokenizer(root, 'gpt2', { merges: 60 });
  session = await loadAddon().createSession({
    architecture: { ...architecture, vocabSize: tokenizer.vocabSize, scoreHead: true, maxPositions: 96 },
    threads: 1,
    trainable: false,
    maxTokens: ROOM.maxRows,
    maxSequences: ROOM.maxRows,
    maxScored: ROOM.maxRows,
    recompute: false,
    generationSlots: 0,
    generationLength: 0,
  });
  await session.initWeights(3, 0.3);
});
afterAll(async () => {
  await session.close();
  rmSync(root, { recursive: true, force: true });
});

function response(prompt: string, text: string): Response {
  const promptIds = tokenizer.encode(prompt);
  const ids = Int32Array.from([...tokenizer.encode(text), tokenizer.eosId!]);
  return { prompt, messages: undefined, promptIds, text, ids, finish: 'stop', fields: {} };
}

/** The head's value at the last of the ids. */
async function headValue(ids: Int32Array): Promise<number> {
  const { values } = await session.forward({
    tokens: ids,
    cuSeqlens: Int32Array.of(0, ids.length),
    scored: Int32Array.of(ids.length - 1),
    targets: Int32Array.of(0),
    outputs: 'values',
  });
  return values[0]!;
}

const joined = ({ promptIds, ids }: Response) => Int32Array.from([...promptIds, ...ids]);

describe('modelScorer', () => {
  it('gives each response its value, whatever shares its batch or its prompt', async () => {
    const responses = ['Who?', 'Who?', 'Where is it?', 'Who?', 'Where is it?'].flatMap((prompt, i) =>
      ['yes', 'no, never', ''].map((text) => response(prompt, `${text}${i}`)),
    );
    const scores = await modelScorer({ session, tokenizer, ...ROOM }, tokenizer.hash).score(responses);
    expect(new Set(scores).size).toBe(scores.length);
    for (const [i, score] of scores.entries())
      expect(score).toBeCloseTo(await headValue(joined(responses[i]!)), 4);
  });

  it('takes what was sampled as the very ids, and what another tokenizer drew as text', async () => {
    const sampled = { ...response('Who?', 'Anna'), ids: Int32Array.of(5, 9, 5), finish: 'length' as const };
    const [own] = await modelScorer({ session, tokenizer, ...ROOM }, tokenizer.hash).score([sampled]);
    expect(own).toBeCloseTo(await headValue(joined(sampled)), 4);
    const foreign = { ...sampled, promptIds: Int32Array.of(999_999), ids: Int32Array.of(999_999) };
    for (const hash of ['another', undefined]) {
      const [anew] = await modelScorer({ session, tokenizer, ...ROOM }, hash).score([foreign]);
      expect(anew).toBeCloseTo(await headValue(joined(response('Who?', 'Anna'))), 4);
    }
  });

  it('renders a conversation by its own template, up to the token that closes the answer', async () => {
    const messages = [{ role: 'user', content: 'Who?' }];
    const [score] = await modelScorer({ session, tokenizer, ...ROOM }, undefined).score([
      { ...response('Who?', 'Anna'), messages },
    ]);
    const { ids, scored } = encodeChat(tokenizer, [...messages, { role: 'assistant', content: 'Anna' }]);
    expect(score).toBeCloseTo(await headValue(ids.subarray(0, scored.lastIndexOf(1) + 1)), 4);
  });

  it('counts what it cannot read', async () => {
    const scorer = modelScorer({ session, tokenizer, ...ROOM }, undefined);
    const long = response('Who?', 'far too long '.repeat(60));
    const scores = await scorer.score([long, response('Who?', 'Anna')]);
    expect(scores.map((score) => score === null)).toEqual([true, false]);
    expect([...scorer.skipped!.values()]).toEqual([1]);
    expect(await scorer.score([])).toEqual([]);
  });
});
