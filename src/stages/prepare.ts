/**
 * Stage `prepare`: from data sources to token shards for training and validation (format: src/data/dataset.ts), beside
 * a copy of the tokenizer. The work is src/data/pipeline: units that are done or not done, then a merge of them; after
 * a kill it goes on with the units that are missing, and ends with the same bits.
 */
import { join } from 'node:path';
import { AnnealError } from '../../proto/errors.ts';
import { runPreparation } from '../data/pipeline/run.ts';
import {
  evaluationFiles,
  type PrepareSettings,
  prepareSchema,
  sourcesOf,
} from '../data/pipeline/settings.ts';
import { listUnits } from '../data/sources/list.ts';
import { loadTokenizer, saveTokenizer } from '../tokenizer/tokenizer.ts';
import { makeDir } from '../util/files.ts';
import { defineStage } from './stage.ts';

/** Bytes of text that one thread works on in a second, on the reference machine, with room to spare. */
const BYTES_PER_THREAD_SECOND = 5e6;

export const prepareStage = defineStage({
  type: 'prepare',
  doc: 'Makes token shards for training and validation from text, conversations and the like.',
  schema: prepareSchema,
  inputs: { tokenizer: { types: ['tokenizer'] } },
  files: allFiles,

  async plan({ settings, baseDir, threads }) {
    let bytes = 0;
    let mixed = 0;
    const files = new Set<string>();
    for (const source of sourcesOf(settings)) {
      for (const unit of await listUnits(source.files, source, baseDir)) {
        // Compressed text grows to about four times its size.
        const text = unit.bytes * (unit.compression === 'none' ? 1 : 4);
        bytes += text;
        mixed += text * Math.max(1, source.weight);
        files.add(unit.path);
      }
    }
    // A token stands for three bytes of text or more and takes two or four: once in its unit, and where it is mixed in.
    return {
      memoryBytes: 512 << 20,
      diskBytes: Math.ceil(bytes * 1.5 + (settings.part === undefined ? mixed * 1.4 : 0)),
      seconds: 2 + bytes / (BYTES_PER_THREAD_SECOND * threads),
      detail: { files: files.size, bytes },
    };
  },

  async run(context) {
    const { settings, outDir, threads } = context;
    const from = context.inputs.tokenizer!.path;
    const tokenizer = await loadTokenizer(from, { threads });
    if (settings.append_eos && tokenizer.eosId === undefined) {
      throw new AnnealError('tokenizer_invalid', `The tokenizer in ${from} names no EOS token.`, {
        path: from,
        hint: 'Set eos_token in its tokenizer_config.json, or append_eos: false.',
      });
    }
    await makeDir(join(outDir, 'tokenizer'));
    await saveTokenizer(tokenizer, join(outDir, 'tokenizer'));
    await runPreparation(context, tokenizer);
  },
});

async function allFiles(settings: PrepareSettings, baseDir: string): Promise<string[]> {
  const files = new Set<string>();
  for (const source of sourcesOf(settings)) {
    for (const { path } of await listUnits(source.files, source, baseDir)) files.add(path);
  }
  return [...files, ...(await evaluationFiles(settings, baseDir))];
}
