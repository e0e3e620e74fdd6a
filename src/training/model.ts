/**
 * The model of a training stage, open: in full, or as an adapter over a frozen base; and the model that it was before
 * training, as a reference. An adapter is held once with its base, and so is the reference then: the same session
 * without the adapter, or with a frozen copy of what training began from.
 */
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { AnnealError } from '../../proto/errors.ts';
import { DataRandom } from '../data/random.ts';
import { importAdapter } from '../models/adapter.ts';
import { loadModel, type ModelFolder, openBase } from '../models/load.ts';
import { type LoraSettings, resolveLora } from '../models/lora.ts';
import type {
  AdapterInit,
  AdapterOptions,
  Architecture,
  Batch,
  Scores,
  Session,
  SessionOptions,
} from '../native/addon.ts';
import type { StageContext } from '../stages/stage.ts';
import { requireMemory } from '../util/memory.ts';
import type { TrainingSettings } from './settings.ts';
import type { Cursor } from './work.ts';

/** A model that is only asked. */
export interface Reference {
  forward(batch: Batch): Promise<Scores>;
}

/** A pass that trains: the microbatch of the step that begins at `cursor`. */
export interface TrainingPass {
  cursor: Cursor;
  microbatch: number;
}

/** The open model, as a work uses it. */
export interface TrainingRuntime {
  session: Session;
  /** The adapter that is trained; undefined: the base is. */
  adapter: number | undefined;
  /** Fields of every pass of the trained model; with `pass` (a pass that trains) also its dropout. */
  passFields(pass: TrainingPass | undefined): Pick<Batch, 'adapter' | 'dropoutSeed'>;
  /** The model as it was before training; in full training a second session, opened by the first call. */
  reference(): Promise<Reference>;
}

/** An adapter in training. */
export interface TrainedAdapter {
  settings: LoraSettings;
  options: AdapterOptions;
  /** Folder of the base. */
  base: string;
  /** What it began with, as an adapter of the session, where the frozen base alone is not the model before training. */
  start: number | undefined;
}

export interface TrainingModel {
  runtime: TrainingRuntime;
  trained: TrainedAdapter | undefined;
  /** Closes the session and the reference. */
  close(): Promise<void>;
}

/** The trained adapter is the first of its session, a frozen copy of its beginning the second. */
const TRAINED = 0;
const START = 1;

/** How an adapter begins, by `init_lora_weights`. */
export const ADAPTER_INITS: ReadonlyMap<LoraSettings['init_lora_weights'], AdapterInit> = new Map<
  LoraSettings['init_lora_weights'],
  AdapterInit
>([
  [true, 'default'],
  [false, 'random'],
  ['gaussian', 'gaussian'],
  ['pissa', 'pissa'],
]);

/** Adapters of a training session. `folder`: the model to go on from, where it is known already. */
export function trainingAdapters(
  lora: LoraSettings | undefined,
  architecture: Architecture,
  folder: ModelFolder | undefined,
): Pick<SessionOptions, 'trainable' | 'adapters'> {
  if (!lora) return { trainable: true, ...(folder?.adapter ? { adapters: [folder.adapter.options] } : {}) };
  const options = resolveLora(lora, architecture, 'lora');
  const copied = folder?.adapter !== undefined || lora.init_lora_weights === 'pissa';
  return { trainable: false, adapters: copied ? [options, { ...options, trainable: false }] : [options] };
}

/** Opens the model of a stage with the options of its session. */
export async function openTrainingModel(
  context: Pick<
    StageContext<Pick<TrainingSettings, 'lora'>>,
    'settings' | 'addon' | 'seed' | 'name' | 'workDir'
  >,
  model: { base: ModelFolder | undefined; initializerRange: number },
  options: SessionOptions,
): Promise<TrainingModel> {
  const { settings, addon, seed, name } = context;
  const { base } = model;
  const { lora } = settings;
  if (lora && base?.adapter) requireSameAdapter(base, options, name);
  const session = base
    ? await openBase(addon, base, options, { seed })
    : await newModel(addon.createSession(options), seed, model.initializerRange);
  let asked: Session | undefined;
  const close = async () => {
    await session.close();
    await asked?.close();
  };
  try {
    let start: number | undefined;
    if (lora) start = await beginAdapter(session, lora, base, context);
    else if (base?.adapter) {
      await importAdapter(session, TRAINED, base.adapter);
      await session.mergeAdapter(TRAINED);
    }
    const reference = async (): Promise<Reference> => {
      if (lora) return frozen(session, start);
      asked ??= await openReference(context, base, options);
      return asked;
    };
    const adapter = lora ? TRAINED : undefined;
    const runtime = { session, adapter, reference, passFields: passFieldsOf(lora, seed) };
    const trained: TrainedAdapter | undefined =
      lora && base
        ? {
            settings: lora,
            options: options.adapters![TRAINED]!,
            base: base.adapter?.base ?? base.path,
            start,
          }
        : undefined;
    return { runtime, trained, close };
  } catch (error) {
    await close();
    throw error;
  }
}

async function newModel(opening: Promise<Session>, seed: number, range: number): Promise<Session> {
  const session = await opening;
  await session.initWeights(seed, range);
  return session;
}

/** Fills the adapter that is trained, and the frozen copy of it where there is one. */
async function beginAdapter(
  session: Session,
  lora: LoraSettings,
  base: ModelFolder | undefined,
  { seed, workDir }: { seed: number; workDir: string },
): Promise<number | undefined> {
  if (base?.adapter) {
    // A head for values is new.
    if (!base.adapter.options.scoreHead) await session.initAdapter(TRAINED, { seed, kind: 'default' });
    await importAdapter(session, TRAINED, base.adapter);
    await importAdapter(session, START, base.adapter);
    return START;
  }
  await session.initAdapter(TRAINED, { seed, kind: ADAPTER_INITS.get(lora.init_lora_weights)! });
  if (lora.init_lora_weights !== 'pissa') return undefined;
  await copyAdapter(session, TRAINED, START, join(workDir, 'adapter-start.bin'));
  return START;
}

/** Copies one adapter to another of the same shape, by a file. */
async function copyAdapter(session: Session, from: number, to: number, path: string): Promise<void> {
  const tensors = session.tensors(from);
  await session.exportTensors(
    path,
    new Uint8Array(0),
    tensors.map(({ name }) => name),
    from,
  );
  let offset = 0;
  const sources = tensors.map(({ name, shape }) => {
    const source = { name, path, offset, dtype: 'F32' as const };
    offset += 4 * shape.reduce((product, size) => product * size, 1);
    return source;
  });
  await session.importTensors(sources, to);
  await rm(path);
}

function passFieldsOf(lora: LoraSettings | undefined, seed: number): TrainingRuntime['passFields'] {
  if (!lora) return () => ({});
  return (pass) => {
    if (!pass || lora.lora_dropout === 0) return { adapter: TRAINED };
    const { cursor, microbatch } = pass;
    const dropoutSeed = new DataRandom('dropout', seed, cursor.epoch, cursor.index, microbatch).seed();
    return { adapter: TRAINED, dropoutSeed };
  };
}

/** The base of a session without the trained adapter: alone, or with the frozen copy of its beginning. */
function frozen(session: Session, start: number | undefined): Reference {
  return {
    forward: ({ adapter: _, dropoutSeed: __, ...batch }) =>
      session.forward(start === undefined ? batch : { ...batch, adapter: start }),
  };
}

async function openReference(
  { addon, name }: Pick<StageContext<unknown>, 'addon' | 'name'>,
  base: ModelFolder | undefined,
  options: SessionOptions,
): Promise<Session> {
  if (!base) throw new Error('a new model has no reference');
  const asked = { ...options, trainable: false, generationSlots: 0, generationLength: 0 };
  requireMemory(addon.planSession(asked).total, `The reference of stage ${name}`);
  return loadModel(addon, base, asked);
}

/** Training goes on with an adapter as it is, or not at all. */
function requireSameAdapter({ path, adapter }: ModelFolder, options: SessionOptions, stage: string): void {
  const wanted = options.adapters![TRAINED]!;
  const found = adapter!.options;
  const shape = ({ modules, replaces }: AdapterOptions) =>
    JSON.stringify([
      modules.map(({ name, rank, scale, dora }) => [name, rank, scale, dora]).sort(),
      [...replaces].sort(),
    ]);
  if (shape(wanted) === shape(found) && adapter!.settings.init_lora_weights !== 'pissa') return;
  const { r, lora_alpha } = adapter!.settings;
  throw new AnnealError(
    'recipe_invalid',
    `stages.${stage}.lora is another adapter than that of ${path} (r ${r}, lora_alpha ${lora_alpha}, ${found.modules.length} modules).`,
    {
      path: `stages.${stage}.lora`,
      hint: 'Give the settings of that adapter to go on with it; for a new one, merge that one first (a `merge` stage, or `anneal merge`).',
    },
  );
}
