/** Lines and paragraphs that several documents have: counted in a pass of their own, found, and handed to the steps. */
import { join } from 'node:path';
import type { Addon } from '../../native/addon.ts';
import type { CleaningSettings } from '../cleaning/settings.ts';
import { findRepeatedParts, type Place } from '../dedup/duplicates.ts';
import { type DedupSettings, SORTING_BYTES } from '../dedup/settings.ts';
import type { PartKind } from './part_steps.ts';
import type { RepeatedPartsStep } from './steps.ts';
import type { DoneUnit } from './unit_folder.ts';
import type { WorkUnit } from './units.ts';

const NATIVE_PART = { lines: 'line', paragraphs: 'paragraph', boilerplate: 'line' } as const;

/** What of a preparation asks for counting. */
export interface CountedSettings {
  dedup: DedupSettings | undefined;
  /** Of each source. */
  cleaning: readonly (CleaningSettings | undefined)[];
}

/** The kinds of parts that are counted, with the shortest that counts in characters. */
export function countedParts({ dedup, cleaning }: CountedSettings): Map<PartKind, number> {
  const kinds = new Map<PartKind, number>();
  if (dedup?.lines) kinds.set('lines', dedup.lines.min_characters);
  if (dedup?.paragraphs) kinds.set('paragraphs', dedup.paragraphs.min_characters);
  if (cleaning.some((rules) => rules?.boilerplate_lines)) kinds.set('boilerplate', 1);
  return kinds;
}

export function partHashers(
  kinds: ReadonlyMap<PartKind, number>,
  { addon, threads }: { addon: Addon; threads: number },
) {
  return new Map(
    [...kinds].map(([kind, minCharacters]) => [
      kind,
      addon.createPartHasher({ part: NATIVE_PART[kind], minCharacters, threads }),
    ]),
  );
}

/** A unit whose parts are counted. */
export interface CountedUnit {
  unit: WorkUnit;
  done: DoneUnit;
}

/** What was found, for the steps of each source. */
export interface Repeated {
  /** By source. */
  steps: RepeatedPartsStep[][];
  boilerplate: (BigUint64Array | undefined)[];
  /** Parts that are repeated, and how many different ones there are, in all groups. */
  counts: Partial<Record<'lines' | 'paragraphs', { repeated: number; distinct: number }>>;
}

/** Finds what is repeated in counted units. */
export async function findRepeated(
  units: readonly CountedUnit[],
  settings: CountedSettings,
  place: Place,
): Promise<Repeated> {
  const { dedup, cleaning } = settings;
  const sources = cleaning.map((_, source) => source);
  const steps = sources.map((): RepeatedPartsStep[] => []);
  const all: Repeated['counts'] = {};
  const memory = { memory_bytes: dedup?.memory_bytes ?? SORTING_BYTES };
  const find = (kind: PartKind, of: readonly CountedUnit[], minDocuments: number) =>
    findRepeatedParts(memory, partFiles(of, kind), minDocuments, place);
  for (const part of ['paragraphs', 'lines'] as const) {
    const rules = dedup?.[part];
    if (!rules) continue;
    for (const group of dedup.across_sources ? [sources] : sources.map((source) => [source])) {
      const own = units.filter(({ unit }) => group.includes(unit.source));
      const found = await find(part, own, rules.min_documents);
      const remover = place.addon.createPartRemover({
        part: NATIVE_PART[part],
        minCharacters: rules.min_characters,
        threads: place.threads,
        hashes: found.hashes,
        first: found.first,
      });
      const { repeated, distinct } = all[part] ?? { repeated: 0, distinct: 0 };
      all[part] = { repeated: repeated + found.hashes.length, distinct: distinct + found.distinct };
      const step = { part, remover, firstOfUnit: firstDocuments(own) };
      for (const source of group) steps[source]!.push(step);
    }
  }
  const byBound = new Map<number, BigUint64Array>();
  const boilerplate: (BigUint64Array | undefined)[] = [];
  for (const rules of cleaning) {
    const bound = rules?.boilerplate_lines?.min_documents;
    if (bound !== undefined && !byBound.has(bound)) {
      byBound.set(bound, (await find('boilerplate', units, bound)).hashes);
    }
    boilerplate.push(bound === undefined ? undefined : byBound.get(bound));
  }
  return { steps, boilerplate, counts: all };
}

function partFiles(units: readonly CountedUnit[], kind: PartKind) {
  // A unit without a document of text has no files.
  return units
    .filter(({ done }) => done.report.documents > 0)
    .map(({ done }) => ({
      hashes: join(done.path, `${kind}.hashes.bin`),
      counts: join(done.path, `${kind}.counts.bin`),
      documents: done.report.documents,
    }));
}

/** Number of the first document of each unit among these, by the unit's place among all. */
function firstDocuments(units: readonly CountedUnit[]): number[] {
  const first: number[] = [];
  let documents = 0;
  for (const { unit, done } of units) {
    first[unit.index] = documents;
    documents += done.report.documents;
  }
  return first;
}
