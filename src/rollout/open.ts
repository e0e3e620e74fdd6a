/**
 * A stage of reinforcement learning made ready: prompts read and fitted, scorers opened, and the work over them.
 */

import { join } from 'node:path';
import { AnnealError } from '../../proto/errors.ts';
import { stageRows } from '../data/shapes/read.ts';
import type { RowSettings } from '../data/shapes/settings.ts';
import { asksInChat } from '../models/complete.ts';
import type { Batch, Session } from '../native/addon.ts';
import type { KlController } from '../objectives/kl.ts';
import type { MovingReference } from '../preference/moving_reference.ts';
import type { Artifact, StageContext } from '../stages/stage.ts';
import type { Tokenizer } from '../tokenizer/tokenizer.ts';
import type { Algorithm } from './algorithm.ts';
import type { Critic } from './critic.ts';
import type { DrawSettings } from './draw.ts';
import { RolloutMaker, type RolloutMakerOptions } from './make.ts';
import type { Forward, Measures } from './measure.ts';
import { RolloutPlan } from './plan.ts';
import { fitPrompts, type Prompt, PromptOrder, readPrompts } from './prompts.ts';
import type { WeightedScorer } from './rewards.ts';
import type { RolloutSettings } from './settings.ts';
import { RolloutStore } from './store.ts';
import { validateRollouts, validationPrompts } from './validation.ts';
import { RolloutWork } from './work.ts';

/** What a method asks of rollouts and of training on them. */
export interface Method {
  algorithm: Algorithm;
  /** Groups of a rollout, and samples of a group. */
  groups: number;
  groupSize: number;
  /** Passes through a rollout, and samples of a microbatch. */
  passes: number;
  batchSize: number;
  maxCompletionLength: number;
  /** Weight of the divergence in rewards; and whether log-probabilities of a reference are needed. */
  klCoefficient: number;
  klController: KlController | undefined;
  needsReference: boolean;
  missingEosPenalty: number;
  maxDraws: number | undefined;
  /** Where the values of states come from: a scalar head on the policy, a critic of its own, or nowhere. */
  values: 'shared' | 'separate' | 'none';
  /** Rollouts in all, where the method's own settings say so. */
  rollouts: number | undefined;
}

/** The models of a stage, open. */
export interface RolloutRuntime {
  session: Session;
  /** Fields of the policy's passes: the adapter that is trained, if one is. */
  policyFields: Pick<Batch, 'adapter'>;
  reference?: Forward;
  /** The reference, where it follows the policy. */
  moving?: MovingReference;
  critic: Critic | undefined;
  tokenizer: Tokenizer;
  stopIds: readonly number[];
}

/** Where the prompts of a dataset are: the responses of an earlier stage, or files. */
export function promptFiles(artifact: Artifact | undefined, dataset: readonly string[]): readonly string[] {
  if (!artifact) return dataset;
  return [join(artifact.path, artifact.type === 'rank' ? 'rankings.jsonl' : 'responses.jsonl')];
}

/** How the prompts of a stage are read. */
export type PromptSettings = Pick<RolloutSettings, 'dataset' | 'prompting' | keyof RowSettings>;

/** Reads the prompts of a stage, and tells what the policy will be asked. */
export async function stagePrompts(
  context: StageContext<PromptSettings>,
  tokenizer: Tokenizer,
  maxLength: number,
  completionLength: number,
): Promise<Prompt[]> {
  const { settings, inputs } = context;
  const paths = promptFiles(inputs.dataset, settings.dataset);
  const lengths = { maxLength, completionLength };
  const { prompts, tooLong } = await fittingPrompts(context, 'dataset', paths, tokenizer, lengths);
  auditPrompts(context, prompts, tokenizer, tooLong);
  return prompts;
}

/** Completions of a held-out prompt. */
export function heldOutSamples(method: Method, settings: RolloutSettings): number {
  return settings.num_generations_eval ?? method.groupSize;
}

/** The prompts of `eval_dataset`, as many as `max_eval_tokens` has room for. */
export async function heldOutPrompts(
  context: StageContext<RolloutSettings>,
  method: Method,
  tokenizer: Tokenizer,
  maxLength: number,
): Promise<Prompt[]> {
  const { settings } = context;
  if (settings.eval_dataset === undefined) return [];
  const { maxCompletionLength: completionLength } = method;
  const lengths = { maxLength, completionLength };
  const { prompts } = await fittingPrompts(
    context,
    'eval_dataset',
    settings.eval_dataset,
    tokenizer,
    lengths,
  );
  const samples = heldOutSamples(method, settings);
  return validationPrompts(prompts, samples, completionLength, settings.max_eval_tokens);
}

/** The prompts of files; those that leave no room for a completion are left out and counted. */
async function fittingPrompts(
  context: StageContext<PromptSettings>,
  setting: 'dataset' | 'eval_dataset',
  paths: readonly string[],
  tokenizer: Tokenizer,
  { maxLength, completionLength }: { maxLength: number; completionLength: number },
): Promise<{ prompts: Prompt[]; tooLong: number }> {
  const { settings, inputs, name } = context;
  const chat = asksInChat(inputs.model!.type, tokenizer, settings.prompting);
  const { prompts, tooLong } = fitPrompts(
    await readPrompts(stageRows(context, paths, setting), tokenizer, chat),
    maxLength,
    completionLength,
  );
  if (prompts.length === 0) {
    throw new AnnealError(
      'data_row_too_long',
      `No prompt of stage ${name} leaves room for a completion: rows have ${maxLength} tokens, completions ${completionLength}.`,
      { path: `stages.${name}.${setting}`, hint: 'Lower the length of completions, or raise max_length.' },
    );
  }
  if (tooLong.length > 0) {
    const named = tooLong.slice(0, 3).map(({ origin }) => origin);
    context.emit(
      'notice',
      {
        stage: name,
        level: 'warning',
        text: `${tooLong.length} of ${prompts.length + tooLong.length} prompts are left out: they leave no room for a completion of ${completionLength} tokens in ${maxLength} (${named.join(', ')}${tooLong.length > 3 ? ', ...' : ''}).`,
      },
      `${name}/prompts/${setting}`,
    );
  }
  return { prompts, tooLong: tooLong.length };
}

/** Prompts shown in full before the first step. */
const EXAMPLES = 3;

/** Tells what the policy will be asked: nothing of a prompt is scored. */
function auditPrompts(
  context: StageContext<unknown>,
  prompts: readonly Prompt[],
  tokenizer: Tokenizer,
  tooLong: number,
): void {
  const count = (id: number | undefined) =>
    prompts.reduce((sum, { ids }) => sum + ids.reduce((own, each) => own + (each === id ? 1 : 0), 0), 0);
  const { bosId, eosId } = tokenizer;
  const doubled = prompts.find(({ ids }) => bosId !== undefined && ids[0] === bosId && ids[1] === bosId);
  if (doubled) {
    throw new AnnealError('audit_refused', `Stage ${context.name}: ${doubled.origin} begins with two BOS.`, {
      path: doubled.origin,
      hint: 'The chat template and the tokenizer both add one: take it out of the template.',
    });
  }
  context.emit(
    'audit',
    {
      stage: context.name,
      rows: prompts.length,
      tokens: prompts.reduce((sum, { ids }) => sum + ids.length, 0),
      scored_tokens: 0,
      bos: count(bosId),
      eos: count(eosId),
      scored_eos: 0,
      too_long: tooLong,
      examples: prompts.slice(0, EXAMPLES).map(({ origin, ids }) => ({
        row: origin,
        spans: [{ text: tokenizer.decode(ids), scored: false }],
      })),
    },
    `${context.name}/audit`,
  );
}

/** Optimiser steps of a rollout. */
export function stepsOfRollout(method: Method, settings: RolloutSettings): number {
  const plan = new RolloutPlan(0, method.groups, method.groupSize, planOptions(method, settings, 0));
  return plan.stepsPerPass * method.passes;
}

/** Optimiser steps in all: as many as the recipe says, or as rollouts go through the prompts so many times. */
export function totalSteps(method: Method, settings: RolloutSettings, prompts: number): number {
  if (settings.max_steps !== undefined) return settings.max_steps;
  const epochs = settings.num_train_epochs ?? 1;
  const rollouts = method.rollouts ?? Math.ceil((epochs * prompts) / method.groups);
  return Math.max(1, rollouts * stepsOfRollout(method, settings));
}

/** The work of a stage. */
export function rolloutWork(
  context: StageContext<RolloutSettings>,
  method: Method,
  runtime: RolloutRuntime,
  { prompts, heldOut }: { prompts: readonly Prompt[]; heldOut: readonly Prompt[] },
  scorers: readonly WeightedScorer[],
  generationSlots: number,
): RolloutWork {
  const { settings, seed, name } = context;
  const { session, policyFields, reference, moving, critic, tokenizer, stopIds } = runtime;
  const { algorithm, groups, groupSize, maxCompletionLength, klCoefficient } = method;
  const measures: Measures = {
    policy: session,
    reference,
    values: method.values === 'shared' ? 'head' : critic,
    policyFields: {
      ...policyFields,
      ...(settings.temperature === 1 ? {} : { temperature: settings.temperature }),
    },
  };
  const draw: DrawSettings = {
    maxCompletionLength,
    temperature: settings.temperature,
    topK: settings.top_k,
    topP: settings.top_p,
    minP: settings.min_p,
    repetitionPenalty: settings.repetition_penalty,
    stopIds,
  };
  const making: RolloutMakerOptions = {
    session,
    adapter: policyFields.adapter,
    tokenizer,
    prompts,
    order: new PromptOrder(prompts.length, seed),
    scorers,
    measures,
    draw,
    seed,
    groups,
    groupSize,
    groupsAtOnce: Math.max(1, Math.floor((2 * generationSlots) / groupSize)),
    missingEosPenalty: method.missingEosPenalty,
    maxDraws: method.maxDraws,
    klController: method.klController,
  };
  // Rollouts between now and the oldest checkpoint that may be gone back to.
  const steps = (settings.keep_last + 1) * settings.save_steps;
  const kept = Math.ceil(steps / stepsOfRollout(method, settings)) + 2;
  return new RolloutWork({
    session,
    measures,
    maker: new RolloutMaker(making),
    store: new RolloutStore(context.workDir, context.hash, kept),
    moving,
    algorithm,
    prompts,
    groups,
    groupSize,
    plan: planOptions(method, settings, seed),
    maxCompletionLength,
    klCoefficient,
    validate:
      heldOut.length === 0
        ? undefined
        : validateRollouts(
            making,
            heldOut,
            heldOutSamples(method, settings),
            method.batchSize,
            klCoefficient,
          ),
    totalSteps: totalSteps(method, settings, prompts.length),
    onRollout: (rollout) =>
      context.log(
        'info',
        `${name}: rollout ${rollout.index}: ${rollout.offsets.length - 1} completions, ${rollout.ids.length} tokens`,
      ),
  });
}

function planOptions(method: Method, settings: RolloutSettings, seed: number) {
  return {
    passes: method.passes,
    batchSize: method.batchSize,
    accumulation: settings.gradient_accumulation_steps,
    seed,
  };
}
