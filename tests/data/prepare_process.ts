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

/** What a preparation works on here: text with copies in it, in many units. */
export async function makeData(baseDir: string, rows: number): Promise<object> {
  const texts = Array.from({ length: rows }, (_, i) => generatedText(i % 9 === 8 ? i - 3 : i, 20 + (i % 60)));
  writeFileSync(join(baseDir, 'rows.jsonl'), texts.map((text) => `${JSON.stringify({ text })}\n`).join(''));
  mkdirSync(join(baseDir, 'tokenizer'));
  await runStage(
    tokenizerStage,
    { files: ['rows.jsonl'], vocab_size: 500 },
    { outDir: join(baseDir, 'tokenizer'), baseDir },
  );
  return {
    sources: [{ name: 'rows', files: ['rows.jsonl'], weight: 1.5 }],
    validation_fraction: 0.1,
    unit_bytes: 8_000,
    mixing: { curriculum: [{ until: 0.5 }, { until: 1 }] },
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
  if (names(outDir).includes('manifest.json')) return 'read back';
  if (names(outDir).includes('train')) return 'merge';
  const [key] = names(workDir);
  if (key === undefined) return 'start';
  const units = names(join(workDir, key, 'units'));
  return units.some((name) => name.endsWith('.partial')) ? 'in a unit' : 'between units';
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
