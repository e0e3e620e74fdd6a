/**
 * The published vocabularies of GPT-2, cl100k and Llama 3 as folders with a `tokenizer.json`, from npm packages that
 * hold them: js-tiktoken has the ranks of OpenAI's tokens, llama3-tokenizer-js the merges of Meta's file (both MIT; the
 * vocabulary itself is under Llama 3's community licence). They are installed for the benchmark and go nowhere else.
 */
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { ROOT } from '../scripts/story/output.ts';
import { installPackages } from '../scripts/story/packages.ts';
import { UNIT_BYTES, UNIT_CHARS } from '../src/tokenizer/byte_level.ts';
import { writePreTokenizer } from '../src/tokenizer/split_patterns.ts';

export const VOCABULARIES = ['gpt2', 'cl100k', 'llama3'] as const;
export type VocabularyName = (typeof VOCABULARIES)[number];

const PACKAGES = { 'js-tiktoken': '1.0.21', 'llama3-tokenizer-js': '1.2.0' };
const FOLDER = join(ROOT, '.cache/bench/vocabularies');
const packageFile = (path: string): string => join(FOLDER, 'node_modules', path);

interface Vocabulary {
  tokens: Map<string, number>;
  merges: [string, string][];
}

const CHARS = new Map(UNIT_BYTES.map((byte, unit) => [byte, UNIT_CHARS[unit]!]));
const written = (bytes: Iterable<number>): string => Array.from(bytes, (byte) => CHARS.get(byte)!).join('');

/** The last merge of a token: its text merged by the ranks below its own until two tokens are left. */
function lastMerge(token: string, tokens: ReadonlyMap<string, number>): [string, string] {
  const parts = [...token];
  while (parts.length > 2) {
    let best = tokens.get(token)!;
    let place = -1;
    for (let i = 1; i < parts.length; i++) {
      const rank = tokens.get(parts[i - 1]! + parts[i]!);
      if (rank !== undefined && rank < best) [best, place] = [rank, i];
    }
    if (place < 0) throw new Error(`no merge leads to ${token}`);
    parts.splice(place - 1, 2, parts[place - 1]! + parts[place]!);
  }
  return [parts[0]!, parts[1]!];
}

/** Tokens by rank, each line `! FIRST_RANK BASE64 BASE64 ...`. */
async function openai(name: string): Promise<Vocabulary> {
  const file = pathToFileURL(packageFile(`js-tiktoken/dist/ranks/${name}.js`)).href;
  const { default: encoding } = (await import(file)) as { default: { bpe_ranks: string } };
  const tokens = new Map<string, number>();
  for (const line of encoding.bpe_ranks.split('\n').filter((text) => text !== '')) {
    const [, first, ...encoded] = line.split(' ');
    for (const [i, token] of encoded.entries()) {
      tokens.set(written(Buffer.from(token, 'base64')), Number(first) + i);
    }
  }
  const merged = [...tokens.keys()].filter((token) => [...token].length > 1);
  merged.sort((a, b) => tokens.get(a)! - tokens.get(b)!);
  return { tokens, merges: merged.map((token) => lastMerge(token, tokens)) };
}

/** Tokens as lines in base64, and merges as pairs of 17-bit places among them, in base64 as well. */
function llama3(): Vocabulary {
  const source = readFileSync(packageFile('llama3-tokenizer-js/src/data-converted.js'), 'utf8');
  const [lines, packed] = Array.from(source.matchAll(/"([A-Za-z0-9+/=]{1000,})"/g), ([, text]) =>
    Buffer.from(text!, 'base64'),
  ) as [Buffer, Buffer];
  const names = lines.toString().split('\n');
  const places: number[] = [];
  let bits = 0;
  let count = 0;
  for (const byte of packed) {
    bits = (bits << 8) | byte;
    count += 8;
    if (count < 17) continue;
    count -= 17;
    places.push(bits >> count);
    bits &= (1 << count) - 1;
  }
  const merges: [string, string][] = [];
  for (let i = 0; i + 1 < places.length; i += 2) {
    merges.push([names[places[i]!]!, names[places[i + 1]!]!]);
  }
  return { tokens: new Map(names.map((token, id) => [token, id])), merges };
}

/** Folder of a published vocabulary, without its special tokens; made on first use. */
export async function publishedVocabulary(name: VocabularyName): Promise<string> {
  const folder = join(FOLDER, name);
  const path = join(folder, 'tokenizer.json');
  if (existsSync(path)) return folder;
  await installPackages(FOLDER, PACKAGES);
  const { tokens, merges } =
    name === 'llama3' ? llama3() : await openai(name === 'gpt2' ? 'gpt2' : 'cl100k_base');
  const byteLevel = { type: 'ByteLevel', add_prefix_space: false, trim_offsets: true, use_regex: true };
  const model = {
    type: 'BPE',
    ignore_merges: name === 'llama3',
    vocab: Object.fromEntries(tokens),
    merges,
  };
  mkdirSync(folder, { recursive: true });
  const file = { version: '1.0', pre_tokenizer: writePreTokenizer(name), decoder: byteLevel, model };
  writeFileSync(path, JSON.stringify({ added_tokens: [], normalizer: null, post_processor: null, ...file }));
  return folder;
}
