/**
 * What a stage is. One file a stage exports one `defineStage(...)`; `registry.ts` lists them.
 *
 * A stage turns settings and the artifacts of earlier stages into one artifact: a folder that is complete or
 * absent, addressed by the hash of all that made it (settings, inputs, data files, code version).
 */
import type { z } from 'zod';
import type { EventBody, EventKind } from '../../proto/events.ts';
import type { Addon, Session } from '../native/addon.ts';
import type { Tokenizer } from '../tokenizer/tokenizer.ts';

/** A finished artifact of an earlier stage, as an input. */
export interface Artifact {
  hash: string;
  /** Folder of its files. */
  path: string;
  /** Type of the stage that made it; `folder` for a folder from elsewhere (a downloaded model). */
  type: string;
}

/** What a running stage may use. */
export interface StageContext<Settings> {
  /** Name of the stage in the recipe. */
  name: string;
  settings: Settings;
  /** Seed of the recipe. */
  seed: number;
  threads: number;
  addon: Addon;
  /** Folder that the recipe's relative paths start from. */
  baseDir: string;
  /** Inputs by the settings key that named them; those of a map by `key.name` (`models.base`). */
  inputs: Record<string, Artifact>;
  /** Hash that the artifact will have: state in `workDir` that was made for another one is not to be used. */
  hash: string;
  /** Measured speed of matrix products in FLOP/s; 0 when it has not been measured. */
  matrixSpeed: number;
  /** Empty folder to write the result to; becomes the artifact when `run` returns. */
  outDir: string;
  /** Folder that outlives the worker until the stage is done: checkpoints, partial work. */
  workDir: string;
  /** Folder of the home for what other runs can use again and every run can compute again; content-addressed. */
  cacheDir: string;
  /** Folder of the daemon's state: what people say about responses lies there (`labels/`). */
  home: string;
  emit<K extends EventKind>(kind: K, body: EventBody<K>, key?: string): void;
  /** Resolves when all events so far are safe; await it before a checkpoint becomes the current one. */
  flush(): Promise<void>;
  /**
   * Whether a stop was asked for. Ask between units of work; on true, write a checkpoint (or drop what can be
   * done again) and throw `StageStopped`.
   */
  checkpointRequested(): boolean;
  /**
   * Hands the engine over to generate requests on the current weights, for a moment; call it between microsteps.
   * `answered`: until all are answered; call it so before the session is closed.
   */
  serve(model: ServedModel, until?: 'answered'): Promise<void>;
  /** Adds figures to the artifact's lineage (`results` of artifact.json). */
  record(results: Record<string, number | string>): void;
  log(level: 'info' | 'warning' | 'error', text: string): void;
}

/** What the worker needs to answer `generate` in the middle of a stage. */
export interface ServedModel {
  session: Session;
  /** The adapter whose weights are used; absent: the base alone. */
  adapter?: number;
  tokenizer: Tokenizer;
  /** Tokens that end a generation. */
  stopIds: number[];
  /** Rows that the session has reserved for a prompt and its answer. */
  generationLength: number;
}

/** Thrown by a stage after it has checkpointed because `checkpointRequested()` said so. */
export class StageStopped extends Error {}

export interface StagePlan {
  memoryBytes: number;
  diskBytes: number;
  seconds: number | null;
  detail: Record<string, string | number | boolean | null>;
}

/** An input in a plan: an artifact that exists, or a stage that has still to run. */
export type PlannedInput =
  | Artifact
  | { type: string; settings: unknown; inputs: Record<string, PlannedInput> };

export interface PlanContext<Settings> {
  name: string;
  settings: Settings;
  threads: number;
  addon: Addon;
  baseDir: string;
  /** Inputs as in StageContext; those that no artifact exists for are known by type, settings and their inputs. */
  inputs: Record<string, PlannedInput>;
  /** FLOP/s, measured once. */
  matrixSpeed: number;
}

export interface StageDefinition<Schema extends z.ZodType> {
  type: string;
  /** A sentence for `anneal plan --help` and the docs. */
  doc: string;
  schema: Schema;
  /**
   * Settings keys that name an earlier stage (or a folder), and the stage types they accept. The value of such a
   * key is a string, or a map from names of the recipe's choice to such strings. With `orFiles` it may also be data
   * files: what names neither a stage nor a folder is left to `files`.
   */
  inputs: Record<string, { types: string[]; optional?: boolean; orFiles?: boolean }>;
  /** It calls `context.serve`: a generate request to its job waits for it. */
  serves?: true;
  /** It takes optimiser steps: it leaves TensorBoard's events, and `anneal selftest` tests it. */
  trains?: true;
  /**
   * Data files that the settings name (globs resolved), so that their content enters the hash. A setting with
   * `orFiles` that names an input is left out of them.
   */
  files(settings: z.output<Schema>, baseDir: string): Promise<string[]>;
  /** Files of the home that decide the result as data files do (people's labels); `settings` as for `files`. */
  homeFiles?(settings: z.output<Schema>, place: HomePlace): Promise<string[]>;
  plan(context: PlanContext<z.output<Schema>>): Promise<StagePlan>;
  run(context: StageContext<z.output<Schema>>): Promise<void>;
  /** Tells again what a finished artifact of this stage has to tell, when it is reused instead of made. */
  retell?(artifact: Artifact, context: Pick<StageContext<unknown>, 'name' | 'emit'>): Promise<void>;
}

/** Where a stage looks for files of the home. */
export interface HomePlace {
  home: string;
  baseDir: string;
  /** Hash of each input by settings key. */
  inputs: Record<string, string>;
}

/** A stage of any settings, as the registry and the recipe hold it. */
export interface AnyStage extends Omit<StageDefinition<z.ZodType>, 'files' | 'homeFiles' | 'plan' | 'run'> {
  files(settings: never, baseDir: string): Promise<string[]>;
  homeFiles?(settings: never, place: HomePlace): Promise<string[]>;
  plan(context: PlanContext<never>): Promise<StagePlan>;
  run(context: StageContext<never>): Promise<void>;
}

/** Checks a definition's types; the result is what `registry.ts` lists. */
export function defineStage<Schema extends z.ZodType>(
  stage: StageDefinition<Schema>,
): StageDefinition<Schema> {
  return stage;
}
