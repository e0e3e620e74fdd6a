/** Small vocabularies of every family of tokenizers, as `tokenizer.json` files, for comparison with `tokenizers`. */
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { DataRandom } from '../src/data/random.ts';
import { loadAddon } from '../src/native/addon.ts';
import { textBatch } from '../src/native/text_batch.ts';
import { BYTE_PATTERNS, type BytePattern } from '../src/tokenizer/split_patterns.ts';
import { formatTokenizerJson } from '../src/tokenizer/tokenizer_json.ts';
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
  const merges = await trainer.train({ merges: NUM_MERGES, minFrequency: 2 });
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

/** BPE over characters by counting pairs anew each time, with bytes to fall back to. */
function characterVocabulary(): Pick<Json['model'], 'vocab' | 'merges'> {
  const words = trainingTexts().flatMap((text) => `▁${text.replaceAll(' ', '▁')}`.match(/▁*[^▁]*/gu)!);
  let parts = words.map((word) => [...word]);
  const frequent = new Map<string, number>();
  for (const char of parts.flat()) frequent.set(char, (frequent.get(char) ?? 0) + 1);
  const bytes = Array.from({ length: 256 }, (_, b) => `<0x${b.toString(16).toUpperCase().padStart(2, '0')}>`);
  const tokens = ['<unk>', ...SPECIALS, ...bytes];
  tokens.push(...[...frequent.keys()].filter((char) => frequent.get(char)! > 40 && !tokens.includes(char)));
  const known = new Set(tokens);
  const merges: [string, string][] = [];
  while (merges.length < 150) {
    const pairs = new Map<string, number>();
    for (const word of parts) {
      for (let i = 1; i < word.length; i++) {
        if (!known.has(word[i - 1]!) || !known.has(word[i]!)) continue;
        const pair = `${word[i - 1]}\0${word[i]}`;
        pairs.set(pair, (pairs.get(pair) ?? 0) + 1);
      }
    }
    const [left, right] = [...pairs].reduce((a, b) => (b[1] > a[1] ? b : a))[0].split('\0') as [
      string,
      string,
    ];
    merges.push([left, right]);
    if (!known.has(left + right)) tokens.push(left + right);
    known.add(left + right);
    parts = parts.map((word) => mergedWord(word, left, right));
  }
  return { vocab: Object.fromEntries(tokens.map((token, id) => [token, id])), merges };
}

function mergedWord(word: string[], left: string, right: string): string[] {
  const out: string[] = [];
  for (let i = 0; i < word.length; i++) {
    if (word[i] === left && word[i + 1] === right) out.push(left + word[++i]);
    else out.push(word[i]!);
  }
  return out;
}

const replace = { type: 'Replace', pattern: { String: ' ' }, content: '▁' };
const metaspace = (prepend_scheme: string, split: boolean): object => ({
  type: 'Metaspace',
  replacement: '▁',
  prepend_scheme,
  split,
});

function characters(base: Json, model: object, rules: Partial<Json>): Json {
  return {
    ...base,
    added_tokens: SPECIALS.map((content, i) => ({
      ...{ id: i + 1, content, single_word: false, lstrip: false, rstrip: false },
      ...{ normalized: false, special: true },
    })),
    normalizer: null,
    pre_tokenizer: null,
    decoder: {
      type: 'Sequence',
      decoders: [
        { type: 'Replace', pattern: { String: '▁' }, content: ' ' },
        { type: 'ByteFallback' },
        { type: 'Fuse' },
      ],
    },
    model: { ...base.model, ...model, unk_token: '<unk>', fuse_unk: true, byte_fallback: true },
    ...rules,
  };
}

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
  const model = characterVocabulary();
  const normalized = { type: 'Sequence', normalizers: [{ type: 'Prepend', prepend: '▁' }, replace] };
  families.push(
    ['neox', neox],
    ['prefix', prefixed],
    ['qwen-nfc', await trained('qwen2', (json) => Object.assign(json, { normalizer: { type: 'NFC' } }))],
    ['ignore-merges', whole],
    ['llama2', characters(neox, model, { normalizer: normalized })],
    ['gemma', characters(neox, model, { normalizer: replace })],
    ['metaspace-first', characters(neox, model, { pre_tokenizer: metaspace('first', false) as never })],
    ['metaspace-split', characters(neox, model, { pre_tokenizer: metaspace('always', true) as never })],
  );
  return families.map(([name, json]) => {
    const folder = join(root, name);
    mkdirSync(folder, { recursive: true });
    writeFileSync(join(folder, 'tokenizer.json'), JSON.stringify(json));
    return folder;
  });
}
