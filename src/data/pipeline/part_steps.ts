/** The first of two passes, where lines or paragraphs are removed that other documents have: what each document has. */
import type { PartHasher } from '../../native/dedup.ts';
import { release } from '../../native/memory.ts';
import type { DocumentBatch, Steps } from './steps.ts';
import type { UnitWriter } from './unit_folder.ts';
import type { Tally } from './unit_report.ts';

/** What is counted: lines and paragraphs by the settings of `dedup`, and lines of any length as boilerplate. */
export const PART_KINDS = ['lines', 'paragraphs', 'boilerplate'] as const;
export type PartKind = (typeof PART_KINDS)[number];

export class PartSteps implements Steps {
  readonly #hashers: ReadonlyMap<PartKind, PartHasher>;

  constructor(hashers: ReadonlyMap<PartKind, PartHasher>) {
    this.#hashers = hashers;
  }

  async run(batch: DocumentBatch, writer: UnitWriter, { report }: Tally): Promise<void> {
    await batch.before;
    if (batch.rendered) return;
    for (const [kind, hasher] of this.#hashers) {
      const { hashes, counts } = await hasher.run(batch.texts);
      await writer.add({ [`${kind}.hashes.bin`]: hashes, [`${kind}.counts.bin`]: counts });
      release(hashes, counts);
    }
    report.documents += batch.places.length;
  }
}
