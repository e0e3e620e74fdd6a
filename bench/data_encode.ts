/**
 * Byte-pair encoding of JSONL documents that lie in memory, on one core, against Hugging Face `tokenizers` and
 * `tiktoken` with the same published vocabulary. All sides must give the same ids. Times are CPU time of the encoding calls.
 */
import { createHash } from 'node:crypto';
import { CORPUS_KINDS } from '../scripts/corpus/sources.ts';
import { loadTokenizer } from '../src/tokenizer/tokenizer.ts';
import {
  allTexts,
  compare,
  corpus,
  corpusKind,
  cpuSeconds,
  type DataBench,
  type Work,
} from './data_harness.ts';
import { publishedVocabulary, VOCABULARIES, type VocabularyName } from './data_vocabularies.ts';

const bench: DataBench = {
  description:
    'BPE encoding on a core: [VOCABULARIES = gpt2,cl100k,llama3 | FOLDER] [KINDS = english,code,chinese] [BYTES = 8M] [ROUNDS = 3]',

  async run([vocabularies = VOCABULARIES.join(), kinds = CORPUS_KINDS.join(), bytes = '8M', rounds = '3']) {
    for (const vocabulary of vocabularies.split(',')) {
      const isFolder = vocabulary.includes('/');
      const folder = isFolder ? vocabulary : await publishedVocabulary(vocabulary as VocabularyName);
      for (const kind of kinds.split(',')) {
        await compare({
          what: `encoding, ${vocabulary.split('/').at(-1)}, ${bytes} ${kind}, 1 core`,
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
      }
    }
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
