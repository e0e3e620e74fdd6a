/** The data scripts as they are run: same files each time, nothing twice, everything anew when a file is missing. */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, it } from 'vitest';
import { ensureDataPackages } from '../../scripts/story/packages.ts';

const folders = [1, 2].map((n) => mkdtempSync(join(tmpdir(), `anneal-story-${n}-`)));
afterAll(() => {
  for (const folder of folders) rmSync(folder, { recursive: true });
});

const scripts = join(import.meta.dirname, '../../scripts');
const make = (script: string, folder: string) =>
  execFileSync(process.execPath, [join(scripts, script), folder], { encoding: 'utf8' });
const contents = (folder: string) =>
  readdirSync(folder)
    .sort()
    .map((name) => [name, readFileSync(join(folder, name), 'utf8')]);

it('makes the same files in every folder, once', async () => {
  await ensureDataPackages();
  for (const folder of folders) {
    make('fetch-corpus.ts', folder);
    make('make-facts.ts', folder);
  }
  const [first, second] = folders.map(contents);
  expect(first!.map(([name]) => name)).toEqual([
    'alignment.jsonl',
    'comparison.jsonl',
    'evaluation.jsonl',
    'facts.jsonl',
    'facts.stamp',
    'moby-dick.jsonl',
    'prose.stamp',
    'questions.jsonl',
    'sft.jsonl',
    'sotu.jsonl',
    'wordnet.jsonl',
  ]);
  expect(second).toEqual(first);
  for (const [name, text] of first!.filter(([file]) => file!.endsWith('.jsonl'))) {
    const lines = text!.trimEnd().split('\n');
    expect(
      lines.every((line) => typeof JSON.parse(line) === 'object'),
      name,
    ).toBe(true);
  }

  const folder = folders[0]!;
  const facts = join(folder, 'facts.jsonl');
  const written = statSync(facts).ino;
  expect(make('make-facts.ts', folder)).toContain('up to date');
  expect(make('fetch-corpus.ts', folder)).toContain('up to date');
  expect(statSync(facts).ino).toBe(written);

  rmSync(join(folder, 'sft.jsonl'));
  expect(make('make-facts.ts', folder)).toContain('sft.jsonl');
  expect(contents(folder)).toEqual(first);
}, 120_000);
