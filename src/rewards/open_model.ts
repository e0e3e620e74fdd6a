/** A reward model from its folder, open as a scorer. */
import { loadModel, openModelFolder } from '../models/load.ts';
import type { Addon } from '../native/addon.ts';
import { loadTokenizer } from '../tokenizer/tokenizer.ts';
import { modelScorer } from './model.ts';
import type { Scorer } from './scorer.ts';

/** Sequences of a batch: prompts and responses. */
const SEQUENCES = 32;

/** `tokenizerHash` names the tokenizer of the responses' ids; `maxLength` is the longest prompt with a response. */
export async function openRewardModel(
  addon: Addon,
  path: string,
  options: { threads: number; maxLength: number; tokenizerHash: string | undefined },
): Promise<Scorer & { sameTokenizer: boolean }> {
  const { threads, maxLength, tokenizerHash } = options;
  const folder = await openModelFolder(path);
  const tokenizer = await loadTokenizer(path, { threads });
  const room = { maxTokens: 8 * maxLength, maxSequences: SEQUENCES };
  const session = await loadModel(addon, folder, {
    threads,
    trainable: false,
    ...room,
    maxScored: SEQUENCES,
    recompute: false,
    generationSlots: 0,
    generationLength: 0,
  });
  const scorer = modelScorer(
    { session, tokenizer, ...room, maxLength: folder.architecture.maxPositions },
    tokenizerHash,
  );
  return { ...scorer, sameTokenizer: tokenizer.hash === tokenizerHash, close: () => session.close() };
}
