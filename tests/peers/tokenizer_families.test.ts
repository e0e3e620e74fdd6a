/**
 * Ids and text of tokenizers of every family equal those of Hugging Face `tokenizers`, on texts drawn from a seed:
 * those that the native encoder runs, and those that the package of the same name does. scripts/fuzz-tokenizer.ts
 * does the same on more and harder texts.
 */
import { spawnSync } from 'node:child_process';
import { mkdirSync } from 'node:fs';
import { basename, join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { makeFamilies } from '../../scripts/fuzz_families.ts';
import { fuzzText } from '../../scripts/fuzz_texts.ts';
import { firstDifference, TokenizersPeer } from '../../scripts/tokenizers_peer.ts';
import { DataRandom } from '../../src/data/random.ts';
import { loadTokenizer, type Tokenizer } from '../../src/tokenizer/tokenizer.ts';
import { temporaryFolder } from '../data/stage_context.ts';
import { trainingDocuments } from '../tokenizer/fixture.ts';
import { fuzzTexts, hasPeer } from './tokenizer_peer.ts';

const python = process.env.ANNEAL_PEERS_PYTHON!;

describe.skipIf(!hasPeer)('tokenizers of every family', () => {
  const folder = temporaryFolder();
  afterAll(folder.remove);
  let peer: TokenizersPeer;
  beforeAll(() => {
    peer = new TokenizersPeer(python);
  });
  afterAll(() => peer?.close());

  async function difference(dir: string, count: number): Promise<[Tokenizer, string | undefined]> {
    const path = join(dir, 'tokenizer.json');
    const tokenizer = await loadTokenizer(dir, { threads: 1 });
    const json = JSON.parse(tokenizer.files.get('tokenizer.json')!) as {
      added_tokens: { content: string }[];
    };
    const tokens = json.added_tokens.map(({ content }) => content);
    const random = new DataRandom(basename(dir));
    for (const specials of [false, true]) {
      const texts = Array.from({ length: count }, () => fuzzText(random, tokens));
      const found = await firstDifference(peer, tokenizer, path, specials, texts);
      if (found !== undefined) return [tokenizer, found];
    }
    return [tokenizer, undefined];
  }

  it('have the same ids where native code runs them', async () => {
    const families = join(folder.path, 'families');
    for (const dir of await makeFamilies(families)) {
      const [tokenizer, found] = await difference(dir, 300);
      expect(found).toBeUndefined();
      expect(() => tokenizer.vocabularyBytes()).not.toThrow();
    }
  });

  it('have the same ids and text where the package runs them', async () => {
    const kinds = join(folder.path, 'kinds');
    mkdirSync(kinds);
    const texts = fuzzTexts(200);
    const random = new DataRandom('kinds');
    const documents = [...trainingDocuments(), ...Array.from({ length: 300 }, () => fuzzText(random, []))];
    const run = spawnSync(python, [join(import.meta.dirname, 'tokenizer_kinds.py')], {
      input: JSON.stringify({
        folder: kinds,
        documents: documents.filter((text) => text.trim() !== ''),
        texts,
      }),
      maxBuffer: 1 << 28,
      encoding: 'utf8',
    });
    expect(run.status, run.stderr).toBe(0);
    const theirs = JSON.parse(run.stdout) as Record<string, { text: string[]; plain: string[] }>;
    expect(Object.keys(theirs).length).toBe(6);
    for (const [kind, { text, plain }] of Object.entries(theirs)) {
      const [tokenizer, found] = await difference(join(kinds, kind), 300);
      expect(found).toBeUndefined();
      expect(() => tokenizer.vocabularyBytes()).toThrow(
        expect.objectContaining({ code: 'constraint_invalid' }),
      );
      const rows = texts.map((each) => tokenizer.encodeWithSpecials(each));
      expect(rows.map((ids) => tokenizer.decode(ids))).toEqual(text);
      expect(rows.map((ids) => tokenizer.decode(ids, { skipSpecials: true }))).toEqual(plain);
      const streamed = rows.map((ids) => {
        const stream = tokenizer.decodeStream();
        return [...ids].map((id) => stream.push(id)).join('') + stream.end();
      });
      expect(streamed).toEqual(text);
    }
  });
});
