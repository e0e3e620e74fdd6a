/** What stages read from files themselves, compared with the rows of an evaluation: whole recipes, and each type's rows. */
import {
  appendFileSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { readLineage } from '../../src/artifacts/store.ts';
import { rowKey } from '../../src/data/dedup/evaluation_sets.ts';
import { overlapOf, overlapSchema } from '../../src/data/dedup/overlap.ts';
import { rowSettings } from '../../src/data/shapes/settings.ts';
import { Shaper } from '../../src/data/shapes/shaper.ts';
import { FileOverlaps } from '../../src/evaluation/file_overlap.ts';
import { soughtText, trainingRows } from '../../src/evaluation/training_rows.ts';
import { loadAddon } from '../../src/native/addon.ts';
import { STAGES } from '../../src/stages/registry.ts';
import { StageStopped } from '../../src/stages/stage.ts';
import { type Fixture, makeFixture, recipeText, runHere, type TestChannel } from '../training/fixture.ts';

const LONG = 'Anna lives in Celle and Ben lives in Dresden, so who of them lives in the town of Celle?';
const OTHER = 'Hugo is a baker in Fulda and Ida is a singer in Kiel, but who of the two can sing?';
const QUIZ = [
  { prompt: 'Capital of Peru?', answer: 'Lima' },
  { prompt: LONG, answer: 'Anna' },
  { prompt: OTHER, answer: 'Ida' },
  { prompt: 'Capital of Chile?', answer: 'Santiago' },
  { prompt: 'How many legs does a spider have in all?', answer: 'Eight' },
];
const chat = (user: string, assistant: string, system?: string) => ({
  messages: [
    ...(system === undefined ? [] : [{ role: 'system', content: system }]),
    { role: 'user', content: user },
    { role: 'assistant', content: assistant },
  ],
});
/** The first two rows of the quiz: one as two messages, one within more; the rest in part. */
const TAUGHT = [
  chat('What is Anna of Celle?', 'Anna is a baker.'),
  chat('Capital of PERU', 'Lima!', 'Be kind.'),
  chat(`Tell me: ${LONG.toUpperCase()}`, 'Anna, of course.', 'Be kind.'),
  chat(`${OTHER.split(' ').slice(0, 14).join(' ')} and why?`, 'Nobody.'),
  chat('Capital of Chile?', 'I do not know.'),
];

let fixture: Fixture;
const file = (name: string) => join(fixture.dir, name);
const lines = (rows: readonly object[]) => rows.map((row) => `${JSON.stringify(row)}\n`).join('');
beforeAll(() => {
  fixture = makeFixture();
  writeFileSync(file('quiz.jsonl'), lines(QUIZ));
  writeFileSync(file('taught.jsonl'), lines(TAUGHT));
});
afterAll(() => fixture.remove());

const BASE = recipeText({ pretrain: ['max_steps: 2'] }).replace('embeddings: 96', 'embeddings: 256');
const STEPS = 'max_steps: 1, per_device_train_batch_size: 2';
const ROLLOUT = `rewards: [{ type: length, max: 9 }], num_generations: 2, max_completion_length: 4, ${STEPS}`;
const sft = (dataset = 'taught.jsonl', more = '', name = 'sft') =>
  `  ${name}: { type: sft, model: pretrain, dataset: ${dataset}, ${STEPS}${more} }\n`;
const evaluate = (models = '{ assistant: sft }') =>
  `  evaluate: { models: ${models}, dataset: quiz.jsonl, max_new_tokens: 4 }\n`;

async function run(stages: string, job: string, base = BASE): Promise<TestChannel> {
  const channel = await runHere(fixture, base + stages, { job, fresh: base !== BASE });
  expect(channel.outcome().error).toBeNull();
  return channel;
}
const overlapIn = (channel: TestChannel, stage = 'evaluate') =>
  channel.events('report').findLast(({ body }) => body.stage === stage)!.body.overlap!;
/** What is said of the files: nobody has compared the text of the base model. */
const said = (channel: TestChannel, stage?: string) =>
  overlapIn(channel, stage).models.map(({ model, text }) => [
    model,
    text.replace(/(; not checked: |, )tiny\/prepare \(has no decontamination\)$/, ''),
  ]);
const comparisons = (channel: TestChannel) =>
  channel.events('log').filter(({ body }) => body.text.includes('compares its rows with'));
const artifact = (channel: TestChannel, stage: string) =>
  channel.events('stage').find(({ body }) => body.stage === stage && body.artifact)!.body.artifact!;
const folder = (channel: TestChannel, stage: string) =>
  join(fixture.home, 'artifacts', artifact(channel, stage));
/** Which rows of the quiz were found in the files. */
async function found(channel: TestChannel, stage: string): Promise<number[]> {
  const rows = QUIZ.map(({ prompt, answer }) => ({
    question: { prompt },
    answers: [answer],
    text: undefined,
  }));
  const lineage = (await readLineage(folder(channel, stage)))!;
  const overlap = await new FileOverlaps(rows, context()).of(lineage);
  if (!('overlap' in overlap)) throw new Error(overlap.detail);
  const { contaminated } = overlapOf(rows.map(rowKey), overlap.overlap);
  return [...contaminated.keys()].filter((i) => contaminated[i]);
}
const context = () => ({
  name: 'evaluate',
  addon: loadAddon(),
  threads: 2,
  cacheDir: join(fixture.home, 'cache'),
  checkpointRequested: () => false,
  log: () => undefined,
  emit: () => undefined,
});

describe('the files of a stage', () => {
  it('are compared as prepare compares the same files', async () => {
    const channel = await run(sft() + evaluate('{ base: pretrain, assistant: sft }'), 'sft');
    expect(said(channel)).toEqual([
      ['base', 'not checked: tiny/prepare (has no decontamination)'],
      ['assistant', 'contaminated 2 of 5 rows (by tiny/sft)'],
    ]);
    const { models, others } = overlapIn(channel);
    expect(models[1]!.compared).toEqual([
      { dataset: 'tiny/sft', artifact: artifact(channel, 'sft'), rows: 5, contaminated: 2 },
    ]);
    expect(others.map((row) => row.slice(0, 2))).toEqual([['assistant', 3]]);
    expect(await found(channel, 'sft')).toEqual([0, 1]);

    const sets = 'sets: [{ files: [quiz.jsonl] }], action: report';
    const prepared = await run(
      `  chats: { type: prepare, tokenizer: tokenizer, files: [taught.jsonl], decontamination: { ${sets} } }\n`,
      'prepared',
    );
    const stored = readFileSync(join(folder(prepared, 'chats'), 'overlap.json'), 'utf8');
    const { sets: compared, threshold } = overlapSchema.parse(JSON.parse(stored));
    const contaminated = compared[0]!.rows.filter(({ best }) => best >= threshold);
    expect(contaminated.map(({ row }) => row)).toEqual([0, 1]);
  });

  it('are read once for all models, and not again as long as nothing has changed', async () => {
    rmSync(join(fixture.home, 'cache', 'overlap'), { recursive: true, force: true });
    const twice =
      sft() +
      sft('taught.jsonl', ', learning_rate: 1e-5, lora: { r: 2 }', 'lora') +
      '  merge: { model: lora }\n';
    const models = '{ base: pretrain, full: sft, adapter: lora, merged: merge }';
    const first = await run(twice + evaluate(models), 'twice');
    expect(said(first).slice(1)).toEqual([
      ['full', 'contaminated 2 of 5 rows (by tiny/sft)'],
      ['adapter', 'contaminated 2 of 5 rows (by tiny/lora)'],
      ['merged', 'contaminated 2 of 5 rows (by tiny/lora)'],
    ]);
    expect(comparisons(first).length).toBe(1);
    const compare =
      `  compare: { models: ${models}, against: base, dataset: quiz.jsonl, max_new_tokens: 4, ` +
      'num_generations: 2, rewards: [{ type: length, max: 9 }] }\n';
    const again = await run(twice + compare, 'compare');
    expect(said(again, 'compare')).toEqual(said(first));
    expect(comparisons(again)).toEqual([]);
    // Of models that are compared with one that has seen nothing, each without its own rows.
    expect(overlapIn(again, 'compare').others.map((row) => row[0])).toEqual(['full', 'adapter', 'merged']);

    const [kept] = readdirSync(join(fixture.home, 'cache', 'overlap'));
    writeFileSync(join(fixture.home, 'cache', 'overlap', kept!), '{"format":1');
    const mended = await run(twice + evaluate('{ full: sft }'), 'mended');
    expect(said(mended)).toEqual([['full', 'contaminated 2 of 5 rows (by tiny/sft)']]);
    expect(comparisons(mended).length).toBe(1);
  });

  it('are not compared once they have changed or gone, and are when they are back', async () => {
    writeFileSync(file('own.jsonl'), lines(TAUGHT));
    const made = await run(sft('own.jsonl'), 'own');
    const later = async (job: string) => {
      const models = `{ assistant: ${folder(made, 'sft')} }`;
      const text = `name: later\nthreads: 2\nstages:\n${evaluate(models)}`;
      return run('', job, text);
    };
    appendFileSync(file('own.jsonl'), lines([chat('More?', 'More.')]));
    const changed = await later('changed');
    expect(said(changed)).toEqual([['assistant', 'not checked: tiny/sft (own.jsonl has changed since)']]);
    const { models, hint, others } = overlapIn(changed);
    expect(models[0]!.not_checked).toContainEqual({ source: 'tiny/sft', reason: 'files_changed', rows: 5 });
    expect([models[0]!.contaminated, others]).toEqual([0, []]);
    expect(hint).toMatch(/put them back/);
    rmSync(file('own.jsonl'));
    expect(said(await later('gone'))).toEqual([['assistant', 'not checked: tiny/sft (own.jsonl is gone)']]);
    writeFileSync(file('own.jsonl'), lines(TAUGHT));
    expect(said(await later('back'))).toEqual([['assistant', 'contaminated 2 of 5 rows (by tiny/sft)']]);
  });

  it('of a folder or a pattern are those that it named then', async () => {
    mkdirSync(file('chats'));
    writeFileSync(file('chats/a[1].jsonl'), lines(TAUGHT.slice(0, 2)));
    writeFileSync(file('chats/b.jsonl'), lines(TAUGHT.slice(2)));
    const validated = sft('chats/b.jsonl', ', eval_dataset: taught.jsonl, eval_steps: 1', 'validated');
    const stages = `${sft('chats')}${sft('chats/b*.jsonl', '', 'pattern')}${validated}`;
    const made = await run(stages, 'folder');
    writeFileSync(file('chats/c.jsonl'), lines([chat(QUIZ[4]!.prompt, 'Eight')]));
    expect(await found(made, 'sft')).toEqual([0, 1]);
    expect(await found(made, 'pattern')).toEqual([1]);
    expect(await found(made, 'validated')).toEqual([1]);
    renameSync(file('chats/b.jsonl'), file('chats/d.jsonl'));
    await expect(found(made, 'sft')).rejects.toThrow('b.jsonl is gone');
    await expect(found(made, 'pattern')).rejects.toThrow('b.jsonl is gone');
  });

  it('of many batches are compared to their ends, which is told on the way', async () => {
    const filler = Array.from({ length: 40 }, (_, i) => chat(`What is ${'w'.repeat(250_000)}${i}?`, 'Long.'));
    writeFileSync(file('large.jsonl'), lines([TAUGHT[1]!, ...filler, TAUGHT[2]!]));
    const channel = await run(sft('large.jsonl', ', too_long: truncate') + evaluate(), 'large');
    expect(said(channel)).toEqual([['assistant', 'contaminated 2 of 5 rows (by tiny/sft)']]);
    const told = channel
      .events('progress')
      .flatMap(({ body }) => (body.stage === 'evaluate' && body.unit === 'byte' ? [body] : []));
    const total = statSync(file('large.jsonl')).size;
    expect(told.map((body) => body.total)).toEqual([total, total]);
    expect(told[0]!.done).toBeGreaterThan(4_000_000);
    expect(told[1]!.done).toBeGreaterThan(8_000_000);

    const lineage = (await readLineage(folder(channel, 'sft')))!;
    const stopped = { ...context(), cacheDir: file('nothing'), checkpointRequested: () => true };
    await expect(new FileOverlaps([], stopped).of(lineage)).rejects.toBeInstanceOf(StageStopped);
  });

  it('are read by the settings of the stage', async () => {
    writeFileSync(
      file('table.tsv'),
      `ask\tsay\tkeep\n${QUIZ.map(({ prompt, answer }, i) => `${prompt}\t${answer}\t${i % 2 === 0}`).join('\n')}\n`,
    );
    const settings = ', fields: { prompt: ask, completion: say }, where: { keep: true }';
    expect(await found(await run(sft('table.tsv', settings), 'settings'), 'sft')).toEqual([0, 2, 4]);
  });

  it('of an address are what was fetched, with nobody asked again', async () => {
    process.env.XDG_CACHE_HOME = file('xdg');
    const server = createServer((_, response) => response.end(lines(TAUGHT)));
    await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
    const address = `http://127.0.0.1:${(server.address() as AddressInfo).port}/chats.jsonl`;
    try {
      const made = await run(sft(address), 'fetched');
      await new Promise((done) => server.close(done));
      expect(await found(made, 'sft')).toEqual([0, 1]);
      rmSync(file('xdg'), { recursive: true });
      await expect(found(made, 'sft')).rejects.toThrow('chats.jsonl is gone');
    } finally {
      server.close();
      delete process.env.XDG_CACHE_HOME;
    }
  });

  it('of prompts count by the question: they have no answers', async () => {
    writeFileSync(
      file('prompts.jsonl'),
      lines([{ prompt: 'Capital of Chile?' }, chat(LONG, 'Ben'), { prompt: 'Who is Ida?' }]),
    );
    const grpo = `  grpo: { model: sft, dataset: prompts.jsonl, ${ROLLOUT} }\n`;
    const channel = await run(sft() + grpo + evaluate('{ assistant: sft, aligned: grpo }'), 'grpo');
    expect(said(channel)).toEqual([
      ['assistant', 'contaminated 2 of 5 rows (by tiny/sft)'],
      ['aligned', 'contaminated 3 of 5 rows (by tiny/grpo, tiny/sft)'],
    ]);
    expect(await found(channel, 'grpo')).toEqual([1, 3]);
  });

  it('behind responses are the prompts that they answer', async () => {
    writeFileSync(file('asked.jsonl'), lines([{ prompt: 'Capital of Chile?' }, { prompt: 'Who is Ida?' }]));
    const stages =
      '  generate: { models: { a: pretrain }, dataset: asked.jsonl, num_generations: 2, max_new_tokens: 4 }\n' +
      `  grpo: { model: pretrain, dataset: generate, ${ROLLOUT} }\n`;
    const channel = await run(stages + evaluate('{ aligned: grpo }'), 'answered');
    expect(said(channel)).toEqual([['aligned', 'contaminated 1 of 5 rows (by tiny/generate)']]);
  });

  it('of a stage that a module defines are not compared', async () => {
    const lineage = (await readLineage(folder(await run(sft(), 'module'), 'sft')))!;
    const overlap = await new FileOverlaps([], context()).of({ ...lineage, type: './own.mjs' });
    expect(overlap).toMatchObject({ reason: 'own_stage' });
  });
});

describe('the rows of each type of stage', () => {
  const read = (type: string, fields: Record<string, unknown>, settings: Record<string, unknown> = {}) => {
    const { kind, sought } = trainingRows({ type, settings })!;
    const { content } = new Shaper(rowSettings.parse({}), kind).read({ line: 1, end: 1, fields }, 'a:1')!;
    return { sought, texts: content.map((text) => String(text).replaceAll('\u001e', '|')) };
  };

  it('are known for all stages that train on files', () => {
    const reading = [...STAGES.values()].filter(
      ({ type, trains }) => (trains && type !== 'pretrain') || ['generate', 'rank'].includes(type),
    );
    expect(reading.length).toBeGreaterThan(12);
    for (const { type } of reading) expect(trainingRows({ type, settings: {} }), type).toBeDefined();
    expect(trainingRows({ type: 'toString', settings: {} })).toBeUndefined();
  });

  it('are prompts with all their answers, good and bad', () => {
    const pair = { prompt: 'Q', chosen: 'good', rejected: 'bad' };
    for (const type of ['dpo', 'cpo', 'orpo', 'kto', 'bco', 'reward'])
      expect(read(type, pair), type).toEqual({ sought: 'row', texts: ['Q|good', 'Q|bad'] });
    expect(read('kto', { prompt: 'Q', completion: 'good', label: true }).texts).toEqual(['Q|good']);
    const ranked = { prompt: 'Q', responses: ['a', 'b', 'c'], scores: [3, 2, 1] };
    for (const type of ['dpo', 'reward', 'rank'])
      expect(read(type, ranked).texts, type).toEqual(['Q|a', 'Q|b', 'Q|c']);
    const turns = [
      { role: 'user', content: 'Q' },
      { role: 'assistant', content: 'A' },
    ];
    expect(
      read('dpo', { chosen: turns, rejected: [turns[0], { role: 'assistant', content: 'B' }] }).texts,
    ).toEqual(['Q|A', 'Q|B']);
    expect(read('distill', { messages: turns })).toEqual({ sought: 'row', texts: ['Q|A'] });
    expect(read('sft', { prompt: 'Q', completion: 'A' })).toEqual({ sought: 'row', texts: ['Q|A'] });
  });

  it('are questions where answers are written in training', () => {
    const row = { question: { prompt: 'Q' }, answers: ['A'], text: undefined };
    for (const type of ['ppo', 'grpo', 'rloo', 'online_dpo', 'generate']) {
      const { sought, texts } = read(type, { prompt: 'Q', answer: 'A' });
      expect([sought, texts], type).toEqual(['question', ['Q']]);
      expect(soughtText(row, sought)).toBe('Q');
    }
    expect(read('distill', { prompt: 'Q' }, { teacher: 't', seq_kd: true })).toMatchObject({ texts: ['Q'] });
    expect(soughtText(row, 'row')).toBe('Q\nA');
  });
});
