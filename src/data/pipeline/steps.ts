/** What is done with a batch of documents, step by step; every step is a native call on the whole batch. */
import { documentOf, type TextBatch, TextBatchBuilder } from '../../native/text_batch.ts';
import type { Tokenizer } from '../../tokenizer/tokenizer.ts';
import { contentCrc } from '../mix.ts';
import type { LengthHistogram } from '../page/histogram.ts';
import { tokenBytesFor } from '../shards.ts';
import { documentRecords, type UnitDocuments, type UnitWriter } from './unit_folder.ts';
import type { Tally } from './unit_report.ts';

export interface DocumentBatch {
  texts: TextBatch;
  /** Where each begins, as stored. */
  places: readonly number[];
  /** Ids of conversations: their text is not encoded (nor cleaned). */
  rendered: readonly Int32Array[] | undefined;
  /** `file:12` of a document, for examples. */
  origin(i: number): string;
}

export interface StepOptions {
  tokenizer: Tokenizer;
  /** Ends every document; undefined: nothing does. */
  eosId: number | undefined;
}

export class DocumentSteps {
  readonly #tokenizer: Tokenizer;
  readonly #eosId: number | undefined;
  readonly #tokenBytes: 2 | 4;

  constructor({ tokenizer, eosId }: StepOptions) {
    this.#tokenizer = tokenizer;
    this.#eosId = eosId;
    this.#tokenBytes = tokenBytesFor(tokenizer.vocabSize);
  }

  /** Works on a batch and writes what is kept; counts go into the report. */
  async run(batch: DocumentBatch, writer: UnitWriter, { report, lengths }: Tally): Promise<void> {
    const { texts, places, rendered } = batch;
    const { ids, ends } = rendered ? joined(rendered) : await this.#tokenizer.encodeBatch(texts);
    const documents = this.#documents(texts, places, ids, ends, lengths);
    report.documents += places.length;
    report.bytes += texts.bytes.length;
    report.tokens += documents.ids.length / this.#tokenBytes;
    await writer.add(documents);
  }

  /** Ids as they are stored, with EOS behind each document that has none, and the records. */
  #documents(
    texts: TextBatch,
    places: readonly number[],
    ids: Int32Array,
    ends: Float64Array,
    lengths: LengthHistogram,
  ): UnitDocuments {
    const count = places.length;
    const eos = this.#eosId;
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
      if (eos !== undefined && (end === start || ids[end - 1] !== eos)) out[at++] = eos;
      tokens[i] = at - begin;
      lengths.add(at - begin);
      const text = documentOf(texts, i);
      crcs[i] = contentCrc(text);
      sizes[i] = text.length;
    }
    const records = documentRecords({ places: Float64Array.from(places), tokens, crcs, sizes });
    return { ids: new Uint8Array(out.buffer, 0, at * this.#tokenBytes), records };
  }
}

function joined(rendered: readonly Int32Array[]): { ids: Int32Array; ends: Float64Array } {
  let end = 0;
  const ends = Float64Array.from(rendered, (ids) => (end += ids.length));
  const ids = new Int32Array(end);
  for (const [i, one] of rendered.entries()) ids.set(one, i === 0 ? 0 : ends[i - 1]);
  return { ids, ends };
}

/** The documents of a batch that are kept; the batch itself where all are. */
export function keptOf(
  batch: TextBatch,
  keeps: (i: number) => boolean,
): { texts: TextBatch; kept: Uint32Array } {
  const kept = new Uint32Array(batch.ends.length);
  let count = 0;
  for (let i = 0; i < kept.length; i++) if (keeps(i)) kept[count++] = i;
  if (count === kept.length) return { texts: batch, kept };
  const builder = new TextBatchBuilder();
  for (let k = 0; k < count; k++) builder.add(documentOf(batch, kept[k]!));
  return { texts: builder.take(), kept: kept.subarray(0, count) };
}
