/**
 * The reference of a stage: the model before training (or the one that `ref_model` names), as log-probabilities
 * computed once beforehand, or as a model beside the one that is trained.
 */
import { join } from 'node:path';
import { AnnealError } from '../../proto/errors.ts';
import type { AnswerGroup } from '../data/preference.ts';
import { loadModel, openLanguageModel } from '../models/load.ts';
import type { Session } from '../native/addon.ts';
import { type StageContext, StageStopped } from '../stages/stage.ts';
import { loadTokenizer, type Tokenizer } from '../tokenizer/tokenizer.ts';
import type { TrainingRuntime } from '../training/run.ts';
import { requireMemory } from '../util/memory.ts';
import { groupRows, type PackOptions } from './batch.ts';
import { ContentCache, modelContentHash } from './content_cache.ts';
import { MovingReference } from './moving_reference.ts';
import { KEPT_BATCH_ROWS, liveReference, precompute, type ReferenceLogProbs } from './reference.ts';
import type { PreferenceSettings, SyncSettings } from './settings.ts';

type Context = StageContext<PreferenceSettings>;

/** A model that is only asked, in a session of its own. */
export async function openAskedModel(
  context: Pick<StageContext<unknown>, 'addon' | 'threads' | 'name'>,
  path: string,
  maxRows: number,
): Promise<Session> {
  const { addon, threads, name } = context;
  const folder = await openLanguageModel(path);
  const options = {
    threads,
    trainable: false,
    recompute: false,
    generationSlots: 0,
    generationLength: 0,
    maxTokens: maxRows,
    maxSequences: maxRows,
    maxScored: maxRows,
  };
  const { total } = addon.planSession({ ...options, architecture: folder.architecture });
  requireMemory(total, `The reference of stage ${name}`);
  return loadModel(addon, folder, options);
}

/** Room for the batches whose numbers are kept. */
export function keptRoom(groups: readonly AnswerGroup[], pack: PackOptions): number {
  return groups.reduce((most, group) => Math.max(most, groupRows(group, pack)), KEPT_BATCH_ROWS);
}

/**
 * A copy of the model at `path` that follows the one in training (`sync_ref_model`), in a session of its own that the
 * caller closes.
 */
export async function openMovingReference(
  context: Pick<StageContext<SyncSettings>, 'addon' | 'threads' | 'name' | 'settings' | 'workDir'>,
  model: Session,
  path: string,
  maxRows: number,
): Promise<{ session: Session; moving: MovingReference }> {
  const { addon, settings, workDir, name } = context;
  const session = await openAskedModel(context, path, maxRows);
  try {
    const moving = await MovingReference.open({
      addon,
      model,
      reference: session,
      dir: join(workDir, 'reference'),
      alpha: settings.ref_model_mixup_alpha!,
      every: settings.ref_model_sync_steps!,
      place: `stages.${name}`,
    });
    return { session, moving };
  } catch (error) {
    await session.close();
    throw error;
  }
}

export class ReferenceModel {
  readonly #context: Context;
  readonly #path: string;
  readonly #computed: ReferenceLogProbs | undefined;
  #session: Session | undefined;

  private constructor(context: Context, path: string, computed: ReferenceLogProbs | undefined) {
    this.#context = context;
    this.#path = path;
    this.#computed = computed;
  }

  /** Computes what is to be computed beforehand; the model is closed again then. */
  static async open(
    context: Context,
    tokenizer: Tokenizer,
    pack: PackOptions,
    groups: readonly AnswerGroup[],
  ): Promise<ReferenceModel> {
    const { settings, inputs } = context;
    const { path } = (inputs.ref_model ?? inputs.model)!;
    if (inputs.ref_model) await requireTokenizer(path, tokenizer, `stages.${context.name}.ref_model`);
    const computed = settings.precompute_ref_log_probs
      ? await precomputed(context, path, pack, groups)
      : undefined;
    return new ReferenceModel(context, path, computed);
  }

  /** Where the work gets the reference's numbers, and what moves the reference, if it moves. */
  async logProbs(
    runtime: TrainingRuntime,
    maxRows: number,
  ): Promise<{ reference: ReferenceLogProbs; moving?: MovingReference }> {
    if (this.#computed) return { reference: this.#computed };
    const { settings, inputs } = this.#context;
    if (settings.sync_ref_model) {
      const { session, moving } = await openMovingReference(
        this.#context,
        runtime.session,
        this.#path,
        maxRows,
      );
      this.#session = session;
      return { reference: liveReference(session), moving };
    }
    if (!inputs.ref_model) return { reference: liveReference(await runtime.reference()) };
    this.#session = await openAskedModel(this.#context, this.#path, maxRows);
    return { reference: liveReference(this.#session) };
  }

  async close(): Promise<void> {
    await this.#session?.close();
  }
}

/** Refuses a model whose ids mean something else. */
export async function requireTokenizer(path: string, tokenizer: Tokenizer, place: string): Promise<void> {
  if ((await loadTokenizer(path)).hash === tokenizer.hash) return;
  throw new AnnealError('tokenizer_invalid', `${place}: ${path} has another tokenizer than the model.`, {
    path: place,
    hint: 'Log-probabilities can be compared token by token only.',
  });
}

async function precomputed(
  context: Context,
  path: string,
  pack: PackOptions,
  groups: readonly AnswerGroup[],
): Promise<ReferenceLogProbs> {
  const { threads, name, cacheDir, emit, log } = context;
  const cache = new ContentCache(join(cacheDir, 'model_outputs'));
  const model = await modelContentHash(await openLanguageModel(path));
  let session: Session | undefined;
  let told = performance.now();
  try {
    const result = await precompute(
      groups,
      pack,
      { model, threads },
      cache,
      async () => {
        session ??= await openAskedModel(context, path, keptRoom(groups, pack));
        return session;
      },
      async (done) => {
        if (context.checkpointRequested()) throw new StageStopped();
        if (performance.now() - told < 10_000) return;
        told = performance.now();
        log('info', `${name}: reference log-probabilities of ${done} of ${groups.length} rows`);
      },
    );
    const text = `Reference log-probabilities: ${result.found} rows found, ${result.computed} computed.`;
    emit('notice', { stage: name, level: 'info', text }, `${name}/reference`);
    return result;
  } finally {
    await session?.close();
  }
}
