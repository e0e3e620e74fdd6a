/**
 * Completions of prompts, drawn by the very weights that are trained. The k completions of a prompt share its
 * computation; a draw depends on the recipe's seed, the rollout, the group and the sample only.
 */
import { DataRandom } from '../data/random.ts';
import type { Completion, Constraint, Session } from '../native/addon.ts';

/** How completions are drawn, by the names of TRL. */
export interface DrawSettings {
  maxCompletionLength: number;
  temperature: number;
  topK: number;
  topP: number;
  minP: number;
  repetitionPenalty: number;
  stopIds: readonly number[];
  /** What each completion must match; the session knows the vocabulary. */
  constraint?: Constraint;
}

/** A prompt to be drawn for, and the seed of its samples. */
export interface Draw {
  prompt: Int32Array;
  seed: number;
  /** Tokens at most, where it is fewer than for all. Absent: as for all. */
  maxLength?: number;
}

/** The seed of a group's samples: below 2^53. */
export function drawSeed(seed: number, rollout: number, group: number): number {
  const random = new DataRandom('draw', seed, rollout, group);
  return random.next() * 2 ** 21 + (random.next() >>> 11);
}

/** Draws `samples` completions for each prompt, in the order of prompts and samples. */
export async function drawCompletions(
  session: Session,
  adapter: number | undefined,
  draws: readonly Draw[],
  samples: number,
  settings: DrawSettings,
): Promise<Completion[]> {
  const { maxCompletionLength, stopIds, constraint, ...rest } = settings;
  const sampling = { ...rest, stopTokens: Int32Array.from(stopIds) };
  return session.generate(
    draws.map(({ prompt, seed, maxLength = maxCompletionLength }) => ({
      prompt,
      samples,
      sampling: { ...sampling, seed, maxNewTokens: Math.min(maxLength, maxCompletionLength) },
      ...(adapter === undefined ? {} : { adapter }),
      ...(constraint ? { constraint } : {}),
    })),
  );
}
