/** A reward model from its folder, checked and open as a scorer. */
import { AnnealError } from '../../proto/errors.ts';
import { loadModel, type ModelFolder, openModelFolder, sessionOptions } from '../models/load.ts';
import { readingOptions } from '../models/reading.ts';
import type { StageContext } from '../stages/stage.ts';
import { loadTokenizer, type Tokenizer } from '../tokenizer/tokenizer.ts';
import { requireMemory } from '../util/memory.ts';
import { modelScorer } from './model.ts';
import type { Scorer } from './scorer.ts';

export interface RewardModelOptions {
  /** Longest prompt with a response that it is to read, where its own context is longer. Absent: its context. */
  maxLength?: number | undefined;
  /** Names the tokenizer that the responses' ids are of. Absent: they have none. */
  tokenizerHash: string | undefined;
}

/**
 * Opens the model that a stage's setting `reward_model` names; `close` frees it. One without a scalar head is refused,
 * as is one with a tokenizer of more tokens than its vocabulary, or that memory is too small for; that its tokenizer
 * is another than the responses' is told.
 */
export async function openRewardModel(
  context: Pick<StageContext<unknown>, 'addon' | 'threads' | 'name' | 'inputs' | 'emit'>,
  { maxLength, tokenizerHash }: RewardModelOptions,
): Promise<Scorer> {
  const { addon, threads, name, inputs } = context;
  const folder = await openModelFolder(inputs.reward_model!.path);
  const { architecture, path } = folder;
  if (architecture.scoreHead !== true) {
    throw new AnnealError('model_invalid', `${path} is no reward model: it has no scalar head.`, {
      path: `stages.${name}.reward_model`,
      hint: 'Name a `reward` stage, or a folder for sequence classification with one label.',
    });
  }
  const tokenizer = await rewardTokenizer(context, folder, tokenizerHash);
  const longest = Math.min(maxLength ?? architecture.maxPositions, architecture.maxPositions);
  const options = readingOptions(architecture, threads, longest);
  requireMemory(addon.planSession(sessionOptions(folder, options)).total, `The reward model of ${name}`);
  const session = await loadModel(addon, folder, options);
  const model = { session, tokenizer, maxRows: options.maxTokens, maxLength: longest };
  return { ...modelScorer(model, tokenizerHash), close: () => session.close() };
}

/** The tokenizer of a reward model, checked against it; that it is another than the responses' is told. */
export async function rewardTokenizer(
  { threads, name, emit }: Pick<StageContext<unknown>, 'threads' | 'name' | 'emit'>,
  { architecture, path }: ModelFolder,
  tokenizerHash: string | undefined,
): Promise<Tokenizer> {
  const tokenizer = await loadTokenizer(path, { threads });
  if (tokenizer.vocabSize > architecture.vocabSize) {
    throw new AnnealError(
      'model_invalid',
      `${path}: its tokenizer has ${tokenizer.vocabSize} tokens, but the model knows ${architecture.vocabSize}.`,
      {
        path: `stages.${name}.reward_model`,
        hint: 'tokenizer.json and the weights belong to different models.',
      },
    );
  }
  if (tokenizerHash !== undefined && tokenizerHash !== tokenizer.hash) {
    const text =
      'The reward model has another tokenizer than the responses: it is given their texts, encoded anew.';
    emit('notice', { stage: name, level: 'warning', text }, `${name}/reward_model/tokenizer`);
  }
  return tokenizer;
}
