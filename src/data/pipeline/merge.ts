/**
 * From units to a dataset: what is a duplicate, how often the rest is taken, and the ids of that copied into shards in
 * the order of the documents, phase by phase. Ids are never decoded; nothing is held but counts, a bit a document, and
 * buffers.
 */
import type { Split } from '../dataset.ts';
import { copiesCounter, splitFraction } from '../mix.ts';
import type { DocumentRun, SplitWriter } from '../shards.ts';
import { type DocumentColumns, type DoneUnit, readColumns, UnitFileReader } from './unit_folder.ts';
import type { WorkUnit } from './units.ts';

/** Ids are copied in pieces of about this size. */
const BLOCK_BYTES = 1 << 20;

/** A unit with its place among all. */
export interface MergeUnit {
  unit: WorkUnit;
  done: DoneUnit;
}

/** Which documents are not taken at all, by number over all units. */
export interface Dropped {
  has(document: number): boolean;
  /** Of one that is dropped: whether it equals an earlier one. */
  isExact(document: number): boolean;
}

export interface MergeOptions {
  units: readonly MergeUnit[];
  dropped: Dropped;
  seed: number;
  validationFraction: number;
  /** Only the first so many documents count. */
  maxDocuments: number;
  tokenBytes: 2 | 4;
}

/** What a source has once duplicates are gone. */
export interface SourceStock {
  documents: number;
  tokens: number;
  bytes: number;
  /** Duplicates of earlier documents: equal ones, and others. */
  exact: number;
  near: number;
  /** Of what is left, for training. */
  train: { documents: number; tokens: number };
}

/** Counts what there is of each source, before mixing. */
export async function takeStock(options: MergeOptions, sources: number): Promise<SourceStock[]> {
  const stocks = Array.from(
    { length: sources },
    (): SourceStock => ({
      documents: 0,
      tokens: 0,
      bytes: 0,
      exact: 0,
      near: 0,
      train: { documents: 0, tokens: 0 },
    }),
  );
  for await (const { unit, first, columns } of documentsOf(options)) {
    const stock = stocks[unit.source]!;
    for (let i = 0; i < columns.tokens.length; i++) {
      if (options.dropped.has(first + i)) {
        stock[options.dropped.isExact(first + i) ? 'exact' : 'near'] += 1;
        continue;
      }
      const tokens = columns.tokens[i]!;
      stock.documents += 1;
      stock.tokens += tokens;
      stock.bytes += columns.sizes[i]!;
      if (splitFraction(columns.crcs[i]!) < options.validationFraction) continue;
      stock.train.documents += 1;
      stock.train.tokens += tokens;
    }
  }
  return stocks;
}

/** What became of a source's documents. */
export interface SourceTaken {
  train: { documents: number; tokens: number };
  validation: { documents: number; tokens: number };
}

/** Bounds of one source that rates alone keep on average only. */
export interface SourceCaps {
  max_documents?: number | undefined;
  max_tokens?: number | undefined;
}

/** A document that was written, to be compared with what is read back. */
export interface Sample {
  split: Split;
  document: number;
  /** As stored. */
  ids: Uint8Array;
}

const SAMPLES = 16;

export interface Concatenation {
  /** `rates[source][phase]` */
  rates: readonly (readonly number[])[];
  caps: readonly SourceCaps[];
  /** Number in the manifest of where the documents of a unit's part come from. */
  locationOf(unit: WorkUnit, part: number): number;
  progress(phase: number, unit: number): void;
}

/** Copies documents into the shards of both splits. */
export class Concatenator {
  readonly #options: MergeOptions;
  readonly #plan: Concatenation;
  readonly #writers: Record<Split, SplitWriter>;
  readonly #copies: (rate: number, crc: number) => number;
  readonly #block = Buffer.allocUnsafeSlow(BLOCK_BYTES);
  readonly taken: SourceTaken[];
  readonly samples: Sample[] = [];

  constructor(options: MergeOptions, plan: Concatenation, writers: Record<Split, SplitWriter>) {
    this.#options = options;
    this.#plan = plan;
    this.#writers = writers;
    this.#copies = copiesCounter(options.seed);
    const none = () => ({ documents: 0, tokens: 0 });
    this.taken = plan.rates.map(() => ({ train: none(), validation: none() }));
  }

  async run(): Promise<void> {
    const phases = this.#plan.rates[0]!.length;
    for (let phase = 0; phase < phases; phase++) {
      let current: MergeUnit | undefined;
      let reader: UnitFileReader | undefined;
      try {
        for await (const chunk of documentsOf(this.#options)) {
          if (chunk.of !== current) {
            await reader?.close();
            current = chunk.of;
            reader = await UnitFileReader.open(current.done, 'ids.bin');
            this.#plan.progress(phase, current.unit.index);
          }
          await this.#copy(chunk, reader!, phase);
        }
      } finally {
        await reader?.close();
      }
      this.#writers.train.endPhase();
    }
  }

  /** Copies what is taken of some thousands of documents, in blocks. */
  async #copy(chunk: Chunk, reader: UnitFileReader, phase: number): Promise<void> {
    const { tokenBytes } = this.#options;
    const { tokens } = chunk.columns;
    let at = chunk.idsStart;
    for (let from = 0; from < tokens.length; ) {
      let to = from;
      let bytes = 0;
      do bytes += tokens[to++]! * tokenBytes;
      while (to < tokens.length && bytes + tokens[to]! * tokenBytes <= BLOCK_BYTES);
      // A document that is larger than a block is one of its own.
      const memory = bytes <= BLOCK_BYTES ? this.#block : undefined;
      await this.#copyBlock(chunk, from, to, phase, () => reader.read(at, bytes, memory));
      at += bytes;
      from = to;
    }
  }

  async #copyBlock(
    chunk: Chunk,
    from: number,
    to: number,
    phase: number,
    read: () => Promise<Buffer>,
  ): Promise<void> {
    const { tokenBytes } = this.#options;
    const { tokens } = chunk.columns;
    let block: Buffer | undefined;
    let offset = 0;
    let run: { split: Split; from: number; offset: number } | undefined;
    const endRun = async (end: number): Promise<void> => {
      if (!run) return;
      await this.#write(chunk, run.split, run.from, end, block!.subarray(run.offset, offset));
      run = undefined;
    };
    for (let i = from; i < to; i++) {
      const { split, copies } = this.#decide(chunk, i, phase);
      if (run && (copies !== 1 || run.split !== split)) await endRun(i);
      if (copies > 0) block ??= await read();
      if (copies === 1) run ??= { split, from: i, offset };
      const end = offset + tokens[i]! * tokenBytes;
      for (let copy = 0; copies > 1 && copy < copies; copy++) {
        await this.#write(chunk, split, i, i + 1, block!.subarray(offset, end));
      }
      offset = end;
    }
    await endRun(to);
  }

  #decide({ unit, first, columns }: Chunk, i: number, phase: number): { split: Split; copies: number } {
    if (this.#options.dropped.has(first + i)) return { split: 'train', copies: 0 };
    const crc = columns.crcs[i]!;
    const tokens = columns.tokens[i]!;
    const rates = this.#plan.rates[unit.source]!;
    const taken = this.taken[unit.source]!;
    if (splitFraction(crc) < this.#options.validationFraction) {
      let sum = 0;
      for (const rate of rates) sum += rate;
      if (phase > 0 || this.#copies(sum, crc) === 0) return { split: 'validation', copies: 0 };
      taken.validation.documents += 1;
      taken.validation.tokens += tokens;
      return { split: 'validation', copies: 1 };
    }
    let before = 0;
    for (let p = 0; p < phase; p++) before += rates[p]!;
    let copies = this.#copies(before + rates[phase]!, crc) - (phase === 0 ? 0 : this.#copies(before, crc));
    const { max_documents = Infinity, max_tokens = Infinity } = this.#plan.caps[unit.source]!;
    copies = Math.min(
      copies,
      max_documents - taken.train.documents,
      tokens === 0 ? copies : Math.floor((max_tokens - taken.train.tokens) / tokens),
    );
    taken.train.documents += copies;
    taken.train.tokens += copies * tokens;
    return { split: 'train', copies };
  }

  async #write(chunk: Chunk, split: Split, from: number, to: number, bytes: Uint8Array): Promise<void> {
    const writer = this.#writers[split];
    const run: DocumentRun = {
      bytes,
      lengths: chunk.columns.tokens.subarray(from, to),
      places: chunk.columns.places.subarray(from, to),
      locations: chunk.columns.parts
        .subarray(from, to)
        .map((part) => this.#plan.locationOf(chunk.unit, part)),
    };
    this.#sample(split, writer.documents, run);
    await writer.add(run);
  }

  /** Keeps documents at growing distances, so that they are spread without knowing how many will come. */
  #sample(split: Split, first: number, { bytes, lengths }: DocumentRun): void {
    const wanted = Math.max(first, 2 ** this.samples.length - 1);
    if (this.samples.length === SAMPLES || wanted >= first + lengths.length) return;
    let start = 0;
    for (let i = first; i < wanted; i++) start += lengths[i - first]! * this.#options.tokenBytes;
    const end = start + lengths[wanted - first]! * this.#options.tokenBytes;
    // A copy: the block's memory is used again.
    this.samples.push({ split, document: wanted, ids: Uint8Array.from(bytes.subarray(start, end)) });
  }
}

/** Some thousands of documents of one unit. */
export interface Chunk {
  of: MergeUnit;
  unit: WorkUnit;
  /** Number of the first one over all units. */
  first: number;
  columns: DocumentColumns;
  /** Where the ids of the first one begin in the unit's file. */
  idsStart: number;
}

export async function* documentsOf({
  units,
  maxDocuments,
  tokenBytes,
}: Pick<MergeOptions, 'units' | 'maxDocuments' | 'tokenBytes'>): AsyncGenerator<Chunk> {
  let first = 0;
  for (const of of units) {
    let idsStart = 0;
    for await (const all of readColumns(of.done)) {
      const count = Math.min(all.tokens.length, maxDocuments - first);
      if (count === 0) return;
      const columns = count === all.tokens.length ? all : firstOf(all, count);
      yield { of, unit: of.unit, first, columns, idsStart };
      first += count;
      for (const tokens of columns.tokens) idsStart += tokens * tokenBytes;
    }
  }
}

function firstOf({ places, tokens, crcs, sizes, parts }: DocumentColumns, count: number): DocumentColumns {
  return {
    places: places.subarray(0, count),
    tokens: tokens.subarray(0, count),
    crcs: crcs.subarray(0, count),
    sizes: sizes.subarray(0, count),
    parts: parts.subarray(0, count),
  };
}
