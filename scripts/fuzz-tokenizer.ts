/**
 * Holds the ids of the native encoder against those of Hugging Face `tokenizers`:
 *
 *   ANNEAL_PEERS_PYTHON=python node scripts/fuzz-tokenizer.ts [--texts N] [--seed S] [--files FILE...] [FOLDER...]
 *
 * for each folder with a tokenizer.json (without folders: small vocabularies of every family): N texts with special
 * tokens found and as many without, the hard ones (every code point, 1 MB of one character, ...), and the given files
 * whole. Ends with status 1 at the first difference, which it prints.
 */
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { DataRandom } from '../src/data/random.ts';
import { loadTokenizer } from '../src/tokenizer/tokenizer.ts';
import { makeFamilies } from './fuzz_families.ts';
import { fuzzText, hardTexts } from './fuzz_texts.ts';
import { firstDifference, TokenizersPeer } from './tokenizers_peer.ts';

const ROUND = 10_000;

const { values, positionals } = parseArgs({
  options: {
    texts: { type: 'string', default: '20000' },
    seed: { type: 'string', default: '1' },
    files: { type: 'string', multiple: true, default: [] },
  },
  allowPositionals: true,
});
const python = process.env.ANNEAL_PEERS_PYTHON;
if (!python) {
  console.error('Set ANNEAL_PEERS_PYTHON to a Python with the tokenizers package.');
  process.exit(2);
}
const made = positionals.length === 0 ? mkdtempSync(join(tmpdir(), 'anneal-fuzz-')) : undefined;
const folders = made === undefined ? positionals : await makeFamilies(made);
const files = values.files.map((file) => readFileSync(file, 'utf8'));
const count = Number(values.texts);
const peer = new TokenizersPeer(python);

async function checkFolder(folder: string): Promise<string | undefined> {
  const path = join(folder, 'tokenizer.json');
  const tokenizer = await loadTokenizer(folder, { threads: 1 });
  const json = JSON.parse(tokenizer.files.get('tokenizer.json')!) as { added_tokens: { content: string }[] };
  const tokens = json.added_tokens.map(({ content }) => content);
  const random = new DataRandom(values.seed);
  for (const specials of [false, true]) {
    for (let done = 0; done < count; done += ROUND) {
      const texts = Array.from({ length: Math.min(ROUND, count - done) }, () => fuzzText(random, tokens));
      const different = await firstDifference(peer, tokenizer, path, specials, texts);
      if (different !== undefined) return different;
    }
    for (const text of [...hardTexts(1 << 20), ...files]) {
      const different = await firstDifference(peer, tokenizer, path, specials, [text]);
      if (different !== undefined) return different;
    }
  }
  console.log(`${folder}: ${2 * count} texts alike`);
  return undefined;
}

for (const folder of folders) {
  const different = await checkFolder(folder);
  if (different === undefined) continue;
  console.error(different);
  process.exit(1); // the folder stays, to look at
}
peer.close();
if (made !== undefined) rmSync(made, { recursive: true });
