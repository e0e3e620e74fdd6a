/** Equality with datasketch: signatures of the same shingles, and bands and rows for a threshold. */
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { optimalBands } from '../../src/data/dedup/near.ts';
import { loadAddon, type NearOptions } from '../../src/native/addon.ts';
import { textBatch } from '../../src/native/text_batch.ts';
import { generatedText } from '../data/stage_context.ts';

const python = process.env.ANNEAL_PEERS_PYTHON;

function peer<Reply>(request: object): Reply {
  const run = spawnSync(python!, [join(import.meta.dirname, 'datasketch_peer.py')], {
    input: JSON.stringify(request),
    maxBuffer: 1 << 28,
    encoding: 'utf8',
  });
  if (run.status !== 0) throw new Error(run.stderr);
  return JSON.parse(run.stdout) as Reply;
}

/** Words as native/data/words.h has them. */
const wordsOf = (text: string): string[] =>
  text
    .replace(/[A-Z]/g, (c) => c.toLowerCase())
    .match(
      /[\p{Script=Han}\p{Script=Hiragana}\p{Script=Katakana}]|[\p{L}\p{M}\p{N}]+?(?=[^\p{L}\p{M}\p{N}]|[\p{Script=Han}]|$)/gu,
    ) ?? [];

function shinglesOf(text: string, length: number): string[] {
  const words = wordsOf(text);
  const count = Math.max(1, words.length - length + 1);
  return Array.from({ length: count }, (_, i) => words.slice(i, i + length).join(' '));
}

describe.runIf(python)('datasketch', () => {
  it.each(['datasketch', 'datasketch_legacy'] as const)('has the same signatures: %s', async (scheme) => {
    const texts = Array.from({ length: 40 }, (_, i) => `a${generatedText(i + 1, i * i)}`);
    const near: NearOptions = {
      unit: 'word',
      shingle: 3,
      permutations: 100,
      bands: 4,
      rows: 5,
      seed: 1,
      scheme,
      signatures: true,
    };
    const { signatures } = await loadAddon().createFingerprinter({ threads: 2, near }).run(textBatch(texts));
    const theirs = peer<number[][]>({
      work: 'signatures',
      scheme: scheme === 'datasketch' ? 'affine32' : 'legacy',
      permutations: 100,
      shingles: texts.map((text) => shinglesOf(text, 3)),
    });
    theirs.forEach((signature, i) => {
      expect([...signatures.subarray(100 * i, 100 * (i + 1))]).toEqual(signature);
    });
  });

  it('puts bands and rows at the same place', () => {
    const cases = [32, 64, 128, 200].flatMap((permutations) =>
      [0.05, 0.2, 0.35, 0.5, 0.6, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95].map((threshold) => ({
        permutations,
        threshold,
      })),
    );
    const theirs = peer<[number, number][]>({ work: 'bands', cases });
    expect(
      cases.map(({ threshold, permutations }) => {
        const { bands, rows } = optimalBands(threshold, permutations);
        return [bands, rows];
      }),
    ).toEqual(theirs);
  });
});
