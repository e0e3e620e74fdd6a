/**
 * Stage `tokenizer`: trains a BPE vocabulary, over bytes or characters, on text and writes the files that `transformers` loads.
 * Merges are equal to those of Hugging Face's BpeTrainer on the same documents. It keeps no partial work: after a
 * kill it starts again and ends with the same bits.
 */
import { stat } from 'node:fs/promises';
import { join } from 'node:path';
import { AnnealError } from '../../proto/errors.ts';
import type { EventBody } from '../../proto/events.ts';
import { resolveFiles } from '../data/files.ts';
import type { Addon, BpeTrainer } from '../native/addon.ts';
import { compressionReport } from '../tokenizer/compression.ts';
import { type CountedText, countWords } from '../tokenizer/count_words.ts';
import type { Sample } from '../tokenizer/samples.ts';
import { loadTokenizer, saveTokenizer, type Tokenizer } from '../tokenizer/tokenizer.ts';
import { type MergePlan, planExtension, planNew } from '../tokenizer/training_plan.ts';
import {
  checkSettings,
  OWN_NAME,
  plainTurnTokens,
  type TokenizerSettings,
  tokenizerSettings,
} from '../tokenizer/training_settings.ts';
import { exists, readJson, writeFileAtomic } from '../util/files.ts';
import { defineStage, type StageContext, StageStopped } from './stage.ts';

const REPORT_FILE = 'report.json';

type Context = StageContext<TokenizerSettings>;

/** Bytes of text whose words one thread counts in a second, on the reference machine, with room to spare. */
const BYTES_PER_THREAD_SECOND = 20e6;
/** The process itself, and what reading and samples take. */
const FIXED_BYTES = 256 << 20;
/** Memory of a distinct word in the trainer, of the long ones of Chinese. */
const WORD_BYTES = 128;
/**
 * Distinct words, more than seen in practice: in short text one in 40 bytes; beyond 100 MB they grow with a power of
 * its length.
 */
function mostWords(bytes: number): number {
  return Math.min(bytes / 40, 2.5e6 * (bytes / 1e8) ** 0.6);
}

export const tokenizerStage = defineStage({
  type: 'tokenizer',
  doc: 'Trains a BPE tokenizer, over bytes or characters, on text.',
  schema: tokenizerSettings,
  inputs: {
    base: { types: ['tokenizer'], optional: true },
    compare_with: { types: ['tokenizer'], optional: true },
  },
  files: (settings, baseDir) => resolveFiles(settings.files, baseDir, settings),

  async plan({ settings, baseDir, threads }) {
    checkSettings(settings);
    const files = await resolveFiles(settings.files, baseDir, settings);
    let bytes = 0;
    for (const file of files) bytes += (await stat(file)).size;
    const words = Math.min(settings.max_words ?? Number.POSITIVE_INFINITY, mostWords(bytes));
    return {
      memoryBytes: FIXED_BYTES + Math.ceil(WORD_BYTES * words),
      diskBytes: settings.vocab_size * 100,
      seconds: 2 + bytes / (BYTES_PER_THREAD_SECOND * threads),
      detail: { files: files.length, bytes },
    };
  },

  async run(context) {
    const { settings, name, outDir, inputs } = context;
    checkSettings(settings);
    const plain = plainTurnTokens(settings);
    if (plain.length > 0) {
      warn(
        context,
        'template',
        `The chat template writes ${plain.join(', ')}, which no special token is: it becomes several tokens of ordinary text. Name it in special_tokens.`,
      );
    }
    const plan =
      inputs.base === undefined ? planNew(settings) : await planExtension(inputs.base.path, settings);
    const trainer = context.addon.createBpeTrainer({
      ...plan.text,
      threads: context.threads,
      ...(settings.max_words === undefined ? {} : { maxWords: settings.max_words }),
    });
    const text = await countWords(trainer, context);
    const distinct = await tellWords(trainer, context);
    const merging = await plan.begin(trainer);
    const wanted = settings.vocab_size - merging.fixed;
    const merges = await train(trainer, merging, wanted, context);
    const found = merges.length / 2;
    context.emit(
      'progress',
      { stage: name, done: found, total: wanted, unit: 'merge', metrics: {} },
      `${name}/merges`,
    );
    if (found < wanted) {
      warn(
        context,
        'vocabulary',
        `The text has only ${found} pairs that occur ${settings.min_frequency} times: the vocabulary has ${merging.fixed + found} tokens, not ${settings.vocab_size}.`,
      );
    }
    await saveTokenizer({ files: merging.files(merges) }, outDir);
    const tokenizer = await readBack(outDir, merging, merges, [...text.samples.values()], context.addon);
    await report(tokenizer, text, context);
    context.record({
      vocabulary: tokenizer.vocabSize,
      merges: found,
      documents: text.documents,
      bytes: text.bytes,
      distinct_words: distinct,
    });
  },

  async retell(artifact, { name, emit }) {
    const path = join(artifact.path, REPORT_FILE);
    if (!(await exists(path))) return;
    const table = (await readJson(path, 'artifact_corrupt')) as EventBody<'report'>;
    emit('report', { ...table, stage: name }, `${name}/report`);
  },
});

function warn({ emit, name: stage }: Context, about: string, text: string): void {
  emit('notice', { stage, level: 'warning', text }, `${stage}/${about}`);
}

/** The number of distinct words; says what became of rare ones. */
async function tellWords(trainer: BpeTrainer, context: Context): Promise<number> {
  const { distinct, prunings, droppedBelow } = await trainer.totals();
  if (prunings > 0) {
    warn(
      context,
      'words',
      `The text has more distinct words than max_words: ${prunings} times, words that had occurred less than up to ${droppedBelow} times by then were dropped. Counts are approximate: a word may have occurred up to ${prunings * (droppedBelow - 1)} times more than it was counted, and merges may differ from those of all words.`,
    );
  }
  return distinct;
}

async function train(
  trainer: BpeTrainer,
  { from }: MergePlan,
  merges: number,
  context: Context,
): Promise<Int32Array> {
  const { min_frequency, prune_below } = context.settings;
  const stop = new AbortController();
  const poll = setInterval(() => {
    if (context.checkpointRequested()) stop.abort();
  }, 200);
  try {
    const result = await trainer.train({
      merges,
      minFrequency: min_frequency,
      minWordCount: prune_below,
      ...from,
      signal: stop.signal,
    });
    if (stop.signal.aborted) throw new StageStopped();
    return result;
  } catch (error) {
    if (stop.signal.aborted) throw new StageStopped();
    throw error;
  } finally {
    clearInterval(poll);
  }
}

/** Loads what was written and compares ids and text of samples with an encoder made from the merges themselves. */
async function readBack(
  dir: string,
  plan: MergePlan,
  merges: Int32Array,
  samples: readonly Sample[],
  addon: Addon,
): Promise<Tokenizer> {
  const loaded = await loadTokenizer(dir, { threads: 1 });
  const direct = addon.createBpeEncoder(plan.encoder(merges));
  for (const document of samples.flatMap((sample) => sample.documents.slice(0, READ_BACK_DOCUMENTS))) {
    const ids = loaded.encode(document);
    const text = new TextDecoder('utf-8', { ignoreBOM: true }).decode(document);
    const same =
      Buffer.from(ids.buffer).equals(Buffer.from(direct.encode(document, false).buffer)) &&
      loaded.decode(ids) === plan.decoded(text);
    if (!same) throw readBackFailed(dir);
  }
  if (loaded.vocabSize !== plan.fixed + merges.length / 2) throw readBackFailed(dir);
  return loaded;
}

const READ_BACK_DOCUMENTS = 16;

function readBackFailed(dir: string): AnnealError {
  return new AnnealError('readback_failed', `The tokenizer in ${dir}, loaded again, gives other ids.`, {
    path: dir,
  });
}

/** Bytes a token by source; a table of it where there are other tokenizers, its base or those to compare with. */
async function report(made: Tokenizer, text: CountedText, context: Context): Promise<void> {
  const { name, inputs, outDir, threads } = context;
  const tokenizers = new Map([[OWN_NAME, made]]);
  if (inputs.base !== undefined) tokenizers.set('base', await loadTokenizer(inputs.base.path, { threads }));
  for (const other of Object.keys(context.settings.compare_with ?? {})) {
    tokenizers.set(other, await loadTokenizer(inputs[`compare_with.${other}`]!.path, { threads }));
  }
  const table = await compressionReport(name, text.samples, tokenizers);
  if (tokenizers.size > 1) {
    await writeFileAtomic(join(outDir, REPORT_FILE), `${JSON.stringify(table, null, 2)}\n`);
    context.emit('report', table, `${name}/report`);
  }
  const names = [...tokenizers.keys()];
  for (const [source, ...rates] of table.rows) {
    context.record(
      Object.fromEntries(names.map((other, i) => [`bytes_per_token/${source}/${other}`, rates[i] as number])),
    );
  }
}
