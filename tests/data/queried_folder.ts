/** A folder with rows, a tokenizer and a prepared dataset that questions are asked about. */
import { mkdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { afterAll, beforeAll, expect } from 'vitest';
import { type DataQuery, dataQuery } from '../../proto/data.ts';
import type { Page, Section, SectionOf } from '../../proto/page.ts';
import { prepareStage } from '../../src/stages/prepare.ts';
import { tokenizerStage } from '../../src/stages/tokenizer.ts';
import { generatedText, runStage, temporaryFolder } from './stage_context.ts';

export const documents = Array.from({ length: 60 }, (_, i) => `${i} ${generatedText(i + 1, 20)}`);

/** `docs.jsonl`, `tokenizer` and `prepared` (as dataset `job/prepare`), for the tests of one file. */
export function queriedFolder() {
  const folder = temporaryFolder();
  const write = (name: string, rows: unknown[]): void => {
    const path = join(folder.path, name);
    mkdirSync(dirname(path), { recursive: true });
    writeFileSync(path, rows.map((row) => `${JSON.stringify(row)}\n`).join(''));
  };

  beforeAll(async () => {
    write(
      'docs.jsonl',
      documents.map((text) => ({ text })),
    );
    const dirs = ['tokenizer', 'prepared'].map((name) => join(folder.path, name));
    for (const dir of dirs) mkdirSync(dir);
    await runStage(
      tokenizerStage,
      { files: ['docs.jsonl'], vocab_size: 400 },
      { outDir: dirs[0]!, baseDir: folder.path },
    );
    await runStage(
      prepareStage,
      { files: ['docs.jsonl'], validation_fraction: 0.2 },
      { outDir: dirs[1]!, baseDir: folder.path, inputs: { tokenizer: dirs[0]! } },
    );
    mkdirSync(join(folder.path, 'datasets', 'job'), { recursive: true });
    symlinkSync(dirs[1]!, join(folder.path, 'datasets', 'job', 'prepare'));
  });
  afterAll(folder.remove);
  return { folder, write, context: { home: folder.path, baseDir: folder.path, threads: 1 } };
}

export function ask<Q extends DataQuery['query']>(query: Extract<DataQuery, { query: Q }> | object): never {
  return dataQuery.parse(query) as never;
}

export function section<K extends Section['kind']>(page: Page, kind: K, title: string): SectionOf<K> {
  const found = page.sections.find((each) => each.kind === kind && each.title === title);
  expect(found, `${kind} ${title} among ${page.sections.map((each) => each.title).join(', ')}`).toBeDefined();
  return found as SectionOf<K>;
}

export function fact(page: Page, title: string, name: string): unknown {
  return section(page, 'facts', title).facts.find((each) => each.name === name)?.value;
}
