/**
 * Stage `prepare`: reads text and JSONL, tokenises it on all threads, and writes token shards for training and
 * validation (format: src/data/dataset.ts) beside a copy of the tokenizer.
 *
 * Documents are in the order of the sources; training shuffles them each epoch. Mixing: a source of weight 2 gives
 * each document twice, of weight 0.5 half of its documents, chosen by content and seed. It keeps no partial work:
 * after a kill it starts again and ends with the same bits.
 */
import { mkdir, stat } from 'node:fs/promises';
import { isAbsolute, join, relative } from 'node:path';
import { z } from 'zod';
import { AnnealError } from '../../proto/errors.ts';
import { type Manifest, openTokenDataset, type Split, verifyTokenDataset } from '../data/dataset.ts';
import { resolveFiles } from '../data/files.ts';
import { copiesFor, splitFraction } from '../data/mix.ts';
import { type Row, readAllRows } from '../data/rows.ts';
import { stageRows } from '../data/shapes/read.ts';
import { rowSettings } from '../data/shapes/settings.ts';
import { SplitWriter, tokenBytesFor } from '../data/shards.ts';
import { textBatch } from '../native/text_batch.ts';
import { encodeChat } from '../tokenizer/chat.ts';
import { loadTokenizer, saveTokenizer, type Tokenizer } from '../tokenizer/tokenizer.ts';
import { writeFileAtomic } from '../util/files.ts';
import { hashFile } from '../util/hash.ts';
import { defineStage, type StageContext, StageStopped } from './stage.ts';

const sourceSchema = rowSettings.extend({
  files: z.array(z.string().min(1)).min(1).describe('Data files: names or glob patterns.'),
  weight: z.number().positive().max(1000).default(1).describe('How often each document is taken.'),
});
type Source = z.output<typeof sourceSchema>;

const schema = rowSettings.extend({
  tokenizer: z.string().default('tokenizer').describe('Stage that made the tokenizer, or a folder with one.'),
  files: z.array(z.string().min(1)).min(1).optional().describe('The data, when there is one source.'),
  sources: z.array(sourceSchema).min(1).optional().describe('The data, when several are mixed.'),
  validation_fraction: z
    .number()
    .min(0)
    .max(0.5)
    .default(0.01)
    .describe('Share of the documents, chosen by a hash of their content, that is kept for validation.'),
  append_eos: z.boolean().default(true).describe('Ends every document with the EOS token.'),
  max_documents: z.int().min(1).optional().describe('Stop after this many documents, for a quick trial.'),
});
type Settings = z.output<typeof schema>;

/** Documents are encoded in parts of about this size. */
const PART_BYTES = 4 << 20;
const PART_DOCUMENTS = 1 << 14;
const NUM_SAMPLES = 16;
/** Bytes of text that one thread encodes in a second, on the reference machine, with room to spare. */
const BYTES_PER_THREAD_SECOND = 5e6;

export const prepareStage = defineStage({
  type: 'prepare',
  doc: 'Tokenises text into shards for training and validation.',
  schema,
  inputs: { tokenizer: { types: ['tokenizer'] } },
  files: allFiles,

  async plan({ settings, baseDir, threads }) {
    let bytes = 0;
    let files = 0;
    for (const source of sourcesOf(settings)) {
      for (const file of await resolveFiles(source.files, baseDir)) {
        bytes += (await stat(file)).size * source.weight;
        files += 1;
      }
    }
    // A token stands for three bytes of text or more, and takes two or four.
    return {
      memoryBytes: 512 << 20,
      diskBytes: Math.ceil(bytes * 1.5),
      seconds: 2 + bytes / (BYTES_PER_THREAD_SECOND * threads),
      detail: { files, bytes },
    };
  },

  async run(context) {
    const { settings, outDir } = context;
    const from = context.inputs.tokenizer!.path;
    const tokenizer = await loadTokenizer(from, { threads: context.threads });
    if (settings.append_eos && tokenizer.eosId === undefined) {
      throw new AnnealError('tokenizer_invalid', `The tokenizer in ${from} names no EOS token.`, {
        path: from,
        hint: 'Set eos_token in its tokenizer_config.json, or append_eos: false.',
      });
    }
    await mkdir(join(outDir, 'tokenizer'));
    await saveTokenizer(tokenizer, join(outDir, 'tokenizer'));
    const preparation = new Preparation(context, tokenizer);
    try {
      await preparation.run();
    } finally {
      await preparation.close();
    }
  },
});

/** The one source that `files` names, or the list of them. */
function sourcesOf(settings: Settings): Source[] {
  const { files, sources, ...reading } = settings;
  if ((files === undefined) === (sources === undefined)) {
    throw new AnnealError('recipe_invalid', 'A prepare stage needs either files or sources.', {
      path: 'sources',
      hint: 'Name files, or a list of sources with files and weight each.',
    });
  }
  return sources ?? [{ ...reading, files: files!, weight: 1 }];
}

async function allFiles(settings: Settings, baseDir: string): Promise<string[]> {
  const files = await Promise.all(sourcesOf(settings).map((source) => resolveFiles(source.files, baseDir)));
  return files.flat();
}

/** A row of the current part: its text, or ids if it had to be rendered. */
interface Entry {
  row: Row;
  source: number;
  content: Buffer;
  ids: Int32Array | undefined;
  copies: number;
  split: Split;
}

class Preparation {
  readonly #context: StageContext<Settings>;
  readonly #tokenizer: Tokenizer;
  readonly #sources: Manifest['sources'] = [];
  #part: Entry[] = [];
  #partBytes = 0;
  #documents = 0;
  #bytesRead = 0;
  /** Bytes to read in all. */
  #bytes = 0;
  #writers: Record<Split, SplitWriter> | undefined;
  /** Ids of a few documents, for the check of what is saved. */
  readonly #samples: { split: Split; document: number; ids: Int32Array }[] = [];

  constructor(context: StageContext<Settings>, tokenizer: Tokenizer) {
    this.#context = context;
    this.#tokenizer = tokenizer;
  }

  async run(): Promise<void> {
    const { settings, outDir, name, baseDir } = this.#context;
    const { vocabSize, hash } = this.#tokenizer;
    this.#writers = {
      train: await SplitWriter.create(outDir, 'train', vocabSize),
      validation: await SplitWriter.create(outDir, 'validation', vocabSize),
    };
    for (const file of await allFiles(settings, baseDir)) this.#bytes += (await stat(file)).size;
    for (const source of sourcesOf(settings)) await this.#readSource(source);
    await this.#flush();
    const splits = {
      train: await this.#writers.train.finish(),
      validation: await this.#writers.validation.finish(),
    };
    if (splits.train.tokens === 0) {
      throw new AnnealError('data_empty', `The sources of stage ${name} give no training tokens.`, {
        path: 'files',
        hint: 'Name files with text in them, or lower validation_fraction.',
      });
    }
    const manifest: Manifest = {
      format: 'anneal-tokens',
      version: 1,
      tokenizer_hash: hash,
      vocab_size: vocabSize,
      token_bytes: tokenBytesFor(vocabSize),
      sources: this.#sources.map((entry) => ({ ...entry, file: shortPath(entry.file, baseDir) })),
      splits,
    };
    await writeFileAtomic(join(outDir, 'manifest.json'), `${JSON.stringify(manifest, null, 2)}\n`);
    await this.#readBack();
    this.#context.record({
      documents: this.#documents,
      train_tokens: splits.train.tokens,
      validation_tokens: splits.validation.tokens,
      tokenizer: hash,
    });
  }

  /** Closes what a failure left open. */
  async close(): Promise<void> {
    await this.#writers?.train.close();
    await this.#writers?.validation.close();
  }

  async #readSource(source: Source): Promise<void> {
    const { baseDir, settings } = this.#context;
    const files = await resolveFiles(source.files, baseDir);
    const first = this.#sources.length;
    for (const file of files)
      this.#sources.push({ file, sha256: await hashFile(file), weight: source.weight });
    const before = this.#bytesRead;
    const rows = stageRows({ ...this.#context, settings: source }, source.files, 'files');
    for await (const row of readAllRows(rows)) {
      if (this.#documents === settings.max_documents) return;
      this.#bytesRead = before + row.bytesRead;
      this.#add(row, first + files.indexOf(row.unit.path), source.weight);
      if (this.#partBytes >= PART_BYTES || this.#part.length >= PART_DOCUMENTS) await this.#flush();
    }
  }

  #add(row: Row, source: number, weight: number): void {
    const { seed, settings } = this.#context;
    const content = rowContent(row);
    const validation = splitFraction(content) < settings.validation_fraction;
    const copies = copiesFor(weight, content, seed);
    this.#documents += 1;
    this.#partBytes += content.length;
    this.#part.push({
      row,
      source,
      content,
      ids: row.kind === 'text' ? undefined : this.#renderedIds(row),
      copies: validation ? Math.min(1, copies) : copies,
      split: validation ? 'validation' : 'train',
    });
  }

  /** Ids of a conversation up to the end of its last answer, or of a prompt and its completion. */
  #renderedIds(row: Exclude<Row, { kind: 'text' }>): Int32Array {
    if (row.kind === 'completion') {
      return concat(this.#tokenizer.encode(row.prompt), this.#tokenizer.encode(row.completion));
    }
    const { ids, scored } = encodeChat(this.#tokenizer, row.messages, { tools: row.tools });
    return row.messages.at(-1)!.role === 'assistant' ? ids.subarray(0, scored.lastIndexOf(1) + 1) : ids;
  }

  /** Encodes and writes the documents that were gathered. */
  async #flush(): Promise<void> {
    const { name, settings } = this.#context;
    if (this.#context.checkpointRequested()) throw new StageStopped();
    const part = this.#part;
    this.#part = [];
    this.#partBytes = 0;
    const plain = part.filter(({ ids, copies }) => ids === undefined && copies > 0);
    const encoded = await this.#tokenizer.encodeBatch(textBatch(plain.map(({ content }) => content)));
    let start = 0;
    for (const [i, entry] of plain.entries()) {
      entry.ids = encoded.ids.subarray(start, encoded.ends[i]);
      start = encoded.ends[i]!;
    }
    for (const entry of part)
      await this.#write(entry, settings.append_eos ? this.#tokenizer.eosId : undefined);
    const { train, validation } = this.#writers!;
    this.#context.emit(
      'progress',
      {
        stage: name,
        done: this.#bytesRead,
        total: this.#bytes,
        unit: 'byte',
        metrics: { documents: this.#documents, tokens: train.tokens + validation.tokens },
      },
      `${name}/document/${this.#documents}`,
    );
  }

  async #write(entry: Entry, eos: number | undefined): Promise<void> {
    if (entry.copies === 0 || entry.ids === undefined) return;
    const ids =
      eos === undefined || entry.ids.at(-1) === eos ? entry.ids : concat(entry.ids, Int32Array.of(eos));
    const writer = this.#writers![entry.split];
    // Documents at growing distances, so that the samples are spread without knowing how many will come.
    const document = writer.documents;
    if (this.#samples.length < NUM_SAMPLES && document >= 2 ** this.#samples.length - 1) {
      this.#samples.push({ split: entry.split, document, ids: ids.slice() });
    }
    for (let copy = 0; copy < entry.copies; copy++) await writer.add(ids, entry.source, entry.row.line);
  }

  /** Opens what was written, checks every checksum, and compares sample documents. */
  async #readBack(): Promise<void> {
    const { outDir } = this.#context;
    await verifyTokenDataset(outDir);
    for (const split of ['train', 'validation'] as const) {
      const dataset = openTokenDataset(outDir, split);
      try {
        for (const sample of this.#samples.filter((s) => s.split === split)) {
          const saved = dataset.document(sample.document);
          if (saved.length === sample.ids.length && saved.every((id, i) => id === sample.ids[i])) continue;
          throw new AnnealError(
            'readback_failed',
            `Document ${sample.document} of ${outDir}/${split} reads back as other ids.`,
            {
              path: outDir,
            },
          );
        }
      } finally {
        dataset.close();
      }
    }
  }
}

function rowContent(row: Row): Buffer {
  if (row.kind === 'text') return row.text;
  return Buffer.from(JSON.stringify(row.kind === 'messages' ? row.messages : [row.prompt, row.completion]));
}

function concat(first: Int32Array, second: Int32Array): Int32Array {
  const joined = new Int32Array(first.length + second.length);
  joined.set(first);
  joined.set(second, first.length);
  return joined;
}

/** Relative to the recipe where the file lies beside or below it. */
function shortPath(file: string, baseDir: string): string {
  const short = relative(baseDir, file);
  return short.startsWith('..') || isAbsolute(short) ? file : short;
}
