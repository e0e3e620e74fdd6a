/**
 * A stage of reinforcement learning made ready: prompts read and fitted, scorers opened, and the work over them.
 */

import { join } from 'node:path';
import { AnnealError } from '../../proto/errors.ts';
import { resolveFiles } from '../data/files.ts';
import { asksInChat } from '../models/complete.ts';
import type { Batch, Session } from '../native/addon.ts';
import type { KlController } from '../objectives/kl.ts';
import type { Artifact, StageContext } from '../stages/stage.ts';
import type { Tokenizer } from '../tokenizer/tokenizer.ts';
import type { Algorithm } from './algorithm.ts';
import type { DrawSettings } from './draw.ts';
import { RolloutMaker } from './make.ts';
import type { Forward, Measures } from './measure.ts';
import { RolloutPlan } from './plan.ts';
import { fitPrompts, type Prompt, PromptOrder, readPrompts } from './prompts.ts';
import type { WeightedScorer } from './rewards.ts';
import type { RolloutSettings } from './settings.ts';
import { RolloutStore } from './store.ts';
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
  /** The policy has a scalar head for the values of its states. */
  valueHead: boolean;
  /** Rollouts in all, where the method's own settings say so. */
  rollouts: number | undefined;
}

/** The models of a stage, open. */
export interface RolloutRuntime {
  session: Session;
  /** Fields of the policy's passes: the adapter that is trained, if one is. */
  policyFields: Pick<Batch, 'adapter'>;
  reference: Forward | undefined;
  tokenizer: Tokenizer;
  stopIds: readonly number[];
}

/** Rows of prompts of a dataset: the responses of an earlier stage, or files. */
export async function promptFiles(
  artifact: Artifact | undefined,
  dataset: readonly string[],
  baseDir: string,
): Promise<string[]> {
  if (!artifact) return resolveFiles(dataset, baseDir);
  return [join(artifact.path, artifact.type === 'rank' ? 'rankings.jsonl' : 'responses.jsonl')];
}

/** Reads the prompts of a stage; those that leave no room for a completion are left out and counted. */
export async function stagePrompts(
  context: StageContext<RolloutSettings>,
  tokenizer: Tokenizer,
  maxLength: number,
  completionLength: number,
): Promise<Prompt[]> {
  const { settings, inputs, baseDir, name } = context;
  const chats = asksInChat(inputs.model!.type, tokenizer);
  const chat = (settings.prompting ?? (chats ? 'chat' : 'raw')) === 'chat';
  const paths = await promptFiles(inputs.dataset, settings.dataset, baseDir);
  const { prompts, tooLong } = fitPrompts(
    await readPrompts(paths, tokenizer, chat),
    maxLength,
    completionLength,
  );
  if (prompts.length === 0) {
    throw new AnnealError(
      'data_row_too_long',
      `No prompt of stage ${name} leaves room for a completion: rows have ${maxLength} tokens, completions ${completionLength}.`,
      { path: `stages.${name}.dataset`, hint: 'Lower the length of completions, or raise max_length.' },
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
      `${name}/prompts`,
    );
  }
  auditPrompts(context, prompts, tokenizer, tooLong.length);
  return prompts;
}

/** Prompts shown in full before the first step. */
const EXAMPLES = 3;

/** Tells what the policy will be asked: nothing of a prompt is scored. */
function auditPrompts(
  context: StageContext<RolloutSettings>,
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
  prompts: readonly Prompt[],
  scorers: readonly WeightedScorer[],
  generationSlots: number,
): RolloutWork {
  const { settings, seed, name } = context;
  const { session, policyFields, reference, tokenizer, stopIds } = runtime;
  const { algorithm, groups, groupSize, maxCompletionLength, klCoefficient } = method;
  const measures: Measures = {
    policy: session,
    reference,
    valueHead: method.valueHead,
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
  const maker = new RolloutMaker({
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
  });
  // Rollouts between now and the oldest checkpoint that may be gone back to.
  const steps = (settings.keep_last + 1) * settings.save_steps;
  const kept = Math.ceil(steps / stepsOfRollout(method, settings)) + 2;
  return new RolloutWork({
    session,
    measures,
    maker,
    store: new RolloutStore(context.workDir, context.hash, kept),
    algorithm,
    prompts,
    groups,
    groupSize,
    plan: planOptions(method, settings, seed),
    maxCompletionLength,
    klCoefficient,
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
