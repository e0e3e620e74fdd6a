/** What is done with a batch of documents, step by step; every step is a native call on the whole batch. */
import type { Cleaner } from '../../native/cleaning.ts';
import type { Fingerprinter } from '../../native/dedup.ts';
import { documentOf, type TextBatch, TextBatchBuilder } from '../../native/text_batch.ts';
import type { Tokenizer } from '../../tokenizer/tokenizer.ts';
import { addBatch, emptyCleaningReport } from '../cleaning/report.ts';
import { contentCrc } from '../mix.ts';
import type { LengthHistogram } from '../page/histogram.ts';
import { tokenBytesFor } from '../shards.ts';
import { documentRecords, type UnitWriter } from './unit_folder.ts';
import type { Tally } from './unit_report.ts';

export interface DocumentBatch {
  texts: TextBatch;
  /** Where each begins, as stored. */
  places: readonly number[];
  /** Which part of the unit each comes from. */
  parts: readonly number[];
  /** Ids of conversations: their text is not encoded (nor cleaned). */
  rendered: readonly Int32Array[] | undefined;
  /** `file:12` of a document, for examples. */
  origin(i: number): string;
}

export interface StepOptions {
  tokenizer: Tokenizer;
  /** Ends every document; undefined: nothing does. */
  eosId: number | undefined;
  cleaner: Cleaner | undefined;
  fingerprinter: Fingerprinter | undefined;
}

/** Documents of a batch that are kept so far, with their numbers in it. */
interface Kept {
  texts: TextBatch;
  rows: Uint32Array;
}

interface Encoded {
  ids: Int32Array;
  ends: Float64Array;
}

/** The steps of one source. */
export class DocumentSteps {
  readonly #options: StepOptions;
  readonly #tokenBytes: 2 | 4;

  constructor(options: StepOptions) {
    this.#options = options;
    this.#tokenBytes = tokenBytesFor(options.tokenizer.vocabSize);
  }

  /** Works on a batch and writes what is kept; counts go into the tally. */
  async run(batch: DocumentBatch, writer: UnitWriter, tally: Tally): Promise<void> {
    const { cleaner, fingerprinter, tokenizer } = this.#options;
    let kept: Kept = { texts: batch.texts, rows: Uint32Array.from(batch.places, (_, i) => i) };
    if (cleaner && !batch.rendered) kept = await clean(cleaner, batch, kept, tally);
    const keys = await fingerprinter?.run(kept.texts);
    const encoded = batch.rendered
      ? joined(batch.rendered, kept.rows)
      : await tokenizer.encodeBatch(kept.texts);
    const { ids, records } = this.#documents(batch, kept, encoded, tally.lengths);
    tally.report.documents += kept.rows.length;
    tally.report.bytes += kept.texts.ends.at(-1) ?? 0;
    tally.report.tokens += ids.length / this.#tokenBytes;
    await writer.add({ ids, records, exact: keys?.exact, bands: keys?.bands });
  }

  /** Ids as they are stored, with EOS behind each document that has none, and the records. */
  #documents(
    batch: DocumentBatch,
    { texts, rows }: Kept,
    { ids, ends }: Encoded,
    lengths: LengthHistogram,
  ): { ids: Uint8Array; records: Uint8Array } {
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
      ids: new Uint8Array(out.buffer, 0, at * this.#tokenBytes),
      records: documentRecords({ places, tokens, crcs, sizes, parts }),
    };
  }
}

async function clean(cleaner: Cleaner, batch: DocumentBatch, kept: Kept, { report }: Tally): Promise<Kept> {
  const cleaned = await cleaner.run(kept.texts);
  report.cleaning ??= emptyCleaningReport();
  addBatch(report.cleaning, kept.texts, cleaned, cleaner.rules, (i) => batch.origin(kept.rows[i]!));
  return keep({ texts: cleaned.texts, rows: kept.rows }, (i) => cleaned.verdicts[i] === 0);
}

/** The documents that are kept; the batch itself where all are. */
function keep({ texts, rows }: Kept, keeps: (i: number) => boolean): Kept {
  const indices = new Uint32Array(rows.length);
  let count = 0;
  for (let i = 0; i < rows.length; i++) if (keeps(i)) indices[count++] = i;
  if (count === rows.length) return { texts, rows };
  const builder = new TextBatchBuilder();
  for (let k = 0; k < count; k++) builder.add(documentOf(texts, indices[k]!));
  return { texts: builder.take(), rows: indices.subarray(0, count).map((i) => rows[i]!) };
}

function joined(rendered: readonly Int32Array[], rows: Uint32Array): Encoded {
  let end = 0;
  const ends = Float64Array.from(rows, (row) => (end += rendered[row]!.length));
  const ids = new Int32Array(end);
  for (const [i, row] of rows.entries()) ids.set(rendered[row]!, i === 0 ? 0 : ends[i - 1]);
  return { ids, ends };
}
