/** The stages `generate` and `rank` in whole recipes: what they make, that a stop changes nothing, what they refuse. */
import { cpSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { plainRows } from '../../src/data/shapes/read.ts';
import { loadAddon } from '../../src/native/addon.ts';
import { LabelLog, labelFolder } from '../../src/ranking/labels.ts';
import { datasetFileSchema, readResponses } from '../../src/ranking/responses.ts';
import { differences, type Fixture, makeFixture, runHere, type TestChannel } from '../training/fixture.ts';
import { GENERATE, jsonl, MODELS, RANK } from './recipe.ts';

let fixture: Fixture;
let first: TestChannel;
beforeAll(async () => {
  fixture = makeFixture();
  first = await runHere(fixture, MODELS + GENERATE + RANK);
});
afterAll(() => fixture.remove());

const dataset = (stage: string) => join(fixture.home, 'datasets/tiny', stage);
const artifact = (channel: TestChannel, stage: string) =>
  channel.events('stage').find(({ body }) => body.stage === stage && body.artifact !== null)!.body.artifact!;

describe('generate', () => {
  it('makes responses with ids, log-probabilities and where they came from', async () => {
    expect(first.outcome()).toEqual({ outcome: 'succeeded', error: null });
    const rows = await readResponses(plainRows([join(dataset('generate'), 'responses.jsonl')]));
    expect(rows.length).toBe(12);
    for (const { responses, fields, messages, promptIds } of rows) {
      expect(responses.map(({ model }) => model)).toEqual([
        ...Array(6).fill('early'),
        ...Array(6).fill('assistant'),
      ]);
      expect(responses.map(({ temperature }) => temperature).slice(0, 6)).toEqual([1, 1, 1, 0, 0, 0]);
      expect(responses.map(({ sample }) => sample).slice(0, 6)).toEqual([0, 1, 2, 0, 1, 2]);
      // Greedy samples are all the same; others need not be.
      expect(new Set(responses.slice(3, 6).map(({ text }) => text)).size).toBe(1);
      expect(messages!.length).toBe(1);
      expect(promptIds!.length).toBeGreaterThan(0);
      expect(Object.keys(fields)).toEqual(['answer', 'split']);
      for (const { ids, log_probs, finish } of responses) {
        expect(log_probs!.length).toBe(ids!.length);
        expect(log_probs!.every((value) => value <= 0)).toBe(true);
        expect(finish === 'length').toBe(ids!.length === 10 && ids!.at(-1) !== 0);
      }
    }
    expect(
      new Set(rows.flatMap(({ responses }) => responses.slice(0, 3).map(({ text }) => text))).size,
    ).toBeGreaterThan(12);
    const about = datasetFileSchema.parse(
      JSON.parse(readFileSync(join(dataset('generate'), 'dataset.json'), 'utf8')),
    );
    expect(about).toMatchObject({ kind: 'responses', rows: 12 });
    expect(about.chat_template_hash).not.toBeNull();
  });

  it('that is stopped between batches goes on to the same bytes', async () => {
    const other = makeFixture();
    try {
      let stopped = 0;
      let channel: TestChannel;
      do {
        channel = await runHere(other, MODELS + GENERATE + RANK, {
          during: (each) => {
            each.onMessage = (message) => {
              if (message.type !== 'event' || message.kind !== 'progress') return;
              if (message.body.stage === 'generate' || message.body.stage === 'rank') each.stop();
            };
          },
        });
        stopped += channel.outcome().outcome === 'stopped' ? 1 : 0;
      } while (channel.outcome().outcome === 'stopped');
      expect(stopped).toBeGreaterThan(8);
      for (const stage of ['generate', 'rank'])
        expect(differences(dataset(stage), join(other.home, 'datasets/tiny', stage))).toEqual([]);
    } finally {
      other.remove();
    }
  });

  it('leaves out prompts without room, and says so; with none left it is an error', async () => {
    const long = Array(60).fill('Anna lives in Aachen.').join(' ');
    writeFileSync(
      join(fixture.dir, 'mixed.jsonl'),
      `${JSON.stringify({ prompt: long })}\n{"id":"short","prompt":"Who?"}\n`,
    );
    const asked = GENERATE.replace('questions.jsonl', 'mixed.jsonl').replace(
      'generate:',
      'mixed:\n    type: generate',
    );
    const channel = await runHere(fixture, MODELS + asked, { job: 'j2' });
    expect(channel.outcome().error).toBeNull();
    expect(channel.warnings().map(({ body }) => body.text)).toEqual([
      expect.stringMatching(/^1 of 2 prompts left out.*mixed\.jsonl:1/),
    ]);
    expect(jsonl(join(dataset('mixed'), 'responses.jsonl')).map(({ id }) => id)).toEqual(['short']);
    const none = await runHere(fixture, MODELS + asked.replace('max_new_tokens: 10', 'max_new_tokens: 96'), {
      job: 'j3',
    });
    expect(none.outcome().error).toMatchObject({ code: 'data_empty', path: 'stages.mixed.max_new_tokens' });
  });
});

describe('generate under constraints', () => {
  const asked = (more: string) =>
    `${MODELS}${GENERATE.replace('generate:', 'formed:\n    type: generate')}${more}`;

  it('draws responses of the form that is asked for', async () => {
    const forms: [string, string, RegExp][] = [
      ['regex', "    regex: '(yes|no), [A-Z][a-z]{1,3}'\n", /^(yes|no), [A-Z][a-z]{1,3}$/],
      ['json_schema', '    json_schema: { type: boolean }\n', /^(true|false)$/],
    ];
    for (const [job, setting, form] of forms) {
      const channel = await runHere(fixture, asked(setting), { job });
      expect(channel.outcome()).toEqual({ outcome: 'succeeded', error: null });
      const rows = await readResponses(plainRows([join(dataset('formed'), 'responses.jsonl')]));
      const responses = rows.flatMap((row) => row.responses);
      expect(responses.length).toBe(12 * 12);
      for (const { text, finish } of responses) {
        expect(finish).toBe('stop');
        expect(text).toMatch(form);
      }
    }
  });

  it('refuses those that cannot be used', async () => {
    for (const [setting, path, message] of [
      ["    regex: '(?=x)'\n", 'regex', /look/],
      ['    json_schema: { type: tree }\n', 'json_schema', /tree/],
      [
        '    regex: x\n    json_schema: { type: boolean }\n',
        'regex',
        /a regular expression and a JSON Schema/,
      ],
    ] as const) {
      const channel = await runHere(fixture, asked(setting), { job: 'j7' });
      expect(channel.outcome().error).toMatchObject({
        code: 'recipe_invalid',
        path: `stages.formed.${path}`,
        message: expect.stringMatching(message),
      });
    }
  });
});

describe('generate from adapters', () => {
  it('holds their base once, and answers as each does alone', async () => {
    const stage = (name: string, lora: string) =>
      `  ${name}:\n    type: sft\n    model: sft\n    dataset: chats.jsonl\n    max_steps: 10\n    learning_rate: 1e-2\n    lora: ${lora}\n`;
    const loras = `${stage('a', '{ r: 4 }')}${stage('b', '{ r: 2, use_dora: true, target_modules: all-linear }')}`;
    const draw = (models: string) =>
      `  drawn:\n    type: generate\n    models: ${models}\n    dataset: questions.jsonl\n    temperatures: [0]\n    num_generations: 1\n    max_new_tokens: 8\n`;
    const create = vi.spyOn(loadAddon(), 'createSession');
    const responses = async (job: string, models: string) => {
      create.mockClear();
      const channel = await runHere(fixture, MODELS + loras + draw(models), { job });
      expect(channel.outcome()).toEqual({ outcome: 'succeeded', error: null });
      const rows = await readResponses(plainRows([join(dataset('drawn'), 'responses.jsonl')]));
      return rows.flatMap((row) =>
        row.responses.map(({ model, ids, log_probs }) => ({ model, ids, log_probs })),
      );
    };
    // The adapters are trained by the first of these runs.
    const alone = await responses('j8', '{ base: sft }');
    for (const name of ['a', 'b']) alone.push(...(await responses(`j-${name}`, `{ ${name}: ${name} }`)));
    const together = await responses('j9', '{ b: b, base: sft, a: a }');
    expect(create).toHaveBeenCalledTimes(1);
    const key = (response: unknown) => JSON.stringify(response);
    expect(together.map(key).sort()).toEqual(alone.map(key).sort());
    expect(new Set(together.map(({ log_probs }) => key(log_probs))).size).toBe(3 * 12);
    create.mockRestore();
  });
});

describe('rank by programs', () => {
  it('makes scores, rankings and pairs that fit together', () => {
    const rankings = jsonl(join(dataset('rank'), 'rankings.jsonl'));
    const pairs = jsonl(join(dataset('rank'), 'pairs.jsonl'));
    expect(rankings.length).toBe(12);
    for (const row of rankings) {
      const responses = row.responses as { text: string; score: number }[];
      const ranking = row.ranking as number[][];
      expect(ranking.flat().length).toBe(responses.length);
      const answer = (row.fields as { answer: string }).answer;
      for (const { text, score } of responses)
        if (!text.includes(answer)) expect(score).toBeLessThanOrEqual(0.5);
    }
    expect(pairs.length).toBeGreaterThan(20);
    for (const {
      chosen,
      rejected,
      chosen_ids,
      rejected_ids,
      margin,
      prompt_ids,
      messages,
      origin,
    } of pairs) {
      expect(chosen).not.toBe(rejected);
      expect(margin).toBeGreaterThan(0);
      expect([chosen_ids, rejected_ids, prompt_ids, messages].every(Array.isArray)).toBe(true);
      expect(origin).toMatch(/^\d+#\d+>\d+$/);
    }
  });

  it('reports the trained model as the stronger, and how far the programs agree', async () => {
    const [models, agreement] = first.events('report').map(({ body }) => body);
    expect(models!.columns).toContain('bradley_terry');
    const [early, assistant] = models!.rows as [string, ...number[]][];
    expect([early![0], assistant![0]]).toEqual(['early', 'assistant']);
    expect(assistant!.at(-2)).toBeGreaterThan(0);
    expect((assistant![4] as number) + (early![4] as number)).toBeCloseTo(1);
    expect(agreement!.title).toMatch(/agreement/);
    expect(agreement!.rows[0]!.slice(0, 2)).toEqual(['score', 2]);
    const again = await runHere(fixture, MODELS + GENERATE + RANK, { job: 'j4' });
    expect(again.events('report')).toEqual(first.events('report'));
  });

  it('says what a program did wrong, or counts it', async () => {
    writeFileSync(
      join(fixture.dir, 'bad.mjs'),
      'export default (rs) => rs.map((r, i) => (i % 2 ? 1 : NaN));',
    );
    const rank = (more: string) =>
      `${MODELS}${GENERATE}  bad:\n    type: rank\n    dataset: generate\n    labels: programs\n    programs: [{ type: module, path: bad.mjs${more} }]\n`;
    const failed = await runHere(fixture, rank(''), { job: 'j5' });
    expect(failed.outcome().error).toMatchObject({ code: 'reward_invalid', path: 'rewards.module' });
    const skipped = await runHere(fixture, rank(', on_error: skip'), { job: 'j6' });
    expect(skipped.outcome().error).toBeNull();
    expect(skipped.warnings().map(({ body }) => body.text)).toEqual([
      expect.stringMatching(/^72 times: module gave NaN/),
      expect.stringMatching(/^No pairs/),
    ]);
  });

  it('is refused with settings that do not go together', async () => {
    const wrong = MODELS + GENERATE + RANK.replace('labels: programs', 'labels: judge');
    const { error } = (await runHere(fixture, wrong, { job: 'j7' })).outcome();
    expect(error).toMatchObject({ code: 'recipe_invalid' });
  });
});

describe('rank by people', () => {
  const text = `${MODELS}${GENERATE}  people:\n    type: rank\n    dataset: generate\n    labels: people\n    criteria: [fun]\n`;

  it('asks for labels by the command that gives them, and goes on when they are there', async () => {
    const { error } = (await runHere(fixture, text, { job: 'j8' })).outcome();
    expect(error).toMatchObject({
      code: 'labels_missing',
      message: expect.stringContaining('0 of 12 prompts'),
      hint: expect.stringContaining('`anneal rank tiny/generate --criteria fun`'),
    });
    const rows = await readResponses(plainRows([join(dataset('generate'), 'responses.jsonl')]));
    const folder = labelFolder(join(fixture.home, 'labels'), artifact(first, 'generate'));
    const log = await LabelLog.open(folder, 'ida');
    const of = (texts: string[]) => [...new Set(texts)].map((each) => texts.indexOf(each));
    await log.add(
      rows.map(({ id, responses }) => {
        const shown = of(responses.map(({ text: each }) => each));
        return {
          row: id,
          labeller: 'ida',
          criterion: 'fun',
          of: shown,
          ranking: shown.map((i) => [i]),
          time: 1,
        };
      }),
    );
    const done = await runHere(fixture, text, { job: 'j8' });
    expect(done.outcome().error).toBeNull();
    const [ranked] = jsonl(join(dataset('people'), 'rankings.jsonl'));
    expect((ranked!.ranking as number[][])[0]).toContain(0);
    // More labels are another dataset.
    const before = artifact(done, 'people');
    await log.add([
      { row: rows[0]!.id, labeller: 'ida', criterion: 'fun', of: [0, 1], ranking: [[1], [0]], time: 2 },
    ]);
    const later = await runHere(fixture, text, { job: 'j9' });
    expect(artifact(later, 'people')).not.toBe(before);
  });
});

describe('rank by a judge', () => {
  const text = (more = '') =>
    `${MODELS}${GENERATE}  judged:\n    type: rank\n    dataset: generate\n    labels: judge\n    judge: sft\n    rubric: Be brief.\n${more}`;

  it('has a verdict about every pair in both orders, and reports how far the two agree', async () => {
    const wide = text().replaceAll('max_position_embeddings: 96', 'max_position_embeddings: 384');
    const channel = await runHere(fixture, wide, { job: 'j10' });
    expect(channel.outcome().error).toBeNull();
    // What it has not learnt it says by place, which the two orders show: nothing is better than anything.
    expect(channel.warnings().map(({ key }) => key)).toEqual(['judged/no-pairs']);
    const [, agreement] = channel.events('report').map(({ body }) => body);
    const [criterion, labellers, pairs] = agreement!.rows[0]!;
    expect([criterion, labellers]).toEqual(['rubric', 2]);
    expect(pairs).toBeGreaterThan(100);
    for (const { responses, ranking } of jsonl(join(dataset('judged'), 'rankings.jsonl'))) {
      expect((responses as { score: number | null }[]).every(({ score }) => score !== null)).toBe(true);
      expect((ranking as number[][]).flat().length).toBe(12);
    }
    const { results } = JSON.parse(readFileSync(join(dataset('judged'), 'artifact.json'), 'utf8'));
    for (const name of ['judge_consistency', 'judge_prefers_first', 'judge_confidence']) {
      expect(results[name]).toBeGreaterThanOrEqual(0);
      expect(results[name]).toBeLessThanOrEqual(1);
    }
  });

  it('counts the pairs that the judge has no room for', async () => {
    const channel = await runHere(fixture, text('    max_length: 80\n'), { job: 'j14' });
    expect(channel.outcome().error).toBeNull();
    expect(channel.events('notice').map(({ body }) => body.text)).toContainEqual(
      expect.stringMatching(/^\d+ times: the judge met a pair longer than it reads/),
    );
  });

  it('takes no settings of other labels', async () => {
    const { error } = (await runHere(fixture, text('    min_labellers: 2\n'), { job: 'j15' })).outcome();
    expect(error).toMatchObject({
      code: 'recipe_invalid',
      message: expect.stringContaining('does not go with labels: judge'),
    });
  });
});

describe('responses of models with several tokenizers', () => {
  it('have no ids, which would be of one of them only', async () => {
    const other = join(fixture.dir, 'other-model');
    cpSync(join(fixture.home, 'models/tiny/sft'), other, { recursive: true, dereference: true });
    // What is copied is no artifact of the home any more.
    rmSync(join(other, 'artifact.json'));
    const file = join(other, 'tokenizer.json');
    writeFileSync(file, `${readFileSync(file, 'utf8')}\n`);
    const text =
      MODELS +
      GENERATE.replace('{ early: pretrain, assistant: sft }', '{ early: pretrain, assistant: other-model }');
    const channel = await runHere(fixture, text, { job: 'j11' });
    expect(channel.outcome().error).toBeNull();
    const [row] = jsonl(join(dataset('generate'), 'responses.jsonl'));
    expect(row!.prompt_ids).toBeUndefined();
    expect(
      (row!.responses as object[]).some((response) => 'ids' in response || 'log_probs' in response),
    ).toBe(false);
    expect(JSON.parse(readFileSync(join(dataset('generate'), 'dataset.json'), 'utf8')).tokenizer_hash).toBe(
      'mixed',
    );
  });
});
