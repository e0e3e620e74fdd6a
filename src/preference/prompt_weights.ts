/**
 * Weights of BCO's undesirable answers from embeddings of their prompts, which a module of the recipe gives: its
 * default export takes an array of texts and returns (or promises) an array of as many arrays of numbers.
 */
import { pathToFileURL } from 'node:url';
import { AnnealError } from '../../proto/errors.ts';
import type { AnswerGroup } from '../data/preference.ts';
import { DataRandom } from '../data/random.ts';
import type { Tokenizer } from '../tokenizer/tokenizer.ts';
import { densityRatios, type RatioBounds } from './density_ratio.ts';

export interface PromptWeightOptions extends RatioBounds {
  /** Prompts of each kind that the classifier is learnt from, at most. */
  sampleSize: number;
  seed: number;
  /** Where the recipe names the file. */
  place: string;
}

/** The weight of each undesirable group. */
export async function promptWeights(
  file: string,
  rows: { train: readonly AnswerGroup[]; validation: readonly AnswerGroup[] },
  tokenizer: Tokenizer,
  options: PromptWeightOptions,
): Promise<Map<AnswerGroup, number>> {
  const failed = (problem: string, cause?: unknown) =>
    new AnnealError('objective_invalid', `${file} ${problem}`, {
      path: options.place,
      hint: 'Its default export takes an array of texts and returns an array of equally long arrays of numbers.',
      cause,
    });
  let embed: unknown;
  try {
    embed = ((await import(pathToFileURL(file).href)) as { default?: unknown }).default;
  } catch (error) {
    throw failed(`cannot be loaded: ${(error as Error).message}`, error);
  }
  if (typeof embed !== 'function') throw failed('has no function as its default export.');
  const groups = [...rows.train, ...rows.validation];
  const texts = groups.map(({ prompt }) => tokenizer.decode(prompt, { skipSpecials: true }));
  let embeddings: unknown;
  try {
    embeddings = await (embed as (texts: string[]) => unknown)([...texts]);
  } catch (error) {
    throw failed(`threw an error: ${(error as Error).message}`, error);
  }
  if (!isMatrix(embeddings, texts.length))
    throw failed(`gave no ${texts.length} embeddings of equal length.`);
  const sample = (desirable: boolean) => {
    const all = Uint32Array.from(rows.train.keys()).filter((i) => rows.train[i]!.desirable === desirable);
    new DataRandom('prompts', options.seed, desirable ? 'desirable' : 'undesirable').shuffle(all);
    return Array.from(all.subarray(0, options.sampleSize), (i) => embeddings[i]!);
  };
  const undesirable = groups.flatMap((group, i) => (group.desirable ? [] : [{ group, i }]));
  const [good, bad] = [sample(true), sample(false)];
  if (good.length === 0 || bad.length === 0) return new Map();
  const ratios = densityRatios(
    good,
    bad,
    undesirable.map(({ i }) => embeddings[i]!),
    options,
  );
  return new Map(undesirable.map(({ group }, n) => [group, ratios[n]!]));
}

function isMatrix(value: unknown, rows: number): value is number[][] {
  if (!Array.isArray(value) || value.length !== rows) return false;
  const size = (value[0] as unknown[] | undefined)?.length;
  return value.every(
    (row: unknown) => Array.isArray(row) && row.length === size && row.every((x) => Number.isFinite(x)),
  );
}
