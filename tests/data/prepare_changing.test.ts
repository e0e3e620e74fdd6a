/** Data files that change or vanish while a preparation reads them: an error, and no unit that is made of both. */
import {
  appendFileSync,
  mkdirSync,
  readFileSync,
  renameSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { prepareStage } from '../../src/stages/prepare.ts';
import { tokenizerStage } from '../../src/stages/tokenizer.ts';
import { filesOf } from './prepare_process.ts';
import { failure } from './source_records.ts';
import { generatedText, runStage, type StageRun, temporaryFolder } from './stage_context.ts';

const folder = temporaryFolder();
afterAll(folder.remove);
const at = (name: string): string => join(folder.path, name);
const rows = at('rows.jsonl');
const ROWS = Array.from(
  { length: 300 },
  (_, i) => `${JSON.stringify({ text: generatedText(i, 30) })}\n`,
).join('');

/** `meanwhile` is called when some units are done. */
function prepare(name: string, workDir: string, meanwhile?: () => void): Promise<StageRun> {
  mkdirSync(at(name));
  let asked = 0;
  return runStage(
    prepareStage,
    { files: ['rows.jsonl'], unit_bytes: 8_000, dedup: { lines: true } },
    {
      outDir: at(name),
      baseDir: folder.path,
      workDir: at(workDir),
      inputs: { tokenizer: at('tokenizer') },
      stop: () => {
        asked += 1;
        if (asked === 4) meanwhile?.();
        return false;
      },
    },
  );
}

beforeAll(async () => {
  writeFileSync(rows, ROWS);
  mkdirSync(at('tokenizer'));
  await runStage(
    tokenizerStage,
    { files: ['rows.jsonl'], vocab_size: 400 },
    { outDir: at('tokenizer'), baseDir: folder.path },
  );
  await prepare('alone', 'alone.work');
});

it.each([
  [
    'written over, as long as before',
    () => writeFileSync(rows, ROWS.replaceAll('e', 'o')),
    'file_unreadable',
    'was changed',
  ],
  [
    'replaced by another of its length',
    () => {
      writeFileSync(at('new'), ROWS.toUpperCase());
      renameSync(at('new'), rows);
    },
    'file_unreadable',
    'was changed',
  ],
  ['cut', () => truncateSync(rows, 20_000), 'file_unreadable', 'was changed'],
  ['added to', () => appendFileSync(rows, '{"text":"more"}\n'), 'file_unreadable', 'was changed'],
  ['removed', () => rmSync(rows), 'file_not_found', 'does not exist'],
  [
    'made a folder',
    () => {
      rmSync(rows);
      mkdirSync(rows);
    },
    'file_unreadable',
    '',
  ],
])(
  'a file that is %s is an error, and once it is back the bytes are the same',
  async (what, change, code, message) => {
    const error = await failure(prepare(`${what}-1`, `${what}.work`, change));
    expect(error).toMatchObject({ code, path: rows });
    expect(error.message).toContain(message);
    rmSync(rows, { recursive: true, force: true });
    writeFileSync(rows, ROWS);
    await prepare(`${what}-2`, `${what}.work`);
    expect(filesOf(at(`${what}-2`))).toEqual(filesOf(at('alone')));
    expect(readFileSync(rows, 'utf8')).toBe(ROWS);
  },
);
