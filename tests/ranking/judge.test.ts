/** A judge: its verdicts against the engine asked for each reply alone, and one that has learnt to judge. */
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { loadAddon, type Session } from '../../src/native/addon.ts';
import { type Judge, judgeLabels, question, verdictOf } from '../../src/ranking/judge.ts';
import type { ResponseRow } from '../../src/ranking/responses.ts';
import { encodeChat } from '../../src/tokenizer/chat.ts';
import { loadTokenizer, saveTokenizer, type Tokenizer } from '../../src/tokenizer/tokenizer.ts';
import { architecture } from '../engine/support.ts';
import { trainTokenizer } from '../tokenizer/fixture.ts';
import { makeFixture, runHere } from '../training/fixture.ts';

const root = mkdtempSync(join(tmpdir(), 'anneal-judge-'));
const ROWS = 512;
let tokenizer: Tokenizer;
let session: Session;
beforeAll(async () => {
  tokenizer = await trainTokenizer(root, 'gpt2', { merges: 60 });
  session = await loadAddon().createSession({
    architecture: { ...architecture, vocabSize: tokenizer.vocabSize, maxPositions: ROWS },
    threads: 1,
    trainable: false,
    maxTokens: ROWS,
    maxSequences: ROWS,
    maxScored: ROWS,
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

let logs = 0;
const row = (id: string, texts: string[]): ResponseRow => ({
  id,
  prompt: `Who is ${id}?`,
  messages: undefined,
  promptIds: undefined,
  fields: {},
  responses: texts.map((text) => ({ text })),
  origin: id,
});
const options = (changes: Partial<Judge> = {}) => ({
  model: { session, tokenizer, chat: true, maxRows: ROWS, maxLength: ROWS, ...changes },
  rubric: 'Be brief.',
  batch: 2,
  log: join(root, `${logs++}.jsonl`),
  between: () => {},
});

/** log p of the last `answer` of the ids, one token after the other. */
async function logProbOf(ids: Int32Array, answer: number): Promise<number> {
  const scored = Int32Array.from({ length: answer }, (_, t) => ids.length - answer - 1 + t);
  const { logProbs } = await session.forward({
    tokens: ids,
    cuSeqlens: Int32Array.of(0, ids.length),
    scored,
    targets: Int32Array.from(scored, (at) => ids[at + 1]!),
  });
  return logProbs.reduce((sum, logProb) => sum + logProb, 0);
}

/** The probabilities of the replies A, B and tie, by the engine asked for each alone. */
async function replyShares(of: ResponseRow, first: string, second: string, chat: boolean) {
  const text = question('Be brief.', of, first, second);
  const logProbs: number[] = [];
  for (const reply of ['A', 'B', 'tie']) {
    if (chat) {
      const messages = [
        { role: 'user', content: text },
        { role: 'assistant', content: reply },
      ];
      const { ids, scored } = encodeChat(tokenizer, messages);
      const [from, to] = [scored.indexOf(1), scored.lastIndexOf(1) + 1];
      logProbs.push(await logProbOf(ids.subarray(0, to), to - from));
    } else {
      const answer = [...tokenizer.encode(` ${reply}`), tokenizer.eosId!];
      const ids = Int32Array.from([...tokenizer.encode(`${text}\n\nVerdict:`), ...answer]);
      logProbs.push(await logProbOf(ids, answer.length));
    }
  }
  const all = logProbs.reduce((sum, logProb) => sum + Math.exp(logProb), 0);
  return logProbs.map((logProb) => Math.exp(logProb) / all);
}

/** The tokenizer with another chat template. */
async function withTemplate(name: string, chat_template: string): Promise<Tokenizer> {
  const dir = join(root, name);
  mkdirSync(dir);
  const config = JSON.parse(tokenizer.files.get('tokenizer_config.json')!) as object;
  const files = new Map(tokenizer.files).set(
    'tokenizer_config.json',
    JSON.stringify({ ...config, chat_template }),
  );
  await saveTokenizer({ files }, dir);
  return loadTokenizer(dir);
}

describe('verdictOf', () => {
  it.each([
    [[Math.log(0.5), Math.log(0.3), Math.log(0.2)], 'first', 0.5],
    [[-1000, -999, -2000], 'second', 1 / (1 + Math.exp(-1))],
    [[Number.NEGATIVE_INFINITY, -3, -2], 'tie', 1 / (1 + Math.exp(-1))],
  ])('of %j is %s', (logProbs, better, confidence) => {
    const verdict = verdictOf(logProbs);
    expect(verdict.better).toBe(better);
    expect(verdict.confidence).toBeCloseTo(confidence, 12);
  });
});

describe('judgeLabels', () => {
  it('gives the template of the judge its variables', async () => {
    const { chatTemplate } = tokenizer;
    const named = await withTemplate('named', `{% if note %}{{ note }}{% endif %}${chatTemplate}`);
    const written = await withTemplate('written', `Be fair.${chatTemplate}`);
    /** Verdicts with their confidence, as the log has them. */
    const verdicts = async (changes: Partial<Judge>) => {
      const asked = options(changes);
      await judgeLabels([row('Anna', ['Anna is here.', 'It is Anna, I think.'])], asked);
      return readFileSync(asked.log, 'utf8');
    };
    const given = await verdicts({ tokenizer: named, templateKwargs: { note: 'Be fair.' } });
    expect(given).toContain('confidence');
    expect(given).toBe(await verdicts({ tokenizer: written }));
    expect(given).not.toBe(await verdicts({ tokenizer: named }));
  });

  it.each([true, false])('gives the likeliest reply in each order (chat: %s)', async (chat) => {
    const rows = ['Anna', 'Ben', 'Clara', 'David', 'Emma'].map((name) =>
      row(name, [`${name} is here.`, `It is ${name}, I think.`]),
    );
    const judged = await judgeLabels(rows, options({ chat }));
    let decided = 0;
    for (const [i, each] of rows.entries()) {
      const [a, b] = each.responses.map(({ text }) => text) as [string, string];
      const forward = await replyShares(each, a, b, chat);
      const reverse = await replyShares(each, b, a, chat);
      const highest = (shares: number[]) => shares.indexOf(Math.max(...shares));
      // Of the reply in reverse, A is for the second response.
      const one = highest(forward);
      const other = [1, 0, 2][highest(reverse)]!;
      const share = (Math.max(...forward) + Math.max(...reverse)) / 2;
      const expected = one !== other || one === 2 ? [0.5, 0.5] : [(1 + share) / 2, (1 - share) / 2];
      if (one === 1 && other === 1) expected.reverse();
      decided += expected[0] === 0.5 ? 0 : 1;
      expect(judged.rows[i]!.scores[0]).toBeCloseTo(expected[0]!, 4);
      expect(judged.rows[i]!.scores[1]).toBeCloseTo(expected[1]!, 4);
      const ranking = (winner: number) => [[[0], [1]], [[1], [0]], [[0, 1]]][winner];
      expect(judged.rows[i]!.voices.map((voice) => voice.ranking)).toEqual([ranking(one), ranking(other)]);
    }
    expect(judged.skipped.size).toBe(0);
    expect(judged.results!.judge_consistency).toBeGreaterThanOrEqual(decided / rows.length);
  });

  it('asks about different texts only, and counts pairs that are longer than it reads', async () => {
    const long = 'far too long '.repeat(60);
    const rows = [row('Anna', ['yes', 'yes', 'no']), row('Ben', ['yes', long]), row('Emma', ['yes'])];
    const { rows: labels, skipped } = await judgeLabels(rows, options());
    expect(labels[0]!.voices.length).toBe(2);
    expect(labels[0]!.scores[0]).toBe(labels[0]!.scores[1]);
    expect(labels.slice(1).map(({ scores }) => scores)).toEqual([[null, null], [null]]);
    expect([...skipped]).toEqual([['the judge met a pair longer than it reads', 1]]);
  });

  it('goes on behind the last finished batch', async () => {
    const rows = ['Anna', 'Ben', 'Clara', 'David', 'Emma'].map((name) => row(name, [`${name}`, 'Nobody.']));
    const whole = await judgeLabels(rows, options());
    const cut = options();
    const stopped = judgeLabels(rows, {
      ...cut,
      between: (done) => {
        if (done === 2) throw new Error('stopped');
      },
    });
    await expect(stopped).rejects.toThrow('stopped');
    const seen: number[] = [];
    expect(await judgeLabels(rows, { ...cut, between: (done) => seen.push(done) })).toEqual(whole);
    expect(seen).toEqual([4, 5]);
  });
});

describe('a judge that has learnt to judge', () => {
  const NAMES = ['Anna', 'Ben', 'Clara', 'David', 'Emma', 'Felix', 'Greta', 'Hugo', 'Ida', 'Jonas'];
  const TOWNS = ['Aachen', 'Bremen', 'Celle', 'Dresden', 'Essen', 'Fulda'];
  const [BETTER, WORSE] = ['Yes.', 'No.'];
  const RUBRIC = 'Yes is better than no.';
  const RECIPE = `name: tiny
seed: 7
threads: 2
stages:
  tokenizer:
    files: [questions.jsonl]
    vocab_size: 600
  prepare:
    sources: [{ files: [questions.jsonl] }]
  pretrain:
    dataset: prepare
    model:
      hidden_size: 64
      num_hidden_layers: 2
      num_attention_heads: 4
      max_position_embeddings: 128
    max_steps: 2
    per_device_train_batch_size: 2
  sft:
    model: pretrain
    dataset: verdicts.jsonl
    per_device_train_batch_size: 16
    packing: false
    optim: muon
    learning_rate: 1e-2
    lr_scheduler_type: constant
    max_steps: 350
  rank:
    dataset: answers.jsonl
    labels: judge
    judge: sft
    rubric: ${RUBRIC}
`;

  it('ranks by what it has learnt, alike in both orders, and says how sure it is', async () => {
    const fixture = makeFixture();
    try {
      const lines = (rows: unknown[]) => `${rows.map((each) => JSON.stringify(each)).join('\n')}\n`;
      const asked = NAMES.flatMap((name) => TOWNS.map((town) => `What is ${name} of ${town}?`));
      const verdicts = asked.slice(12).flatMap((prompt) =>
        (
          [
            [BETTER, WORSE, 'A'],
            [WORSE, BETTER, 'B'],
          ] as const
        ).map(([first, second, reply]) => ({
          messages: [
            { role: 'user', content: question(RUBRIC, { ...row('', []), prompt }, first, second) },
            { role: 'assistant', content: reply },
          ],
        })),
      );
      writeFileSync(join(fixture.dir, 'verdicts.jsonl'), lines(verdicts));
      const texts = verdicts.map(({ messages }) => ({
        text: messages.map(({ content }) => content).join('\n'),
      }));
      writeFileSync(join(fixture.dir, 'questions.jsonl'), lines(texts));
      // The better one first and second in turn.
      const unseen = asked.slice(0, 12).map((prompt, i) => ({
        prompt,
        responses: i % 2 === 0 ? [BETTER, WORSE] : [WORSE, BETTER],
      }));
      writeFileSync(join(fixture.dir, 'answers.jsonl'), lines(unseen));
      const channel = await runHere(fixture, RECIPE);
      expect(channel.outcome().error).toBeNull();
      const folder = join(fixture.home, 'datasets/tiny/rank');
      const rankings = readFileSync(join(folder, 'rankings.jsonl'), 'utf8').trim().split('\n');
      const right = rankings.map((line, i) => {
        const [best] = (JSON.parse(line) as { ranking: number[][] }).ranking[0]!;
        return i % 2 === best;
      });
      const { results } = JSON.parse(readFileSync(join(folder, 'artifact.json'), 'utf8'));
      const [, agreement] = channel.events('report').map(({ body }) => body);
      expect(right.filter(Boolean).length).toBeGreaterThan(9);
      expect(results.judge_consistency).toBeGreaterThan(0.8);
      expect(results.judge_confidence).toBeGreaterThan(0.6);
      expect(agreement!.rows[0]!.slice(0, 3)).toEqual(['rubric', 2, 12]);
      expect(agreement!.rows[0]![3]).toBeGreaterThan(0.6);
    } finally {
      fixture.remove();
    }
  });
});
