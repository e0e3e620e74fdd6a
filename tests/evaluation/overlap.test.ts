/** Scores and what the training data of the models has of the rows: whole recipes, their reports worked by hand. */
import { cpSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { ReportOverlap } from '../../proto/events.ts';
import { renderBlock } from '../../src/cli/view/blocks.ts';
import {
  type Fixture,
  makeFixture,
  modelFolder,
  recipeText,
  runHere,
  type TestChannel,
} from '../training/fixture.ts';

/** Two rows that the corpus has word by word, and two that it has not. */
const ROWS = [
  { prompt: 'Who is a baker in Aachen?', answer: 'It is Anna.' },
  { prompt: 'Who has been seen in the old town of Bamberg?', answer: 'Nobody' },
  { prompt: 'Ben lives in Aachen.', answer: 'Ben of Aachen is a tailor.' },
  { prompt: 'How many legs does a spider have in all?', answer: 'Eight' },
];
const CLEAN = [1, 3];
const MODELS = recipeText({ pretrain: ['max_steps: 30'], sft: ['max_steps: 20', 'learning_rate: 5e-3'] });
const decontaminated = (action: string, file = 'quiz.jsonl') =>
  MODELS.replace(
    '    validation_fraction: 0.1\n',
    (line) => `${line}    decontamination: { sets: [{ name: quiz, files: [${file}] }], action: ${action} }\n`,
  );
const evaluate = (file: string, models = '{ base: pretrain, assistant: sft }', more = '') =>
  `  evaluate: { models: ${models}, dataset: ${file}, max_new_tokens: 12, rates: { a: a, e: e }${more} }\n`;

let fixture: Fixture;
beforeAll(() => {
  fixture = makeFixture();
  const write = (name: string, rows: object[]) =>
    writeFileSync(join(fixture.dir, name), rows.map((row) => `${JSON.stringify(row)}\n`).join(''));
  write('quiz.jsonl', ROWS);
  write(
    'clean.jsonl',
    CLEAN.map((i) => ROWS[i]!),
  );
  write('more.jsonl', [...ROWS, { prompt: 'What is the capital of Peru?', answer: 'Lima' }]);
  write(
    'texts.jsonl',
    ROWS.map(({ prompt, answer }) => ({ text: `${prompt}\n${answer}` })),
  );
});
afterAll(() => fixture.remove());

async function run(text: string, job: string): Promise<TestChannel> {
  const channel = await runHere(fixture, text, { job });
  expect(channel.outcome().error).toBeNull();
  return channel;
}
const report = (channel: TestChannel, stage = 'evaluate') =>
  channel.events('report').findLast(({ body }) => body.stage === stage)!.body;
const texts = ({ models }: ReportOverlap) => models.map(({ model, text }) => [model, text]);
const artifact = (channel: TestChannel, stage: string) =>
  channel.events('stage').find(({ body }) => body.stage === stage && body.artifact)!.body.artifact!;
const folder = (channel: TestChannel, stage: string) =>
  join(fixture.home, 'artifacts', artifact(channel, stage));
const share = (of: boolean[]) => of.filter((each) => each).length / of.length;

describe('evaluate', () => {
  let marked: TestChannel;
  beforeAll(async () => {
    marked = await run(decontaminated('report') + evaluate('quiz.jsonl'), 'marked');
  });

  it('says how many rows are contaminated, by which dataset, and what was not compared', () => {
    const { overlap } = report(marked);
    expect(overlap!.rows).toBe(4);
    const compared = (stage: string, contaminated: number) => ({
      dataset: `tiny/${stage}`,
      artifact: artifact(marked, stage),
      rows: 4,
      contaminated,
    });
    const same = {
      contaminated: 2,
      not_checked: [],
      text: 'contaminated 2 of 4 rows (by tiny/prepare)',
    };
    expect(overlap!.models).toEqual([
      { model: 'base', compared: [compared('prepare', 2)], ...same },
      { model: 'assistant', compared: [compared('sft', 0), compared('prepare', 2)], ...same },
    ]);
    expect(overlap!.hint).toBeUndefined();
  });

  it('gives each score again on the other rows, as an evaluation of those alone gives it', async () => {
    const { overlap, columns } = report(marked);
    expect(columns).toEqual(['model', 'rows', 'exact_match', 'contains', 'a', 'e']);
    const outputs = readFileSync(join(folder(marked, 'evaluate'), 'outputs.jsonl'), 'utf8')
      .trim()
      .split('\n')
      .map((line) => (JSON.parse(line) as { outputs: Record<string, string> }).outputs);
    const rate = (model: string, letter: string) =>
      share(CLEAN.map((i) => outputs[i]![model]!.includes(letter)));
    expect(overlap!.others.map((row) => [row[0], row[1], row[4], row[5]])).toEqual(
      ['base', 'assistant'].map((model) => [model, 2, rate(model, 'a'), rate(model, 'e')]),
    );
    const alone = await run(decontaminated('report') + evaluate('clean.jsonl'), 'alone');
    expect(overlap!.others).toEqual(report(alone).rows);
    expect(report(alone).overlap).toMatchObject({ rows: 2, models: [{ contaminated: 0 }, {}], others: [] });
  });

  it('says the same on the page and in the terminal', () => {
    const page = readFileSync(join(folder(marked, 'evaluate'), 'report.md'), 'utf8');
    expect(page).toContain('- *base*: contaminated 2 of 4 rows (by tiny/prepare)\n');
    expect(page).toMatch(/Scores on the rows that are not contaminated:\n\n\| model .*\n.*\n\| base \| 2 \|/);
    const event = { job: 'j', seq: 1, kind: 'report', time: 0, body: report(marked) } as const;
    const lines = renderBlock(event, { width: 200, paint: (text) => text, color: false });
    expect(lines).toContain('! base: contaminated 2 of 4 rows (by tiny/prepare)');
    const at = lines.indexOf('On the rows that are not contaminated:');
    expect(lines[at + 2]).toMatch(/^base +2 /);
  });

  it('gives perplexity on the other texts', async () => {
    const text = decontaminated('report', 'texts.jsonl') + evaluate('texts.jsonl', '{ base: pretrain }');
    const whole = report(await run(text, 'texts'));
    writeFileSync(
      join(fixture.dir, 'clean_texts.jsonl'),
      CLEAN.map((i) => `${JSON.stringify({ text: `${ROWS[i]!.prompt}\n${ROWS[i]!.answer}` })}\n`).join(''),
    );
    const alone = await run(text.replace('dataset: texts.jsonl', 'dataset: clean_texts.jsonl'), 'alone');
    expect(whole.columns.slice(-2)).toEqual(['perplexity', 'bits_per_byte']);
    expect(whole.overlap!.models[0]!.contaminated).toBe(2);
    expect(whole.overlap!.others).toEqual(report(alone).rows);
    expect(whole.overlap!.others).not.toEqual(whole.rows);
  });

  it('divides groups as the table does', async () => {
    const grouped = evaluate('quiz.jsonl', '{ base: pretrain }', ', group_by: answer');
    const { rows, overlap } = report(await run(decontaminated('report') + grouped, 'grouped'));
    expect(rows.map((row) => row[2])).toEqual([1, 1, 1, 1]);
    expect(overlap!.others.map((row) => [row[1], row[2], row[3]])).toEqual([
      ['It is Anna.', 0, null],
      ['Nobody', 1, expect.any(Number)],
      ['Ben of Aachen is a tailor.', 0, null],
      ['Eight', 1, expect.any(Number)],
    ]);
  });

  it('finds nothing where contaminated documents were dropped', async () => {
    const channel = await run(decontaminated('drop') + evaluate('quiz.jsonl', '{ base: pretrain }'), 'drop');
    const { overlap } = report(channel);
    expect(texts(overlap!)).toEqual([['base', 'contaminated 0 of 4 rows (compared with tiny/prepare)']]);
    expect(overlap!.others).toEqual([]);
    expect(overlap!.hint).toBeUndefined();
  });

  it('says what nobody has compared, and how to have it compared', async () => {
    const channel = await run(MODELS + evaluate('quiz.jsonl'), 'silent');
    const { overlap } = report(channel);
    expect(texts(overlap!)).toEqual([
      ['base', 'not checked: tiny/prepare (has no decontamination)'],
      [
        'assistant',
        'contaminated 0 of 4 rows (compared with tiny/sft); not checked: tiny/prepare (has no decontamination)',
      ],
    ]);
    expect(overlap!.hint).toContain('decontamination: { sets: [{ files: [quiz.jsonl] }], action: report }');
    expect(overlap!.models.map(({ contaminated }) => contaminated)).toEqual([0, 0]);
  });

  it('takes rows that are compared apart from those that are not', async () => {
    const channel = await run(
      decontaminated('report') + evaluate('more.jsonl', '{ base: pretrain }'),
      'more',
    );
    expect(report(channel).overlap!.models).toEqual([
      {
        model: 'base',
        contaminated: 2,
        compared: [expect.objectContaining({ rows: 4, contaminated: 2 })],
        not_checked: [{ source: 'tiny/prepare', reason: 'other_rows', rows: 1 }],
        text: 'contaminated 2 of 5 rows (by tiny/prepare); not checked: tiny/prepare (was compared with 4 of the rows)',
      },
    ]);
    const none = await run(
      decontaminated('report', 'questions.jsonl') + evaluate('quiz.jsonl', '{ base: pretrain }'),
      'none',
    );
    expect(texts(report(none).overlap!)).toEqual([
      ['base', 'not checked: tiny/prepare (was compared with other rows)'],
    ]);
  });

  it('looks behind adapters and what they were merged to', async () => {
    const text = decontaminated('report').replace('max_steps: 20', (line) => `${line}\n    lora: { r: 2 }`);
    const models = '{ adapter: sft, merged: merge }';
    const channel = await run(`${text}  merge: { model: sft }\n${evaluate('quiz.jsonl', models)}`, 'lora');
    const found = 'contaminated 2 of 4 rows (by tiny/prepare)';
    expect(texts(report(channel).overlap!)).toEqual([
      ['adapter', found],
      ['merged', found],
    ]);
  });

  it('does not know what a model from elsewhere was trained on', async () => {
    const elsewhere = join(fixture.dir, 'elsewhere');
    cpSync(modelFolder(fixture, 'pretrain'), elsewhere, { recursive: true, dereference: true });
    rmSync(join(elsewhere, 'artifact.json'));
    const tuned = '  sft: { model: elsewhere, dataset: chats.jsonl, max_steps: 2 }\n';
    const text = `name: tuned\nthreads: 2\nstages:\n${tuned}${evaluate('quiz.jsonl', '{ raw: elsewhere, tuned: sft }')}`;
    expect(texts(report(await run(text, 'tuned')).overlap!)).toEqual([
      ['raw', 'not checked: elsewhere (its training data is unknown)'],
      [
        'tuned',
        'contaminated 0 of 4 rows (compared with tuned/sft); not checked: elsewhere (its training data is unknown)',
      ],
    ]);
  });
});

describe('compare', () => {
  it('gives its figures again without rows that either model has been trained on', async () => {
    const compare =
      '  compare: { models: { base: pretrain, assistant: sft }, against: base, dataset: quiz.jsonl, ' +
      'rewards: [{ type: length, unit: words, target: 4 }], num_generations: 2, max_new_tokens: 8 }\n';
    const channel = await run(decontaminated('report') + compare, 'compare');
    const { columns, rows, overlap } = report(channel, 'compare');
    expect(texts(overlap!)).toEqual([
      ['base', 'contaminated 2 of 4 rows (by tiny/prepare)'],
      ['assistant', 'contaminated 2 of 4 rows (by tiny/prepare)'],
    ]);
    const outputs = readFileSync(join(folder(channel, 'compare'), 'outputs.jsonl'), 'utf8')
      .trim()
      .split('\n')
      .map((line) => (JSON.parse(line) as { outputs: Record<string, { sampled: string[] }> }).outputs);
    const worth = (model: string) =>
      CLEAN.flatMap((i) =>
        outputs[i]![model]!.sampled.map((text) => {
          const words = text.match(/\S+/g)?.length ?? 0;
          return words > 4 ? Math.max(0, 1 - (words - 4) / 4) : words / 4;
        }),
      );
    const mean = (numbers: number[]) => numbers.reduce((sum, x) => sum + x, 0) / numbers.length;
    const [base, assistant] = [worth('base'), worth('assistant')];
    const wins = assistant.map((own, i) => (own === base[i] ? 0.5 : Number(own > base[i]!)));
    expect(columns.slice(0, 6)).toEqual(['model', 'win_rate', 'stderr', 'reward', 'kl', 'exact_match']);
    expect(overlap!.others).toEqual([
      ['base', null, null, mean(base), 0, 0, ...rows[0]!.slice(6)],
      [
        'assistant',
        mean(wins),
        expect.any(Number),
        mean(assistant),
        expect.any(Number),
        0,
        ...rows[1]!.slice(6),
      ],
    ]);
    expect(overlap!.others[1]![4]).not.toBe(rows[1]![4]);
  });
});
