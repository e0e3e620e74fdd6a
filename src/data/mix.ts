/**
 * Which split a document belongs to, and how often it is taken in each phase of training: decided by its content, the
 * seed and the sizes of the sources alone, so that neither the order of files, the number of workers nor a restart
 * changes it, and equal documents never stand on both sides.
 *
 * A rate is how often a source's documents are taken on average. With s in [0, 1) from a document's content, it has
 * been taken ceil(R - s) times when the rates of the phases so far come to R: no document is taken again before all
 * others of its source have been taken as often, through all phases.
 */
import { crc32 } from 'node:zlib';
import { AnnealError } from '../../proto/errors.ts';
import { nearest } from '../util/nearest.ts';
import type { MixingSettings } from './mixing_settings.ts';

/** The check sum of a document's text, which all choices start from. */
export function contentCrc(content: Uint8Array): number {
  return crc32(content);
}

/** A number in [0, 1) from the content of a document alone: below the validation fraction it is held out. */
export function splitFraction(crc: number): number {
  return scramble(crc) / 2 ** 32;
}

/** How often documents are taken until rates of `rate` are through, of a seed. */
export function copiesCounter(seed: number): (rate: number, crc: number) => number {
  const salt = scramble(crc32(`copies ${seed}`));
  return (rate, crc) => {
    const share = scramble(crc ^ salt) / 2 ** 32;
    return Math.max(0, Math.ceil(rate - share));
  };
}

/** Spreads the bits of a checksum, whose neighbours differ in few (the finaliser of MurmurHash3). */
function scramble(bits: number): number {
  let h = bits;
  h = Math.imul(h ^ (h >>> 16), 0x85ebca6b);
  h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35);
  return (h ^ (h >>> 16)) >>> 0;
}

/** A source as mixing sees it: its settings, and what it has for training. */
export interface MixSource {
  name: string;
  weight: number;
  epochs?: number | undefined;
  max_documents?: number | undefined;
  max_tokens?: number | undefined;
  documents: number;
  tokens: number;
}

/** The rate of each source in each phase: `rates[source][phase]`. */
export function mixRates(sources: readonly MixSource[], mixing: MixingSettings): number[][] {
  const base = baseTokens(sources, mixing);
  const phases = mixing.curriculum;
  if (!phases) return sources.map(({ tokens }, i) => [tokens > 0 ? base[i]! / tokens : 0]);
  const total = base.reduce((sum, tokens) => sum + tokens, 0);
  const wanted = sources.map(() => new Array<number>(phases.length).fill(0));
  let start = 0;
  for (const [p, { until, weights }] of phases.entries()) {
    const pull = base.map((tokens, i) => tokens * (weights[sources[i]!.name] ?? 1));
    const all = pull.reduce((sum, share) => sum + share, 0);
    for (const [i, share] of pull.entries()) {
      if (all > 0) wanted[i]![p] = (total * (until - start) * share) / all;
    }
    start = until;
  }
  // Where a source would be taken more often than it may, all phases become shorter: their shares are what is asked for.
  const fit = Math.min(
    1,
    ...sources.map((source, i) => {
      const sum = wanted[i]!.reduce((all, tokens) => all + tokens, 0);
      const epochs = mixing.by === 'times' ? Number.POSITIVE_INFINITY : 1;
      return sum > 0 ? available(source, epochs) / sum : 1;
    }),
  );
  return sources.map(({ tokens }, i) => wanted[i]!.map((want) => (tokens > 0 ? (want * fit) / tokens : 0)));
}

/** Tokens that each source gives in all, without a curriculum. */
function baseTokens(sources: readonly MixSource[], mixing: MixingSettings): number[] {
  const { by, temperature, max_tokens = Number.POSITIVE_INFINITY } = mixing;
  if (by === 'times') {
    const tokens = sources.map((source) =>
      Math.min(source.weight * source.tokens, available(source, Number.POSITIVE_INFINITY)),
    );
    const all = tokens.reduce((sum, each) => sum + each, 0);
    return tokens.map((each) => each * Math.min(1, max_tokens / all));
  }
  const pulls = sources.map(({ weight, tokens }) => {
    if (tokens === 0) return 0;
    return by === 'share' ? weight : (weight * tokens) ** (1 / temperature);
  });
  const all = pulls.reduce((sum, pull) => sum + pull, 0);
  if (all === 0) return pulls;
  // As much as there is in these proportions, without a source being taken more often than it may.
  const limits = sources.map((source, i) =>
    pulls[i] === 0 ? Number.POSITIVE_INFINITY : (available(source, 1) * all) / pulls[i]!,
  );
  const total = Math.min(max_tokens, ...limits);
  return pulls.map((pull) => (total * pull) / all);
}

/** Most tokens that a source may give; `epochs` is how often its documents may be taken where it does not say so. */
function available(source: MixSource, epochs: number): number {
  const { tokens, documents, max_tokens = Number.POSITIVE_INFINITY } = source;
  if (tokens === 0) return 0;
  const byDocuments =
    source.max_documents === undefined
      ? Number.POSITIVE_INFINITY
      : (source.max_documents * tokens) / documents;
  return Math.min((source.epochs ?? epochs) * tokens, max_tokens, byDocuments);
}

/** Refuses phases that name sources which are not there. */
export function checkPhases(
  sources: readonly Pick<MixSource, 'name'>[],
  { curriculum = [] }: MixingSettings,
): void {
  const names = sources.map(({ name }) => name);
  for (const [i, { weights }] of curriculum.entries()) {
    for (const name of Object.keys(weights)) {
      if (names.includes(name)) continue;
      const near = nearest(name, names);
      throw new AnnealError('recipe_invalid', `No source has the name ${name}.`, {
        path: `mixing.curriculum.${i}.weights.${name}`,
        hint: near === undefined ? `There are ${names.join(', ')}.` : `Did you mean ${near}?`,
      });
    }
  }
}
