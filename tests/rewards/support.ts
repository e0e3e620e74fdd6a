/** Responses for tests of rewards, and scorers opened from settings as a recipe has them. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll } from 'vitest';
import { openScorers, rewardSettings } from '../../src/rewards/index.ts';
import type { Response, Scorer } from '../../src/rewards/scorer.ts';

export const folder = mkdtempSync(join(tmpdir(), 'anneal-rewards-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** A response with a text, and fields of its row. */
export function response(text: string, fields: Record<string, unknown> = {}): Response {
  return {
    prompt: 'Which?',
    messages: undefined,
    promptIds: Int32Array.of(1),
    text,
    ids: Int32Array.from([...text].keys()),
    finish: 'stop',
    fields,
  };
}

/** Opens one scorer. */
export async function open(settings: Record<string, unknown>): Promise<Scorer> {
  const [scorer] = await openScorers(rewardSettings.parse([settings]), folder);
  return scorer!;
}

/** What a scorer says of responses; it is closed again. */
export async function scores(
  settings: Record<string, unknown>,
  responses: readonly Response[],
): Promise<(number | null)[]> {
  const scorer = await open(settings);
  try {
    return await scorer.score(responses);
  } finally {
    await scorer.close();
  }
}

/** Writes a file that may be executed; returns its path. */
export function script(name: string, text: string): string {
  const path = join(folder, name);
  writeFileSync(path, text, { mode: 0o755 });
  return path;
}
