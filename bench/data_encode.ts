/**
 * Byte-pair encoding of JSONL documents that lie in memory, on one core, against Hugging Face `tokenizers` and
 * `tiktoken` with the same vocabulary. All sides must give the same ids. Times are CPU time of the encoding calls.
 */
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { CORPUS_KINDS, type CorpusKind } from '../scripts/corpus/sources.ts';
import { ROOT } from '../scripts/story/output.ts';
import { readAllRows } from '../src/data/rows.ts';
import { plainRows } from '../src/data/shapes/read.ts';
import { loadAddon } from '../src/native/addon.ts';
import { type TextBatch, TextBatchBuilder } from '../src/native/text_batch.ts';
import { DEFAULT_CHAT_TEMPLATE } from '../src/tokenizer/chat_template.ts';
import { newTokenizerFiles } from '../src/tokenizer/new_tokenizer.ts';
import type { BytePattern } from '../src/tokenizer/split_patterns.ts';
import { loadTokenizer, saveTokenizer } from '../src/tokenizer/tokenizer.ts';
import { corpus, type DataBench, inTurn, measure, peersPython, printRow, type Work } from './data_harness.ts';

/** Vocabularies of the size that the families have. */
const SIZES: Partial<Record<BytePattern, number>> = { gpt2: 50_257, cl100k: 100_277, llama3: 128_256 };
const BATCH_BYTES = 4 << 20;

async function* batches(path: string): AsyncGenerator<TextBatch> {
  let part = new TextBatchBuilder();
  for await (const row of readAllRows(plainRows([path]))) {
    if (row.kind !== 'text') throw new Error(`${path} holds more than text`);
    part.add(row.text);
    if (part.byteLength < BATCH_BYTES) continue;
    yield part.take();
    part = new TextBatchBuilder(); // the batch is kept
  }
  yield part.take();
}

/** Folder of a vocabulary that was trained on some of each kind of corpus; made on first use. */
async function vocabulary(pattern: BytePattern): Promise<string> {
  const size = SIZES[pattern] ?? 128_256;
  const folder = join(ROOT, `.cache/bench/tokenizer-${pattern}-${size}`);
  if (existsSync(join(folder, 'tokenizer.json'))) return folder;
  const trainer = loadAddon().createBpeTrainer({ pattern, threads: 1 });
  for (const kind of CORPUS_KINDS) {
    for await (const batch of batches(corpus(kind, '30M'))) await trainer.feed(batch);
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
    if (!CORPUS_KINDS.includes(kind as CorpusKind)) throw new Error(`no kind of corpus ${kind}`);
    const isFolder = pattern.includes('/');
    const folder = isFolder ? pattern : await vocabulary(pattern as BytePattern);
    const options = { file: corpus(kind as CorpusKind, bytes), folder };
    const side = (name: 'ours' | 'peer', more = {}) => measure(name, 'encode', { ...options, ...more }, 1);
    const ours = (): ReturnType<typeof measure> => side('ours');
    const what = `encoding, ${pattern.split('/').at(-1)}, ${bytes} ${kind}, 1 core`;
    if (peersPython() === undefined) {
      printRow(what, 'MB', 1e6, (await inTurn(Number(rounds), { ours })).ours);
      return;
    }
    const sides: Record<string, typeof ours> = {
      ours,
      tokenizers: () => side('peer', { library: 'tokenizers' }),
    };
    if (!isFolder) sides.tiktoken = () => side('peer', { library: 'tiktoken' });
    const { ours: mine, ...peers } = await inTurn(Number(rounds), sides);
    for (const [library, peer] of Object.entries(peers)) {
      printRow(`${what}, ${library}`, 'MB', 1e6, mine!, peer);
      if (peer.notes?.ids !== mine!.notes?.ids) throw new Error(`${library} gives other ids`);
    }
  },

  async ours({ file, folder }): Promise<Work> {
    const tokenizer = await loadTokenizer(String(folder), { threads: 1 });
    const documents: TextBatch[] = [];
    for await (const batch of batches(String(file))) documents.push(batch);
    const hash = createHash('sha256');
    let seconds = 0;
    let tokens = 0;
    for (const batch of documents) {
      const started = process.cpuUsage();
      const { ids } = await tokenizer.encodeBatch(batch);
      const { user, system } = process.cpuUsage(started);
      seconds += (user + system) / 1e6;
      tokens += ids.length;
      hash.update(ids);
    }
    const amount = documents.reduce((sum, { bytes }) => sum + bytes.length, 0);
    return { seconds, amount, notes: { tokens, ids: hash.digest('hex') } };
  },
};
export default bench;
