/**
 * Byte-pair encoding of JSONL documents that lie in memory, on one core, against Hugging Face `tokenizers` and
 * `tiktoken` with the same vocabulary. All sides must give the same ids. Times are CPU time of the encoding calls.
 */
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { CORPUS_KINDS } from '../scripts/corpus/sources.ts';
import { ROOT } from '../scripts/story/output.ts';
import { loadAddon } from '../src/native/addon.ts';
import { DEFAULT_CHAT_TEMPLATE } from '../src/tokenizer/chat_template.ts';
import { newTokenizerFiles } from '../src/tokenizer/new_tokenizer.ts';
import type { BytePattern } from '../src/tokenizer/split_patterns.ts';
import { loadTokenizer, saveTokenizer } from '../src/tokenizer/tokenizer.ts';
import {
  allTexts,
  compare,
  corpus,
  corpusKind,
  cpuSeconds,
  type DataBench,
  textBatches,
  type Work,
} from './data_harness.ts';

/** Vocabularies of the size that the families have. */
const SIZES: Partial<Record<BytePattern, number>> = { gpt2: 50_257, cl100k: 100_277, llama3: 128_256 };

/** Folder of a vocabulary that was trained on some of each kind of corpus; made on first use. */
async function vocabulary(pattern: BytePattern): Promise<string> {
  const size = SIZES[pattern] ?? 128_256;
  const folder = join(ROOT, `.cache/bench/tokenizer-${pattern}-${size}`);
  if (existsSync(join(folder, 'tokenizer.json'))) return folder;
  const trainer = loadAddon().createBpeTrainer({ pattern, threads: 1 });
  for (const kind of CORPUS_KINDS) {
    for await (const batch of textBatches(corpus({ kind, size: '30M' }))) await trainer.feed(batch);
  }
  const specialTokens = ['<|endoftext|>'];
  const merges = await trainer.train({ merges: size - 256 - specialTokens.length, minFrequency: 2 });
  const files = newTokenizerFiles(
    { pattern, merges, specialTokens },
    { eosToken: specialTokens[0]!, bosToken: undefined, chatTemplate: DEFAULT_CHAT_TEMPLATE },
  );
  mkdirSync(folder, { recursive: true });
  await saveTokenizer({ files }, folder);
  return folder;
}

const bench: DataBench = {
  description:
    'BPE encoding on a core: [PATTERN = llama3 | FOLDER] [KIND = english] [BYTES = 30M] [ROUNDS = 3]',

  async run([pattern = 'llama3', kind = 'english', bytes = '30M', rounds = '3']) {
    const isFolder = pattern.includes('/');
    const folder = isFolder ? pattern : await vocabulary(pattern as BytePattern);
    await compare({
      what: `encoding, ${pattern.split('/').at(-1)}, ${bytes} ${kind}, 1 core`,
      work: 'encode',
      options: { file: corpus({ kind: corpusKind(kind), size: bytes }), folder },
      peers: {
        tokenizers: { library: 'tokenizers' },
        ...(!isFolder && { tiktoken: { library: 'tiktoken' } }),
      },
      rounds: Number(rounds),
      cores: 1,
      equal: 'ids',
    });
  },

  async ours({ file, folder }): Promise<Work> {
    const tokenizer = await loadTokenizer(String(folder), { threads: 1 });
    const { batches, amount } = await allTexts(String(file));
    const hash = createHash('sha256');
    let seconds = 0;
    let tokens = 0;
    for (const batch of batches) {
      const started = cpuSeconds();
      const { ids } = await tokenizer.encodeBatch(batch);
      seconds += cpuSeconds() - started;
      tokens += ids.length;
      hash.update(ids);
    }
    return { seconds, amount, notes: { tokens, ids: hash.digest('hex') } };
  },
};
export default bench;
