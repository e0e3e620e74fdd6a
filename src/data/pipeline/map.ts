/**
 * From the rows of a unit to documents: shaped, cleaned, compared with evaluation sets, fingerprinted, encoded, all in
 * batches that native threads work on while the next one is read. What comes out depends on the unit and the settings
 * alone.
 */

import type { Addon } from '../../native/addon.ts';
import type { TextBatchBuilder } from '../../native/text_batch.ts';
import { StageStopped } from '../../stages/stage.ts';
import { encodeChat } from '../../tokenizer/chat.ts';
import { templateInputs } from '../../tokenizer/chat_template.ts';
import type { Tokenizer } from '../../tokenizer/tokenizer.ts';
import { LengthHistogram } from '../page/histogram.ts';
import { plainText, type RowContent, SupervisedShaper } from '../shapes/content.ts';
import { rowErrorOf } from '../shapes/errors.ts';
import { rejectedLine } from '../shapes/rejects.ts';
import { readUnit } from '../sources/read.ts';
import { type RawRecord, recordOrigin } from '../sources/unit.ts';
import type { PrepareSource } from './settings.ts';
import type { DocumentBatch, Steps } from './steps.ts';
import type { UnitWriter } from './unit_folder.ts';
import { addCount, emptyReport, FIRST_REJECTED, type UnitReport } from './unit_report.ts';
import { placeOf, type WorkPart, type WorkUnit } from './units.ts';

/** Documents are worked on in batches of about this size. */
const BATCH_BYTES = 4 << 20;
const BATCH_DOCUMENTS = 1 << 14;

/** What becomes of rows, whatever unit they are in. */
export interface MapOptions {
  addon: Addon;
  tokenizer: Tokenizer;
  steps: Steps;
  /** Enough of a unit: documents that its rules kept. */
  maxDocuments: number;
  /** What batches are gathered in, one while the others are worked on; used by one unit after the other. */
  builders: readonly TextBatchBuilder[];
}

/** What goes on meanwhile. */
export interface MapWatch {
  /** Bytes of the unit that were read, and what came of them so far. */
  progress(bytes: number, report: UnitReport): void;
  stopRequested(): boolean;
}

/** A batch being filled. */
interface Filling {
  texts: TextBatchBuilder;
  places: number[];
  /** Which part of the unit each comes from. */
  parts: number[];
  /** Ids of conversations, which are rendered as they are read; empty for plain text. */
  rendered: Int32Array[];
  /** Bytes of the unit that were read up to the last row. */
  end: number;
}

/** Works on one unit; the writer is finished by the caller. */
export class UnitMapper {
  readonly #unit: WorkUnit;
  readonly #source: PrepareSource;
  readonly #options: MapOptions;
  readonly #writer: UnitWriter;
  readonly #watch: MapWatch;
  readonly #shaper: SupervisedShaper;
  readonly #report = emptyReport();
  readonly #lengths = new LengthHistogram();
  /** The part that is read, and the bytes of those before it. */
  #part = 0;
  #before = 0;
  /** Documents of text that were handed over. */
  #texts = 0;
  #filling: Filling;
  /** The others in the order in which they become free: those that are worked on, from the first batch to the last. */
  readonly #others: Promise<Filling>[];
  /** Settled when the last batch has been worked on. */
  #last: Promise<unknown> = Promise.resolve();

  constructor(
    unit: WorkUnit,
    source: PrepareSource,
    options: MapOptions,
    writer: UnitWriter,
    watch: MapWatch,
  ) {
    this.#unit = unit;
    this.#source = source;
    this.#options = options;
    this.#writer = writer;
    this.#watch = watch;
    this.#shaper = new SupervisedShaper(source);
    const [first, ...others] = options.builders.map(newFilling);
    this.#filling = first!;
    this.#others = others.map((filling) => Promise.resolve(filling));
  }

  async run(): Promise<UnitReport> {
    try {
      for (const [i, part] of this.#unit.parts.entries()) {
        if (this.#report.documents >= this.#options.maxDocuments) break;
        this.#part = i;
        await this.#read(part);
        this.#before += part.bytes;
      }
      await this.#flush();
      await this.#last;
    } finally {
      // Nothing may still write when the folder goes.
      await Promise.allSettled(this.#others);
    }
    return { ...this.#report, lengths: this.#lengths.stored() };
  }

  async #read(part: WorkPart): Promise<void> {
    const { jsonTexts } = this.#shaper;
    const texts = jsonTexts && this.#options.addon.createJsonTexts(jsonTexts);
    for await (const records of readUnit(part, this.#source, texts)) {
      for (const record of records) {
        const refused = this.#take(part, record);
        if (refused) await refused;
        if (this.#isFull()) await this.#flush();
      }
      if (this.#report.documents >= this.#options.maxDocuments) return;
    }
  }

  /** Gives a promise for the rare row that does not fit. */
  #take(part: WorkPart, record: RawRecord): Promise<void> | undefined {
    const origin = originOf(part, record.line);
    this.#report.rows += 1;
    try {
      const row = this.#shaper.read(record, origin);
      if (row === undefined) {
        this.#report.filtered += 1;
        return undefined;
      }
      addCount(this.#report.shapes, row.shape);
      for (const shape of row.besides) addCount(this.#report.besides, shape);
      return this.#add(row.content, placeOf(part, record.line), this.#before + record.end);
    } catch (error) {
      const refused = rowErrorOf(error, origin);
      if (this.#source.max_rejected === 0) throw refused;
      this.#report.rejected += 1;
      if (this.#report.first_rejected.length < FIRST_REJECTED)
        this.#report.first_rejected.push(refused.message);
      return this.#writer.addRejected(
        rejectedLine(refused, record.bad?.excerpt ?? record.fields ?? record.text?.toString()),
      );
    }
  }

  #add(content: RowContent, place: number, end: number): Promise<void> | undefined {
    const plain = content.kind === 'text';
    const filling = this.#filling;
    if (filling.places.length > 0 && plain !== (filling.rendered.length === 0)) {
      return this.#flush().then(() => this.#add(content, place, end));
    }
    if (!plain) filling.rendered.push(renderedIds(this.#options.tokenizer, content));
    filling.texts.add(plainText(content));
    filling.places.push(place);
    filling.parts.push(this.#part);
    filling.end = end;
    return undefined;
  }

  #isFull(): boolean {
    const { texts } = this.#filling;
    return texts.byteLength >= BATCH_BYTES || texts.length >= BATCH_DOCUMENTS;
  }

  /** Hands the batch over, and goes on with the next one that is free. */
  async #flush(): Promise<void> {
    if (this.#watch.stopRequested()) throw new StageStopped();
    const full = this.#filling;
    if (full.places.length === 0) return;
    const batch: DocumentBatch = {
      texts: full.texts.take(),
      places: full.places,
      rendered: full.rendered.length === 0 ? undefined : full.rendered,
      parts: full.parts,
      unit: this.#unit.index,
      textsBefore: this.#texts,
      before: this.#last,
      origin: (i) => {
        const place = full.places[i]!;
        return originOf(this.#unit.parts[full.parts[i]!]!, place < 0 ? -1 - place : place);
      },
    };
    if (!batch.rendered) this.#texts += full.places.length;
    const working = this.#work(batch, full);
    // Its failure is met where it is awaited; until then nobody may take it for unhandled.
    working.catch(() => undefined);
    this.#last = working;
    this.#others.push(working);
    this.#filling = await this.#others.shift()!;
  }

  /** Gives back what held the batch. */
  async #work(batch: DocumentBatch, filling: Filling): Promise<Filling> {
    await this.#options.steps.run(batch, this.#writer, { report: this.#report, lengths: this.#lengths });
    filling.places = [];
    filling.parts = [];
    filling.rendered = [];
    this.#watch.progress(filling.end, this.#report);
    return filling;
  }
}

function newFilling(texts: TextBatchBuilder): Filling {
  // A unit that failed may have left documents in it.
  texts.take();
  return { texts, places: [], parts: [], rendered: [], end: 0 };
}

function originOf(part: WorkPart, line: number): string {
  return recordOrigin({ ...part, location: part.name }, line);
}

type Conversation = Exclude<RowContent, { kind: 'text' }>;

/** Ids of a conversation up to the end of its last answer, or of a prompt and its completion. */
function renderedIds(tokenizer: Tokenizer, row: Conversation): Int32Array {
  if (row.kind === 'completion') {
    const [prompt, completion] = [tokenizer.encode(row.prompt), tokenizer.encode(row.completion)];
    const joined = new Int32Array(prompt.length + completion.length);
    joined.set(prompt);
    joined.set(completion, prompt.length);
    return joined;
  }
  const { ids, scored } = encodeChat(tokenizer, row.messages, templateInputs(row));
  return row.messages.at(-1)!.role === 'assistant' ? ids.subarray(0, scored.lastIndexOf(1) + 1) : ids;
}
