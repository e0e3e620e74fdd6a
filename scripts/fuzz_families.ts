/** Small vocabularies of every family of tokenizers, as `tokenizer.json` files, for comparison with `tokenizers`. */
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { DataRandom } from '../src/data/random.ts';
import { loadAddon } from '../src/native/addon.ts';
import { textBatch } from '../src/native/text_batch.ts';
import { BYTE_PATTERNS, type BytePattern } from '../src/tokenizer/split_patterns.ts';
import { formatTokenizerJson, tokensBefore } from '../src/tokenizer/tokenizer_json.ts';
import { fuzzText } from './fuzz_texts.ts';

interface Json {
  added_tokens: object[];
  normalizer: unknown;
  pre_tokenizer: Record<string, unknown> | null;
  post_processor: unknown;
  decoder: unknown;
  model: Record<string, unknown> & { vocab: Record<string, number>; merges: unknown[] };
}

const SPECIALS = ['<s>', '</s>', '<|im_end|>'];
const NUM_MERGES = 500;

function trainingTexts(): string[] {
  const random = new DataRandom('families');
  return Array.from({ length: 3000 }, () => fuzzText(random, []));
}

async function trained(pattern: BytePattern, edit: (json: Json) => void = () => {}): Promise<Json> {
  const trainer = loadAddon().createBpeTrainer({ pattern, threads: 1 });
  await trainer.feed(textBatch(trainingTexts()));
  const taken = textBatch(SPECIALS);
  const merges = await trainer.train({ merges: NUM_MERGES, minFrequency: 2, taken });
  const json = JSON.parse(formatTokenizerJson({ pattern, merges, specialTokens: SPECIALS })) as Json;
  edit(json);
  return json;
}

/** Added tokens of all kinds, with ids from `first`. */
function addTokens(json: Json, first: number): void {
  const kinds: [string, object][] = [
    ['  ', { normalized: true }],
    ['    ', { normalized: true }],
    ['<mask>', { lstrip: true, special: true }],
    ['the', { single_word: true }],
    ['<tool>', { rstrip: true }],
    ['<both>', { lstrip: true, rstrip: true, single_word: true }],
    ['é\u0323', { normalized: true }],
    ['中', {}],
    ['<tool>!', {}],
  ];
  const plain = { single_word: false, lstrip: false, rstrip: false, normalized: false, special: false };
  let next = first;
  for (const [content, kind] of kinds) {
    json.added_tokens.push({ ...plain, id: json.model.vocab[content] ?? next++, content, ...kind });
  }
}

/** BPE over characters, with bytes to fall back to; some words of the text have characters that are no tokens. */
async function characters(rules: Partial<Json>): Promise<Json> {
  const trainer = loadAddon().createBpeTrainer({ pattern: 'spaces', space: '▁', prefix: '▁', threads: 1 });
  await trainer.feed(textBatch(trainingTexts()));
  const alphabet = await trainer.alphabet({ coverage: 0.9 });
  const specialTokens = ['<unk>', ...SPECIALS];
  const taken = textBatch(tokensBefore({ specialTokens, alphabet }));
  const merges = await trainer.train({ merges: 150, minFrequency: 2, alphabet, taken });
  const json = JSON.parse(
    formatTokenizerJson({
      ...{ pattern: 'spaces', alphabet, addPrefixSpace: false, specialTokens },
      merges: merges.map((unit) => unit - 1),
    }),
  ) as Json;
  Object.assign(json.model, { unk_token: '<unk>' });
  return { ...json, normalizer: null, ...rules };
}

const replace = { type: 'Replace', pattern: { String: ' ' }, content: '▁' };
const metaspace = (prepend_scheme: string, split: boolean): object => ({
  type: 'Metaspace',
  replacement: '▁',
  prepend_scheme,
  split,
});

/** Writes a folder with a tokenizer.json for each family below `root`; returns their paths. */
export async function makeFamilies(root: string): Promise<string[]> {
  const families: [string, Json][] = [];
  for (const pattern of BYTE_PATTERNS) families.push([pattern, await trained(pattern)]);
  const first = 256 + SPECIALS.length + NUM_MERGES;
  const neox = await trained('gpt2', (json) => {
    json.normalizer = { type: 'NFC' };
    addTokens(json, first);
  });
  const prefixed = await trained('gpt2', (json) => {
    json.pre_tokenizer!.add_prefix_space = true;
    addTokens(json, first);
  });
  const whole = await trained('llama3', ({ model }) => {
    model.ignore_merges = true;
    Object.assign(model.vocab, { Ġqqzz: first, 'ä½łå¥½': first + 1, "'S": first + 2 });
  });
  const normalized = { type: 'Sequence', normalizers: [{ type: 'Prepend', prepend: '▁' }, replace] };
  families.push(
    ['neox', neox],
    ['prefix', prefixed],
    ['qwen-nfc', await trained('qwen2', (json) => Object.assign(json, { normalizer: { type: 'NFC' } }))],
    ['ignore-merges', whole],
    ['llama2', await characters({ normalizer: normalized })],
    ['gemma', await characters({ normalizer: replace })],
    ['metaspace-first', await characters({ pre_tokenizer: metaspace('first', false) as never })],
    ['metaspace-split', await characters({ pre_tokenizer: metaspace('always', true) as never })],
  );
  return families.map(([name, json]) => {
    const folder = join(root, name);
    mkdirSync(folder, { recursive: true });
    writeFileSync(join(folder, 'tokenizer.json'), JSON.stringify(json));
    return folder;
  });
}
