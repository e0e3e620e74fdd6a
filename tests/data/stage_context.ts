/** A StageContext for running one stage of data work in a test: real addon, real folders, events collected. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { z } from 'zod';
import { loadAddon } from '../../src/native/addon.ts';
import type { StageContext, StageDefinition } from '../../src/stages/stage.ts';

/** Text that looks like language: words of a fixed vocabulary by Zipf's law, from a seed. */
export function generatedText(seed: number, words: number): string {
  let state = seed * 2654435761 + 1;
  const next = (bound: number): number => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.floor((state / 2 ** 32) * bound);
  };
  const letters = 'etaoinshrdlucmfwypvbgkjqxz';
  const lexicon = Array.from({ length: 400 }, () =>
    Array.from({ length: 1 + next(8) }, () => letters[Math.min(next(26), next(26))]).join(''),
  );
  const odd = [
    "it's",
    'WE’LL',
    'naïve',
    '東京',
    '1984',
    '3.14',
    '🙂',
    '\n',
    '  ',
    'e\u0301',
    "I'D",
    '\r\n',
    '\t',
  ];
  const out: string[] = [];
  for (let i = 0; i < words; i++) {
    out.push(
      next(12) === 0
        ? odd[next(odd.length)]!
        : lexicon[Math.floor(lexicon.length ** (next(1000) / 1000)) - 1]!,
    );
  }
  return out.join(' ');
}

/** A folder that is removed when the test file ends; pass its `remove` to afterAll. */
export function temporaryFolder(): { path: string; remove: () => void } {
  const path = mkdtempSync(join(tmpdir(), 'anneal-data-'));
  return { path, remove: () => rmSync(path, { recursive: true, force: true }) };
}

export interface StageRun {
  events: { kind: string; body: unknown; key: string | undefined }[];
  logs: string[];
  results: Record<string, number | string>;
}

/** Parses the settings and runs the stage into `outDir`, which must exist and be empty. */
export async function runStage<Schema extends z.ZodType>(
  stage: StageDefinition<Schema>,
  settings: unknown,
  options: {
    outDir: string;
    baseDir: string;
    /** Default: a folder beside `outDir`. */
    workDir?: string;
    threads?: number;
    inputs?: Record<string, string>;
    stop?: () => boolean;
  },
): Promise<StageRun> {
  const run: StageRun = { events: [], logs: [], results: {} };
  const context: StageContext<z.output<Schema>> = {
    name: stage.type,
    settings: stage.schema.parse(settings),
    seed: 7,
    threads: options.threads ?? 2,
    addon: loadAddon(),
    baseDir: options.baseDir,
    inputs: Object.fromEntries(
      Object.entries(options.inputs ?? {}).map(([key, path]) => [
        key,
        { hash: 'test', path, type: 'tokenizer' },
      ]),
    ),
    hash: 'test',
    matrixSpeed: 0,
    outDir: options.outDir,
    workDir: options.workDir ?? `${options.outDir}.work`,
    cacheDir: options.baseDir,
    home: options.baseDir,
    emit: (kind, body, key) => void run.events.push({ kind, body, key }),
    checkpointRequested: options.stop ?? (() => false),
    flush: async () => undefined,
    serve: async () => undefined,
    record: (results) => void Object.assign(run.results, results),
    log: (level, text) => void run.logs.push(`${level}: ${text}`),
  };
  await stage.run(context);
  return run;
}
