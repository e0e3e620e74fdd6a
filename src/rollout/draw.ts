/**
 * Completions of prompts, drawn by the very weights that are trained. The k completions of a prompt share its
 * computation; a draw depends on the recipe's seed, the rollout, the group and the sample only.
 */
import { DataRandom } from '../data/random.ts';
import type { Completion, Session } from '../native/addon.ts';

/** How completions are drawn, by the names of TRL. */
export interface DrawSettings {
  maxCompletionLength: number;
  temperature: number;
  topK: number;
  topP: number;
  minP: number;
  repetitionPenalty: number;
  stopIds: readonly number[];
}

/** A prompt to be drawn for, and the seed of its samples. */
export interface Draw {
  prompt: Int32Array;
  seed: number;
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
  const { maxCompletionLength, stopIds, ...rest } = settings;
  const sampling = { ...rest, maxNewTokens: maxCompletionLength, stopTokens: Int32Array.from(stopIds) };
  return session.generate(
    draws.map(({ prompt, seed }) => ({
      prompt,
      samples,
      sampling: { ...sampling, seed },
      ...(adapter === undefined ? {} : { adapter }),
    })),
  );
}
