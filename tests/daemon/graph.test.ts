/** A recipe as a graph: order without data, stages of the recipe's own, and what a failure takes with it. */
import { execFile } from 'node:child_process';
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { ErrorBody } from '../../proto/errors.ts';
import { tensorboardFolder } from '../../proto/home.ts';
import { parseRecipe } from '../../src/recipe/recipe.ts';
import { STAGES } from '../../src/stages/registry.ts';
import { loadUserStage } from '../../src/stages/user_stage.ts';
import { TENSORBOARD_FILE } from '../../src/training/tensorboard.ts';
import { runRecipe } from '../../src/worker/job.ts';
import {
  type Fixture,
  makeFixture,
  recipeSource,
  recipeText,
  runHere,
  TestChannel,
} from '../training/fixture.ts';

const USER_STAGE = join(import.meta.dirname, '../../src/stages/user_stage.ts');

let fixture: Fixture;
beforeAll(() => {
  fixture = makeFixture();
  writeFileSync(join(fixture.dir, 'note.mjs'), NOTE);
  writeFileSync(join(fixture.dir, 'words.mjs'), 'export const word = "first";\n');
});
afterAll(() => fixture.remove());

/** Writes its text to a file, or fails when it is told to. */
const NOTE = `
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { word } from './words.mjs';
export default ({ z, AnnealError }) => ({
  type: 'note',
  doc: 'Writes a note.',
  schema: z.strictObject({ text: z.string(), fails: z.boolean().default(false), about: z.string().optional() }),
  inputs: { about: { types: ['note'], optional: true } },
  async run({ settings, inputs, outDir, emit, name }) {
    if (settings.fails) throw new AnnealError('data_empty', name + ' has nothing to say.', { hint: 'Say something.' });
    emit('progress', { stage: name, done: 1, total: 1, unit: 'note', metrics: {} }, name + '/note');
    writeFileSync(join(outDir, 'note.txt'), word + ' ' + settings.text + ' ' + Object.keys(inputs).join());
  },
});
`;

/** Of another text each: stages of the same settings are one artifact. */
let notes = 0;
const note = (settings: string) => `{ type: ./note.mjs, text: hello ${++notes}, ${settings} }`;
const told = (channel: TestChannel) =>
  channel
    .events('stage')
    .map(({ body }) => `${body.stage} ${body.phase}${body.error ? `: ${body.error.message}` : ''}`);

const GRAPH = `name: graph
seed: 1
stages:
  last: ${note('after: [middle, other]')}
  middle: ${note('about: first')}
  bad: ${note('fails: true, after: first')}
  needs_bad: ${note('about: bad')}
  after_that: ${note('after: needs_bad')}
  first: ${note('')}
  other: ${note('')}
`;

describe('a graph of stages', () => {
  it('runs what does not need a stage that failed, and ends with the error and what was not run', async () => {
    const channel = await runHere(fixture, GRAPH);
    expect(channel.events('graph')[0]!.body.stages.map(({ stage, needs }) => [stage, needs])).toEqual([
      ['first', []],
      ['middle', ['first']],
      ['other', []],
      ['last', ['middle', 'other']],
      ['bad', ['first']],
      ['needs_bad', ['bad']],
      ['after_that', ['needs_bad']],
    ]);
    expect(told(channel)).toEqual([
      'first started',
      'first finished',
      'middle started',
      'middle finished',
      'other started',
      'other finished',
      'last started',
      'last finished',
      'bad started',
      'bad failed: bad has nothing to say.',
      'needs_bad skipped: It needs bad.',
      'after_that skipped: It needs needs_bad.',
    ]);
    expect(channel.outcome()).toEqual({
      outcome: 'failed',
      error: {
        code: 'data_empty',
        message:
          'bad has nothing to say.\nneeds_bad was not run: it needs bad.\nafter_that was not run: it needs needs_bad.',
        hint: 'Say something.',
      },
    });
  });

  it('lists several failures', async () => {
    const channel = await runHere(
      fixture,
      `name: two\nstages:\n  a: ${note('fails: true')}\n  b: ${note('fails: true')}\n  c: ${note('after: b')}\n`,
    );
    expect(channel.outcome().error).toMatchObject({
      code: 'stages_failed',
      message:
        '2 stages failed.\na failed: a has nothing to say. (data_empty)\nb failed: b has nothing to say. (data_empty)\nc was not run: it needs b.',
    });
  });

  it('does not run a stage again that failed before the worker was replaced', async () => {
    const channel = new TestChannel();
    const error: ErrorBody = { code: 'worker_died', message: 'The worker died.' };
    const recipe = recipeSource(fixture, GRAPH.replace('name: graph', 'name: again'));
    await runRecipe(
      {
        task: 'recipe',
        job: 'j7',
        name: 'again',
        home: fixture.home,
        recipe,
        fresh: true,
        attempt: 2,
        failed: { first: error },
        selftest: null,
      },
      channel,
    );
    expect(told(channel)).toEqual([
      'middle skipped: It needs first.',
      'other started',
      'other finished',
      'last skipped: It needs middle.',
      'bad skipped: It needs first.',
      'needs_bad skipped: It needs bad.',
      'after_that skipped: It needs needs_bad.',
    ]);
    expect(channel.outcome().error).toMatchObject({ code: 'worker_died' });
  });

  it('may not go in a circle, nor wait for what is not there', async () => {
    const fails = (text: string) =>
      parseRecipe(recipeSource(fixture, text), STAGES, fixture.home).then(
        () => undefined,
        (error) => error.toBody(),
      );
    expect(await fails(`stages:\n  a: ${note('after: b')}\n  b: ${note('after: a')}\n`)).toMatchObject({
      code: 'recipe_reference',
      message: expect.stringContaining('a -> b -> a'),
    });
    expect(await fails(`stages:\n  first: ${note('')}\n  b: ${note('after: frist')}\n`)).toEqual({
      code: 'recipe_reference',
      message: 'tiny.yaml:3: stages.b.after names frist, which is no stage of this recipe.',
      path: 'stages.b.after',
      hint: 'Did you mean first?',
    });
    expect(await fails(`window: 22-7\nstages:\n  a: ${note('')}\n`)).toMatchObject({
      code: 'recipe_invalid',
      message: expect.stringContaining('such as 22:00-07:00'),
    });
  });
});

describe('a stage of the recipe’s own', () => {
  const artifact = (channel: TestChannel) =>
    channel.events('stage').findLast(({ body }) => body.artifact !== null)!.body;

  it('is made anew when its module is another', async () => {
    const text = `name: own\nstages:\n  one: { type: ./note.mjs, text: hello }\n`;
    const first = artifact(await runHere(fixture, text));
    expect(artifact(await runHere(fixture, text, { job: 'j2' }))).toMatchObject({
      phase: 'reused',
      artifact: first.artifact,
    });
    const folder = join(fixture.home, 'artifacts', first.artifact!);
    expect(readFileSync(join(folder, 'note.txt'), 'utf8')).toBe('first hello ');
    const lineage = JSON.parse(readFileSync(join(folder, 'artifact.json'), 'utf8'));
    expect(lineage.data_files[0]).toMatchObject({ path: join(fixture.dir, 'note.mjs') });
    writeFileSync(join(fixture.dir, 'note.mjs'), NOTE.replace("' '", "': '"));
    const second = artifact(await runHere(fixture, text, { job: 'j3' }));
    expect(second.artifact).not.toBe(first.artifact);
    const changed = join(fixture.home, 'artifacts', second.artifact!, 'note.txt');
    expect(readFileSync(changed, 'utf8')).toBe('first: hello ');
  });

  it('is known by all the files that it is loaded from', async () => {
    // The loader of the tests does not tell of imports; that of a worker does.
    const script = `
      const { loadUserStage } = await import(${JSON.stringify(USER_STAGE)});
      const { files } = await loadUserStage('./note.mjs', ${JSON.stringify(fixture.dir)}, 'stages.one.type');
      console.log(JSON.stringify(files));`;
    const { stdout } = await promisify(execFile)(process.execPath, ['--input-type=module', '-e', script]);
    expect(JSON.parse(stdout)).toEqual([join(fixture.dir, 'note.mjs'), join(fixture.dir, 'words.mjs')]);
  });

  it('that has a fault fails with its line', async () => {
    const module = `export default ({ z }) => ({
      type: 'x',
      schema: z.strictObject({}),
      async run({ settings }) {
        settings.absent.field = 1;
      },
    });`;
    writeFileSync(join(fixture.dir, 'faulty.mjs'), module);
    const channel = await runHere(fixture, 'stages:\n  faulty: { type: ./faulty.mjs }\n');
    expect(channel.outcome().error).toMatchObject({
      code: 'stage_invalid',
      message: expect.stringMatching(/^Stage faulty: .*faulty\.mjs:5: .*undefined/),
      path: expect.stringMatching(/faulty\.mjs:5$/),
    });
  });

  it.each([
    ['missing', null, 'file_not_found', /there is no module .*missing\.mjs/],
    ['syntax', 'export default {', 'stage_invalid', /cannot be loaded: /],
    ['throws', 'throw new Error("no luck")', 'stage_invalid', /cannot be loaded: no luck/],
    ['object', 'export default {}', 'stage_invalid', /has no function as its default export/],
    ['nothing', 'export default () => undefined', 'stage_invalid', /returns no definition/],
    ['untyped', 'export default () => ({ run() {} })', 'stage_invalid', /whose `type` is not right/],
    [
      'schema',
      'export default () => ({ type: "x", schema: {}, run() {} })',
      'stage_invalid',
      /whose `schema` is not right: made with the `z` that it gets/,
    ],
    [
      'unknown',
      'export default ({ z }) => ({ type: "x", schema: z.object(), run() {}, runs: 1 })',
      'stage_invalid',
      /an unknown `runs`/,
    ],
  ])('that is wrong (%s) is refused with the place in the recipe', async (name, text, code, message) => {
    if (text !== null) writeFileSync(join(fixture.dir, `${name}.mjs`), text);
    const error = await loadUserStage(`./${name}.mjs`, fixture.dir, 'stages.mine.type').catch(
      (thrown) => thrown,
    );
    expect(error).toMatchObject({ code, path: 'stages.mine.type', hint: expect.any(String) });
    expect(error.message).toMatch(message);
  });

  it('may use a model: the example of docs/stages.md', async () => {
    writeFileSync(join(fixture.dir, 'lines.txt'), 'Anna lives in a town.\nzzzz qqqq xxxx\n');
    const example = join(import.meta.dirname, '../../examples/surprise-stage.mjs');
    const own = `  surprise: { type: ${example}, model: pretrain, file: lines.txt }\n`;
    const channel = await runHere(fixture, recipeText({ pretrain: ['max_steps: 20'] }) + own, { job: 'j9' });
    expect(channel.outcome()).toEqual({ outcome: 'succeeded', error: null });
    const { rows } = channel.events('report')[0]!.body;
    expect(rows.map(([line]) => line)).toEqual(['zzzz qqqq xxxx', 'Anna lives in a town.']);
    expect(rows[0]![1]).toBeGreaterThan(rows[1]![1] as number);
    // Where TensorBoard looks: a folder a job, a folder a stage that trains.
    expect(readdirSync(tensorboardFolder(fixture.home, 'j9'))).toEqual(['pretrain']);
    const found = readdirSync(join(tensorboardFolder(fixture.home, 'j9'), 'pretrain'));
    expect(found).toContain(TENSORBOARD_FILE);
  });

  it('has its settings checked like any other', async () => {
    const error = await parseRecipe(
      recipeSource(fixture, `stages:\n  one: { type: ./note.mjs, txt: hello }\n`),
      STAGES,
      fixture.home,
    ).catch((thrown) => thrown);
    expect(error.toBody()).toEqual({
      code: 'recipe_invalid',
      message: 'tiny.yaml:2: stages.one.txt is not a known key.',
      path: 'stages.one.txt',
      hint: 'Did you mean text?',
    });
  });
});
