/**
 * A preparation in a process of its own, for tests that kill it: `node prepare_process.ts OPTIONS` with settings, work
 * and result folders as JSON.
 */
import { spawn } from 'node:child_process';
import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { prepareStage } from '../../src/stages/prepare.ts';
import { tokenizerStage } from '../../src/stages/tokenizer.ts';
import { generatedText, runStage } from './stage_context.ts';

export interface PrepareProcess {
  settings: object;
  baseDir: string;
  workDir: string;
  outDir: string;
}

const QUIZ = generatedText(9_999, 40);
const FOOTER = 'This very line stands at the end of many pages of the site, and nobody reads it.';

/** Pages that have all that rules remove: copies, near copies, common lines and paragraphs, evaluation text. */
function page(i: number): string {
  const own = generatedText(i % 9 === 8 ? i - 3 : i, 30 + (i % 60));
  if (i % 10 === 3) return `${generatedText(i - 1, 30 + ((i - 1) % 60))} and so on`;
  if (i % 50 === 7) return `${own} ${QUIZ} ${own}`;
  const common = generatedText(20_000 + (i % 40), 12).replaceAll(/\s/g, ' ');
  const paragraph = generatedText(30_000 + (i % 30), 20).replaceAll(/\s/g, ' ');
  return `${own}\n${common}\n\n${paragraph}\n\n${own.slice(0, 20)}${i % 4 === 0 ? `\n${FOOTER}` : ''}`;
}

/** What a preparation works on here, in many units, with settings that use every pass that there is. */
export async function makeData(baseDir: string, rows: number): Promise<object> {
  const lines = (all: readonly string[]) => all.map((row) => `${row}\n`).join('');
  const pages = Array.from({ length: rows }, (_, i) =>
    i % 97 === 5 ? '{"text": 5}' : JSON.stringify({ text: page(i) }),
  );
  writeFileSync(join(baseDir, 'pages.jsonl'), lines(pages));
  // Lines that are too short to be removed as such are whole documents here.
  const notes = Array.from({ length: rows }, (_, i) =>
    generatedText(50_000 + (i % 60), i % 5 === 0 ? 3 : 12),
  );
  writeFileSync(join(baseDir, 'notes.txt'), lines(notes.map((note) => note.replaceAll(/\s/g, ' '))));
  writeFileSync(join(baseDir, 'quiz.jsonl'), JSON.stringify({ prompt: QUIZ, answer: 'yes' }));
  mkdirSync(join(baseDir, 'tokenizer'));
  await runStage(
    tokenizerStage,
    { files: ['notes.txt'], vocab_size: 500 },
    { outDir: join(baseDir, 'tokenizer'), baseDir },
  );
  return {
    sources: [
      { name: 'pages', files: ['pages.jsonl'], weight: 1.5, max_rejected: 0.1 },
      { name: 'notes', files: ['notes.txt'], text_unit: 'line', epochs: 2 },
    ],
    validation_fraction: 0.1,
    unit_bytes: 8_000,
    cleaning: {
      unicode_nfc: true,
      control_characters: true,
      boilerplate_lines: { min_documents: 10 },
      min_document_length: 10,
      pii: 'mask',
    },
    dedup: {
      near: { permutations: 256, bands: 128, rows: 2, verify: true },
      lines: { min_characters: 20 },
      paragraphs: { min_characters: 30 },
      memory_bytes: 1 << 20,
    },
    decontamination: { sets: [{ name: 'quiz', files: ['quiz.jsonl'] }] },
    mixing: { curriculum: [{ until: 0.5, weights: { notes: 0.5 } }, { until: 1 }] },
  };
}

/** Runs it in this process. */
export async function prepareHere({ settings, baseDir, workDir, outDir }: PrepareProcess): Promise<void> {
  // As the store of artifacts does with what a killed worker has left.
  rmSync(outDir, { recursive: true, force: true });
  mkdirSync(outDir);
  const inputs = { tokenizer: join(baseDir, 'tokenizer') };
  await runStage(prepareStage, settings, { outDir, baseDir, workDir, inputs });
}

/** Runs it in a process that is killed after so many milliseconds; true when it was done before. */
export function prepareUnlessKilled(options: PrepareProcess, killAfter: number): Promise<boolean> {
  const child = spawn(process.execPath, [import.meta.filename, JSON.stringify(options)], {
    stdio: ['ignore', 'ignore', 'inherit'],
  });
  const timer = setTimeout(() => child.kill('SIGKILL'), killAfter);
  return new Promise((resolve, reject) => {
    child.on('exit', (code, signal) => {
      clearTimeout(timer);
      if (signal === 'SIGKILL') resolve(false);
      else if (code === 0) resolve(true);
      else reject(new Error(`the preparation ended with ${code}`));
    });
  });
}

/** Kills it until so many kills have struck, then lets it end; `struck` is told where each did. */
export async function prepareWithKills(
  options: PrepareProcess,
  kills: number,
  delay: () => number,
  struck: (place: string) => void,
): Promise<void> {
  for (let left = kills; left > 0; ) {
    if (await prepareUnlessKilled(options, delay())) return;
    left -= 1;
    struck(placeOf(options));
  }
  if (!(await prepareUnlessKilled(options, 2 ** 30))) throw new Error('killed by somebody else');
}

/** How far the killed process had come. */
function placeOf({ workDir, outDir }: PrepareProcess): string {
  const names = (dir: string): string[] => {
    try {
      return readdirSync(dir);
    } catch {
      return [];
    }
  };
  const made = names(outDir);
  if (made.includes('manifest.json')) return 'read back';
  if (made.includes('train')) return 'merge';
  if (made.includes('rejected.jsonl')) return 'finding duplicates';
  const work = names(workDir);
  const pass = ['documents', 'parts'].find((kind) => work.some((name) => name.startsWith(kind)));
  if (pass === undefined) return 'start';
  const units = names(join(workDir, work.find((name) => name.startsWith(pass))!, 'units'));
  return `${units.some((name) => name.endsWith('.partial')) ? 'in a unit' : 'between units'} of ${pass}`;
}

/** Every file below a folder, by its name there. */
export function filesOf(dir: string): Record<string, string> {
  const files = readdirSync(dir, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile());
  return Object.fromEntries(
    files.map(({ parentPath, name }) => {
      const path = join(parentPath, name);
      return [path.slice(dir.length), readFileSync(path, 'base64')];
    }),
  );
}

if (process.argv[1] === import.meta.filename) {
  await prepareHere(JSON.parse(process.argv[2]!) as PrepareProcess);
}
