/**
 * The models of a stage of reinforcement learning beside its policy: reference, reward model, critic. With an adapter
 * in training, what lies over the same frozen base is an adapter of the policy's session, so that the base is held
 * once; the rest have sessions of their own. The same sizes answer `anneal plan` and are asked for in a run.
 */
import { resolve } from 'node:path';
import { AnnealError } from '../../proto/errors.ts';
import { rewardArchitecture } from '../models/families.ts';
import { type ModelFolder, openModelFolder } from '../models/load.ts';
import { type LoraSettings, resolveLora } from '../models/lora.ts';
import { readingOptions } from '../models/reading.ts';
import type { AdapterOptions, Addon, Architecture, SessionOptions } from '../native/addon.ts';
import { movingReferenceBytes } from '../preference/moving_reference.ts';
import type { PlannedInput } from '../stages/stage.ts';
import { trainingAdapters } from '../training/model.ts';
import { plannedArchitecture } from '../training/planned.ts';
import { type SessionRoom, trainingSession } from '../training/run.ts';
import type { Method } from './open.ts';
import type { RolloutSettings } from './settings.ts';

/** Completions drawn side by side at most. */
const MAX_SLOTS = 64;

/** A model as far as it is known: its folder may have still to be made. */
export interface KnownModel {
  architecture: Architecture;
  /** What holds the weights under its adapter, or its own: a folder, or the stage that will make it. */
  base: string | PlannedInput;
  adapter: AdapterOptions | undefined;
  folder: ModelFolder | undefined;
}

/** A model as an adapter of the policy's session, or in a session of its own. */
export type Place = { model: KnownModel } & (
  | { adapter: number; session: undefined }
  | { adapter: undefined; session: SessionOptions }
);

/** The models of a stage and what is asked for them. */
export interface Models {
  policy: KnownModel;
  /** The policy's session: what it has beyond a supervised stage's, and all of it. */
  room: RolloutRoom;
  session: SessionOptions;
  reward: Place | undefined;
  critic: Place | undefined;
  /** Bytes of the sessions beside the policy's. */
  bytes: { reference: number; rewardModel: number; critic: number };
  /** Arithmetic for each token of a rollout beside the policy's training: it is drawn, measured, judged and valued. */
  flopsPerToken: number;
  /** Bytes of a snapshot beside the policy's: a critic with a session of its own, a reference that moves. */
  snapshots: number;
}

export type RolloutRoom = Required<Omit<SessionRoom, 'generationLength' | 'generationRows' | 'maxTargets'>>;

/** Settings that only methods with a critic of their own have. */
export interface CriticSettings {
  critic_model?: string | undefined;
  critic_learning_rate?: number | undefined;
}

interface ModelsContext {
  name: string;
  settings: RolloutSettings;
  addon: Addon;
  threads: number;
  inputs: Record<string, PlannedInput>;
}

/** Arranges the models of a stage whose rows have `maxLength` tokens at most. */
export async function arrangeModels(
  context: ModelsContext,
  method: Method,
  policy: KnownModel,
  maxLength: number,
): Promise<Models> {
  const { settings, addon, threads, inputs } = context;
  const { lora } = settings;
  const further: AdapterOptions[] = [];
  const first = trainingAdapters(lora, policy.architecture, policy.folder).adapters?.length ?? 0;
  const place = (model: KnownModel, adapter: AdapterOptions | undefined, own: () => SessionOptions): Place =>
    adapter && sharesBase(model, policy, lora)
      ? { model, adapter: first + further.push(adapter) - 1, session: undefined }
      : { model, adapter: undefined, session: own() };

  const sizes = roomOf(method, maxLength);
  const reward = inputs.reward_model && (await knownModel(inputs.reward_model));
  const rewardPlace =
    reward &&
    place(reward, reward.adapter?.scoreHead ? { ...reward.adapter, trainable: false } : undefined, () =>
      readingSession(reward, threads, maxLength),
    );
  const critic =
    method.values === 'separate' ? await criticModel(context, policy, reward, maxLength) : undefined;
  const criticPlace =
    critic &&
    place(critic, criticAdapter(critic, lora), () => criticSession(critic, settings, threads, sizes));

  // A reward model reads answers of any number.
  const maxSequences = rewardPlace?.adapter === undefined ? sizes.maxSequences : sizes.maxTokens;
  const room = { ...sizes, maxSequences, adapters: further };
  const architecture =
    method.values === 'shared' ? { ...policy.architecture, scoreHead: true } : policy.architecture;
  const session = trainingSession(settings, architecture, threads, maxLength, room, policy.folder);
  // What is planned is training: three products with each weight, two where the base is frozen. Forward is one.
  const forwardFlops = (options: SessionOptions) =>
    addon.planSession({ ...options, recompute: false }).trainFlopsPerToken / (options.trainable ? 3 : 2);
  const criticFlops = (options: SessionOptions) =>
    forwardFlops(options) * (1 + (options.trainable ? 3 : 2) * method.passes);
  const bytesOf = (options: SessionOptions | undefined) => (options ? addon.planSession(options).total : 0);
  // With an adapter the reference is its frozen base.
  const copy = method.needsReference && !lora;
  const asked = { ...session, trainable: false, generationSlots: 0, generationLength: 0 };
  return {
    policy,
    room,
    session,
    reward: rewardPlace,
    critic: criticPlace,
    bytes: {
      reference: bytesOf(copy ? asked : undefined),
      rewardModel: bytesOf(rewardPlace?.session),
      critic: bytesOf(criticPlace?.session),
    },
    flopsPerToken:
      forwardFlops(session) * (method.needsReference ? 3 : 2) +
      (rewardPlace ? forwardFlops(rewardPlace.session ?? session) : 0) +
      (criticPlace ? criticFlops(criticPlace.session ?? session) : 0),
    snapshots:
      (criticPlace?.session ? addon.planSession(criticPlace.session).snapshot : 0) +
      (settings.sync_ref_model ? movingReferenceBytes(addon, policy.architecture) : 0),
  };
}

/** What is held beside the policy's session. */
export function besideBytes({ bytes, snapshots }: Models): { memory: number; snapshots: number } {
  return { memory: bytes.reference + bytes.rewardModel + bytes.critic, snapshots };
}

/** What can be known of a model from its folder, or from the stage that will make it. */
export async function knownModel(input: PlannedInput): Promise<KnownModel> {
  if ('path' in input) {
    const folder = await openModelFolder(input.path);
    const { architecture, adapter, path } = folder;
    return { architecture, base: resolve(adapter?.base ?? path), adapter: adapter?.options, folder };
  }
  const own = await plannedArchitecture(input);
  const architecture = input.type === 'reward' ? rewardArchitecture(own) : own;
  const { lora } = input.settings as { lora?: LoraSettings };
  const known = { architecture, base: input, adapter: undefined, folder: undefined };
  if (!lora) return known;
  const { base } = await knownModel((input.inputs.base ?? input.inputs.model)!);
  return { ...known, base, adapter: resolveLora(lora, architecture, 'lora') };
}

/** Whether a model can be an adapter over the base that the policy's adapter is trained over. */
function sharesBase(model: KnownModel, policy: KnownModel, lora: LoraSettings | undefined): boolean {
  // `pissa` takes directions out of the base.
  const takesOut = (settings: LoraSettings | undefined) => settings?.init_lora_weights === 'pissa';
  if (!lora || takesOut(lora) || takesOut(model.folder?.adapter?.settings)) return false;
  return model.base === policy.base;
}

/** Sizes of the policy's session: room for its microbatches, and for the completions that are drawn. */
function roomOf(method: Method, maxLength: number): Omit<RolloutRoom, 'adapters'> {
  const tokens = Math.max(method.batchSize * maxLength, 64);
  return {
    maxTokens: tokens,
    maxSequences: Math.min(tokens, 2 * method.batchSize),
    maxScored: tokens,
    keepLogits: true,
    generationSlots: Math.min(MAX_SLOTS, method.groups * method.groupSize),
  };
}

/** A session that only reads, an adapter with it. */
function readingSession(
  { architecture, adapter }: KnownModel,
  threads: number,
  maxLength: number,
): SessionOptions {
  const options = readingOptions(architecture, threads, maxLength);
  return adapter ? { ...options, adapters: [adapter] } : options;
}

/** The model that the critic begins as. */
async function criticModel(
  { name, settings, inputs }: ModelsContext,
  policy: KnownModel,
  reward: KnownModel | undefined,
  maxLength: number,
): Promise<KnownModel> {
  const model = inputs.critic_model ? await knownModel(inputs.critic_model) : (reward ?? policy);
  const { maxPositions } = model.architecture;
  if (maxPositions >= maxLength) return model;
  throw new AnnealError(
    'recipe_invalid',
    `The critic of stage ${name} reads ${maxPositions} tokens at most, and rows have ${maxLength}.`,
    {
      path: `stages.${name}.max_length`,
      hint: `Lower max_length, or name another critic_model${settings.reward_model && !inputs.critic_model ? ' than the reward model' : ''}.`,
    },
  );
}

/** The critic's adapter over the policy's base: the one that it begins as, or a new one. */
function criticAdapter(critic: KnownModel, lora: LoraSettings | undefined): AdapterOptions | undefined {
  if (!lora) return undefined;
  const { adapter, architecture } = critic;
  const options = adapter ?? resolveLora(lora, architecture, 'lora');
  return { ...options, scoreHead: true, trainable: true };
}

/** A session of the critic's own: trained in full, or as an adapter (the first) over its frozen weights. */
function criticSession(
  { architecture: own, adapter }: KnownModel,
  settings: RolloutSettings,
  threads: number,
  sizes: Pick<RolloutRoom, 'maxTokens' | 'maxSequences' | 'maxScored'>,
): SessionOptions {
  // An adapter may be over the language-model head too.
  const architecture = adapter ? { ...own, scoreHead: true } : rewardArchitecture(own);
  const { lora } = settings;
  const { maxTokens, maxSequences, maxScored } = sizes;
  return {
    architecture,
    threads,
    trainable: lora === undefined,
    adapters: [
      ...(lora ? [resolveLora(lora, architecture, 'lora')] : []),
      ...(adapter ? [{ ...adapter, trainable: false }] : []),
    ],
    optimizer: settings.optim,
    maxTokens,
    maxSequences,
    maxScored,
    recompute: settings.gradient_checkpointing,
    generationSlots: 0,
    generationLength: 0,
  };
}
