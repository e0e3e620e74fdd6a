/** A preparation with every rule and pass there is, shared out in parts: their merge is the dataset of a single run. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { readManifest } from '../../src/data/dataset.ts';
import { filesOf, makeData, prepareHere } from './prepare_process.ts';
import { temporaryFolder } from './stage_context.ts';

const folder = temporaryFolder();
afterAll(folder.remove);
const at = (name: string): string => join(folder.path, name);
let settings: object;

function prepare(name: string, more: object = {}): Promise<void> {
  const [workDir, outDir] = [at(`${name}.work`), at(name)];
  return prepareHere({ settings: { ...settings, ...more }, baseDir: folder.path, workDir, outDir });
}

beforeAll(async () => {
  settings = await makeData(folder.path, 150);
  await prepare('alone');
}, 60_000);

it('uses all that there is', () => {
  const [pages, notes] = readManifest(at('alone')).sources;
  expect(pages!.rejected).toBeGreaterThan(0);
  expect(pages!.contaminated).toBeGreaterThan(0);
  expect(pages!.near_duplicates).toBeGreaterThan(0);
  expect(notes!.exact_duplicates).toBeGreaterThan(0);
  const { sections } = JSON.parse(readFileSync(join(at('alone'), 'report.json'), 'utf8')) as {
    sections: { title: string; facts?: { name: string; value: number }[]; rows?: unknown[][] }[];
  };
  const facts = new Map(sections.flatMap(({ facts = [] }) => facts.map(({ name, value }) => [name, value])));
  for (const name of ['Lines removed', 'Paragraphs removed', 'Clusters'])
    expect(facts.get(name)).toBeGreaterThan(0);
  const cleaning = sections.find(({ title }) => title === 'Cleaning by rule')!.rows!;
  const changes = new Map(cleaning.map(([name, , , changed]) => [name, changed]));
  for (const rule of ['control_characters', 'unicode_nfc', 'boilerplate_lines'])
    expect(changes.get(rule)).toBeGreaterThan(0);
});

it.each([1, 3, 16])(
  'in %i parts, done in any order, gives the same bytes',
  async (count) => {
    const work_dir = at(`shared-${count}`);
    for (let i = count; i >= 1; i--) await prepare(`part-${count}`, { work_dir, part: `${i}/${count}` });
    await prepare(`merged-${count}`, { work_dir });
    const [merged, alone] = [`merged-${count}`, 'alone'].map((name) => readManifest(at(name)).content_hash);
    expect(merged).toBe(alone);
    expect(filesOf(at(`merged-${count}`))).toEqual(filesOf(at('alone')));
  },
  120_000,
);
