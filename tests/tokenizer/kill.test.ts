/** Tokenizers whose training was killed at random moments, again and again, end with the same bytes. */
import { readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { generatedText } from '../data/stage_context.ts';
import { type Fixture, folderContent, makeFixture, runHere } from '../training/fixture.ts';
import { keptFixtures } from '../training/fixtures.ts';
import { runWithKills } from '../training/kills.ts';

const RECIPE = `name: tiny
threads: 2
stages:
  bytes: { type: tokenizer, files: [text.jsonl], vocab_size: 4000, max_words: 1000 }
  more: { type: tokenizer, files: [text.jsonl, corpus.jsonl], vocab_size: 5000, base: bytes }
  characters: { type: tokenizer, files: [text.jsonl], vocab_size: 4000, byte_fallback: true, compare_with: { more: more } }
`;
const KILLS = 5;

function makeTexts(): Fixture {
  const fixture = makeFixture();
  const rows = Array.from({ length: 800 }, (_, i) => `${JSON.stringify({ text: generatedText(i, 200) })}\n`);
  writeFileSync(join(fixture.dir, 'text.jsonl'), rows.join(''));
  return fixture;
}

/** The files of the three tokenizers, by the place of their artifact. */
function made({ home }: Fixture): Map<string, Buffer>[] {
  const artifacts = join(home, 'artifacts');
  return readdirSync(artifacts)
    .sort()
    .map((name) => folderContent(join(artifacts, name)));
}

const fixture = keptFixtures(makeTexts);

it('ends with the bytes of one that was left alone', async () => {
  const [alone, killed] = [fixture(), fixture()];
  expect((await runHere(alone, RECIPE)).outcome()).toEqual({ outcome: 'succeeded', error: null });
  const hits = await runWithKills(killed, RECIPE, KILLS, 800, 9);
  expect(hits.length).toBeGreaterThan(0);
  expect(made(alone)).toHaveLength(3);
  expect(made(killed)).toEqual(made(alone));
});
