/** What is done with a batch of documents, step by step; every step is a native call on the whole batch. */
import type { Cleaner } from '../../native/cleaning.ts';
import type { Fingerprinter, PartRemover } from '../../native/dedup.ts';
import { release } from '../../native/memory.ts';
import { documentOf, type TextBatch } from '../../native/text_batch.ts';
import type { Tokenizer } from '../../tokenizer/tokenizer.ts';
import { addBatch, emptyCleaningReport } from '../cleaning/report.ts';
import type { Decontamination } from '../dedup/decontamination.ts';
import { contentCrc } from '../mix.ts';
import type { LengthHistogram } from '../page/histogram.ts';
import { PART_END } from '../shapes/content.ts';
import { tokenBytesFor } from '../shards.ts';
import { documentRecords, type UnitFiles, type UnitWriter } from './unit_folder.ts';
import { addExample, type Tally } from './unit_report.ts';

export interface DocumentBatch {
  texts: TextBatch;
  /** Where each begins, as stored. */
  places: readonly number[];
  /** Which part of the unit each comes from. */
  parts: readonly number[];
  /** Ids of conversations: their text is not encoded, nor cleaned, nor are parts of it removed. */
  rendered: readonly Int32Array[] | undefined;
  /** The unit, and documents of text in it before this batch. */
  unit: number;
  textsBefore: number;
  /**
   * Settled when the batch before has been worked on. Until then this one may be cleaned, but nothing is written or
   * told of it: units and reports are in the order of rows.
   */
  before: Promise<unknown>;
  /** `file:12` of a document, for examples. */
  origin(i: number): string;
}

/** What a pass does with each batch: writes to the unit's folder and counts. */
export interface Steps {
  run(batch: DocumentBatch, writer: UnitWriter, tally: Tally): Promise<void>;
}

/** Lines or paragraphs that are removed where an earlier document has them. */
export interface RepeatedPartsStep {
  part: 'lines' | 'paragraphs';
  remover: PartRemover;
  /** Number of the first document of text of each unit, as they were counted. */
  firstOfUnit: readonly number[];
}

export interface StepOptions {
  tokenizer: Tokenizer;
  /** Ends every document; undefined: nothing does. */
  eosId: number | undefined;
  repeated: readonly RepeatedPartsStep[];
  cleaner: Cleaner | undefined;
  decontamination: { check: Decontamination; action: 'drop' | 'cut' | 'report' } | undefined;
  fingerprinter: Fingerprinter | undefined;
}

/** Documents of a batch that are kept so far, with their numbers in it. */
interface Kept {
  texts: TextBatch;
  rows: Uint32Array;
}

/** What documents have in common with evaluation sets: pairs of a document, by its number in the batch, and an n-gram. */
interface Shared {
  rows: Uint32Array;
  grams: Uint32Array;
}

interface Encoded {
  ids: Int32Array;
  ends: Float64Array;
}

/** The steps of one source that make documents. */
export class DocumentSteps implements Steps {
  readonly #options: StepOptions;
  readonly #tokenBytes: 2 | 4;

  constructor(options: StepOptions) {
    this.#options = options;
    this.#tokenBytes = tokenBytesFor(options.tokenizer.vocabSize);
  }

  async run(batch: DocumentBatch, writer: UnitWriter, tally: Tally): Promise<void> {
    const { repeated, cleaner, fingerprinter, tokenizer } = this.#options;
    const { report } = tally;
    let kept: Kept = { texts: batch.texts, rows: Uint32Array.from(batch.places, (_, i) => i) };
    if (!batch.rendered) {
      for (const step of repeated) kept = await removeRepeated(step, batch, kept, tally);
      kept = keep(kept, notEmpty(report));
      if (cleaner) kept = await clean(cleaner, batch, kept, tally);
    }
    await batch.before;
    const { kept: left, shared } = await this.#decontaminate(batch, kept, tally);
    const keys = await fingerprinter?.run(left.texts);
    const encoded = batch.rendered
      ? joined(batch.rendered, left.rows)
      : await tokenizer.encodeBatch(left.texts);
    const files: UnitFiles = this.#documents(batch, left, encoded, tally.lengths);
    if (keys) {
      files['exact.bin'] = keys.exact;
      if (keys.bands.length > 0) files['bands.bin'] = keys.bands;
      if (keys.signatures.length > 0) files['signatures.bin'] = keys.signatures;
    }
    if (shared) files['overlap.bin'] = overlapRecords(shared, left.rows, report.documents);
    await writer.add(files);
    report.documents += left.rows.length;
    report.bytes += left.texts.ends.at(-1) ?? 0;
    report.tokens += files['ids.bin']!.byteLength / this.#tokenBytes;
    releaseTexts(batch, left.texts);
    release(encoded.ids, encoded.ends, ...Object.values(files));
  }

  async #decontaminate(
    batch: DocumentBatch,
    kept: Kept,
    { report }: Tally,
  ): Promise<{ kept: Kept; shared?: Shared }> {
    const { decontamination } = this.#options;
    if (!decontamination) return { kept };
    const { check, action } = decontamination;
    const checked = await check.check(kept.texts);
    for (let i = 0; i < checked.contaminated.length; i++) {
      if (checked.contaminated[i] === 0) continue;
      report.contaminated += 1;
      addExample(report, {
        set: check.sets[checked.set[i]!]!.name,
        row: batch.origin(kept.rows[i]!),
        share: checked.share[i]!,
        excerpt: excerptOf(kept.texts, i),
      });
    }
    const shared = { rows: checked.documents.map((i) => kept.rows[i]!), grams: checked.grams };
    if (action === 'report') return { kept, shared };
    // Of a conversation nothing can be cut out.
    if (action === 'cut' && !batch.rendered) {
      releaseTexts(batch, kept.texts);
      const cut = keep({ texts: checked.texts!, rows: kept.rows }, notEmpty(report));
      return { kept: cut, shared };
    }
    return { kept: keep(kept, (i) => checked.contaminated[i] === 0), shared };
  }

  /** Ids as they are stored, with EOS behind each document that has none, and the records. */
  #documents(
    batch: DocumentBatch,
    { texts, rows }: Kept,
    { ids, ends }: Encoded,
    lengths: LengthHistogram,
  ): UnitFiles {
    const count = rows.length;
    const { eosId } = this.#options;
    const most = ids.length + count;
    const out = this.#tokenBytes === 2 ? new Uint16Array(most) : new Int32Array(most);
    const tokens = new Uint32Array(count);
    const crcs = new Uint32Array(count);
    const sizes = new Uint32Array(count);
    let at = 0;
    for (let i = 0; i < count; i++) {
      const start = i === 0 ? 0 : ends[i - 1]!;
      const end = ends[i]!;
      const begin = at;
      out.set(ids.subarray(start, end), at);
      at += end - start;
      if (eosId !== undefined && (end === start || ids[end - 1] !== eosId)) out[at++] = eosId;
      tokens[i] = at - begin;
      lengths.add(at - begin);
      const text = documentOf(texts, i);
      crcs[i] = contentCrc(text);
      sizes[i] = text.length;
    }
    const places = Float64Array.from(rows, (row) => batch.places[row]!);
    const parts = rows.map((row) => batch.parts[row]!);
    return {
      'ids.bin': out.subarray(0, at),
      'documents.bin': documentRecords({ places, tokens, crcs, sizes, parts }),
    };
  }
}

/** Runs before any document is dropped: documents count as they did in the pass that found what is repeated. */
async function removeRepeated(
  { part, remover, firstOfUnit }: RepeatedPartsStep,
  batch: DocumentBatch,
  kept: Kept,
  { report }: Tally,
): Promise<Kept> {
  const first = firstOfUnit[batch.unit]! + batch.textsBefore;
  const { texts, removed } = await remover.run(kept.texts, first);
  for (const count of removed) {
    if (count === 0) continue;
    report.removed[part] += count;
    report.removed[`${part}_documents`] += 1;
  }
  releaseTexts(batch, kept.texts);
  return { texts, rows: kept.rows };
}

async function clean(cleaner: Cleaner, batch: DocumentBatch, kept: Kept, { report }: Tally): Promise<Kept> {
  const cleaned = await cleaner.run(kept.texts);
  report.cleaning ??= emptyCleaningReport();
  addBatch(report.cleaning, kept.texts, cleaned, cleaner, (i) => batch.origin(kept.rows[i]!));
  releaseTexts(batch, kept.texts);
  return keep({ texts: cleaned.texts, rows: kept.rows }, (i) => cleaned.verdicts[i] === 0);
}

/** Gives back texts that a step has made; whoever filled the batch uses its memory again. */
function releaseTexts(batch: DocumentBatch, { bytes, ends }: TextBatch): void {
  if (bytes.buffer !== batch.texts.bytes.buffer) release(bytes, ends);
}

/** Keeps documents that have text left, and counts the others. */
function notEmpty(report: Tally['report']): (i: number, bytes: number) => boolean {
  return (_, bytes) => {
    if (bytes === 0) report.emptied += 1;
    return bytes > 0;
  };
}

/** The documents that are kept, moved to the front of the batch's memory: it holds nothing else any more. */
function keep({ texts, rows }: Kept, keeps: (i: number, bytes: number) => boolean): Kept {
  const { bytes, ends } = texts;
  let count = 0;
  let length = 0;
  for (let i = 0, start = 0; i < rows.length; i++) {
    const end = ends[i]!;
    if (keeps(i, end - start)) {
      if (length < start) bytes.copyWithin(length, start, end);
      length += end - start;
      ends[count] = length;
      rows[count++] = rows[i]!;
    }
    start = end;
  }
  return {
    texts: { bytes: bytes.subarray(0, length), ends: ends.subarray(0, count) },
    rows: rows.subarray(0, count),
  };
}

function joined(rendered: readonly Int32Array[], rows: Uint32Array): Encoded {
  let end = 0;
  const ends = Float64Array.from(rows, (row) => (end += rendered[row]!.length));
  const ids = new Int32Array(end);
  for (const [i, row] of rows.entries()) ids.set(rendered[row]!, i === 0 ? 0 : ends[i - 1]);
  return { ids, ends };
}

/** Pairs of a document, by its number among those of the unit that are kept, and an n-gram. */
function overlapRecords({ rows, grams }: Shared, kept: Uint32Array, before: number): Uint32Array {
  const numbers = new Map<number, number>();
  for (const [i, row] of kept.entries()) numbers.set(row, before + i);
  const pairs = new Uint32Array(2 * rows.length);
  let count = 0;
  for (let i = 0; i < rows.length; i++) {
    const document = numbers.get(rows[i]!);
    if (document === undefined) continue;
    pairs[count++] = document;
    pairs[count++] = grams[i]!;
  }
  return pairs.subarray(0, count);
}

const EXCERPT_BYTES = 200;

function excerptOf(texts: TextBatch, i: number): string {
  const excerpt = Buffer.from(documentOf(texts, i).subarray(0, EXCERPT_BYTES)).toString();
  return excerpt.replaceAll(PART_END, '\n');
}
