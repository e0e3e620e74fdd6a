/** Two small sources, one of JSON lines and one of text, with a tokenizer, and their preparation by any settings. */
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll } from 'vitest';
import { prepareStage } from '../../src/stages/prepare.ts';
import { tokenizerStage } from '../../src/stages/tokenizer.ts';
import { generatedText, runStage, type StageRun, temporaryFolder } from './stage_context.ts';

interface Options {
  workDir?: string;
  threads?: number;
  stop?: () => boolean;
}

/** Makes the files before the tests of the file that calls it, and removes them after. */
export function twoSources() {
  const folder = temporaryFolder();
  afterAll(folder.remove);
  const web = Array.from({ length: 400 }, (_, i) => generatedText(i + 1, 5 + (i % 40)));
  const code = Array.from({ length: 150 }, (_, i) => `fn ${i}(x) { return x + ${i * 7}; }`);
  const path = (name: string): string => join(folder.path, name);

  beforeAll(async () => {
    writeFileSync(path('web.jsonl'), web.map((text) => `${JSON.stringify({ text })}\n`).join(''));
    writeFileSync(path('code.txt'), code.join('\n'));
    mkdirSync(path('tokenizer'));
    await runStage(
      tokenizerStage,
      { files: ['web.jsonl', 'code.txt'], text_unit: 'line', vocab_size: 400 },
      { outDir: path('tokenizer'), baseDir: folder.path },
    );
  });

  const sources = [
    { name: 'web', files: ['web.jsonl'] },
    { name: 'code', files: ['code.txt'], text_unit: 'line' },
  ];
  const settings = { sources, unit_bytes: 6_000, validation_fraction: 0.1 };

  function prepare(name: string, more: object = {}, options: Options = {}): Promise<StageRun> {
    mkdirSync(path(name), { recursive: true });
    return runStage(
      prepareStage,
      { ...settings, ...more },
      { outDir: path(name), baseDir: folder.path, inputs: { tokenizer: path('tokenizer') }, ...options },
    );
  }
  return { path, prepare, web, sources, settings };
}
