/** Comparing documents with evaluation sets: unit by unit, then counted for the documents that stay. */
import { AnnealError } from '../../../proto/errors.ts';
import type { Addon, Contamination, ContaminationCheck } from '../../native/addon.ts';
import { type TextBatch, textBatch } from '../../native/text_batch.ts';
import { type EvaluationSet, readEvaluationSets } from './evaluation_sets.ts';
import type { OverlapFile } from './overlap.ts';
import type { DecontaminationRules, DecontaminationSettings } from './settings.ts';

export interface CheckedBatch extends ContaminationCheck {
  /** By document: its greatest share, and the set of it (the first of equals); 0 and -1 where nothing is shared. */
  share: Float64Array;
  set: Int32Array;
  /** By document: 1 where the share reaches the threshold. */
  contaminated: Uint8Array;
}

export class Decontamination {
  readonly sets: readonly EvaluationSet[];
  readonly #settings: DecontaminationRules;
  readonly #native: Contamination;

  private constructor(settings: DecontaminationRules, sets: readonly EvaluationSet[], native: Contamination) {
    this.#settings = settings;
    this.sets = sets;
    this.#native = native;
  }

  /** Reads the evaluation sets. */
  static async open(
    settings: DecontaminationSettings,
    { addon, threads, stage, baseDir }: { addon: Addon; threads: number; stage: string; baseDir: string },
  ): Promise<Decontamination> {
    const { ngram, min_words } = settings;
    if (min_words > ngram) {
      throw new AnnealError('recipe_invalid', `min_words (${min_words}) is more than ngram (${ngram}).`, {
        path: 'decontamination.min_words',
        hint: 'Rows of fewer words than an n-gram, but at least min_words, count as one n-gram.',
      });
    }
    return Decontamination.over(await readEvaluationSets(settings, { stage, baseDir }), settings, {
      addon,
      threads,
    });
  }

  /** Of evaluation sets that have been read. */
  static async over(
    sets: readonly EvaluationSet[],
    settings: DecontaminationRules,
    { addon, threads }: { addon: Addon; threads: number },
  ): Promise<Decontamination> {
    const { ngram, min_words } = settings;
    const native = addon.createContamination({ ngram, minWords: min_words, sets: sets.length, threads });
    for (const [i, { texts }] of sets.entries()) await native.add(textBatch(texts), i);
    return new Decontamination(settings, sets, native);
  }

  /** Compares documents; `texts` only where the settings say cut. */
  async check(batch: TextBatch): Promise<CheckedBatch> {
    const { threshold, action, cut_margin, min_piece } = this.#settings;
    const cut = action === 'cut' ? { cut: { margin: cut_margin, minPiece: min_piece } } : {};
    const checked = await this.#native.check(batch, { threshold, ...cut });
    const documents = batch.ends.length;
    const share = new Float64Array(documents);
    const set = new Int32Array(documents).fill(-1);
    checked.shares.forEach((value, i) => {
      const document = Math.floor(i / this.sets.length);
      if (value <= share[document]!) return;
      share[document] = value;
      set[document] = i % this.sets.length;
    });
    return {
      ...checked,
      share,
      set,
      contaminated: Uint8Array.from(share, (value) => (value >= threshold ? 1 : 0)),
    };
  }

  /** Counts n-grams, as `check` gave them, of documents that stay in the dataset. */
  tally(documents: Uint32Array, grams: Uint32Array): Promise<void> {
    return this.#native.tally(documents, grams);
  }

  /** Compares documents that all stay, and counts what they share. */
  async count(batch: TextBatch): Promise<void> {
    const { threshold } = this.#settings;
    const { documents, grams } = await this.#native.check(batch, { threshold });
    await this.#native.tally(documents, grams);
  }

  /** What is stored with the dataset, after all has been counted. */
  async overlap(): Promise<OverlapFile> {
    const { ngram, min_words, threshold, action } = this.#settings;
    const { documents, exact, share, best } = await this.#native.overlap();
    let first = 0;
    const sets = this.sets.map(({ name, keys }) => {
      const at = first;
      first += keys.length;
      const rows = keys.flatMap((_, row) =>
        documents[at + row] === 0
          ? []
          : [
              {
                row,
                documents: documents[at + row]!,
                exact: exact[at + row]!,
                share: share[at + row]!,
                best: best[at + row]!,
              },
            ],
      );
      return { name, keys, contaminated: rows.filter((row) => row.best >= threshold).length, rows };
    });
    return { format: 1, ngram, min_words, threshold, action, sets };
  }
}
