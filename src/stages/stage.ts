/**
 * What a stage is. One file a stage exports one `defineStage(...)`; `registry.ts` lists them.
 *
 * A stage turns settings and the artifacts of earlier stages into one artifact: a folder that is complete or
 * absent, addressed by the hash of all that made it (settings, inputs, data files, code version).
 */
import type { z } from 'zod';
import type { EventBody, EventKind } from '../../proto/events.ts';
import type { Addon } from '../native/addon.ts';

/** A finished artifact of an earlier stage, as an input. */
export interface Artifact {
  hash: string;
  /** Folder of its files. */
  path: string;
  /** Type of the stage that made it. */
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
  /** Inputs by the settings key that named them. */
  inputs: Record<string, Artifact>;
  /** Empty folder to write the result to; becomes the artifact when `run` returns. */
  outDir: string;
  /** Folder that outlives the worker until the stage is done: checkpoints, partial work. */
  workDir: string;
  emit<K extends EventKind>(kind: K, body: EventBody<K>, key?: string): void;
  /** Throws `StageStopped` when a stop was asked for; call it between units of work that can be done again. */
  checkpointRequested(): boolean;
  /** Hands the engine over to waiting generate requests on the current weights; call it between microsteps. */
  serve(model: ServedModel): Promise<void>;
  log(level: 'info' | 'warning' | 'error', text: string): void;
}

/** What the worker needs to answer `generate` in the middle of a stage. */
export interface ServedModel {
  session: import('../native/addon.ts').Session;
  tokenizer: import('../tokenizer/tokenizer.ts').Tokenizer;
  chatTemplate: string | undefined;
}

/** Thrown by a stage after it has checkpointed because `checkpointRequested()` said so. */
export class StageStopped extends Error {}

export interface StagePlan {
  memoryBytes: number;
  diskBytes: number;
  seconds: number | null;
  detail: Record<string, string | number | boolean | null>;
}

export interface PlanContext<Settings> {
  name: string;
  settings: Settings;
  threads: number;
  addon: Addon;
  baseDir: string;
  /** Artifacts that exist already; others are known by type only. */
  inputs: Record<string, Artifact | { type: string; settings: unknown }>;
  /** FLOP/s, measured once. */
  matrixSpeed: number;
}

export interface StageDefinition<Schema extends z.ZodType> {
  type: string;
  /** A sentence for `anneal plan --help` and the docs. */
  doc: string;
  schema: Schema;
  /** Settings keys that name an earlier stage (or a folder), and the stage types they accept. */
  inputs: Record<string, { types: string[]; optional?: boolean }>;
  /** Data files that the settings name (globs resolved), so that their content enters the hash. */
  files(settings: z.output<Schema>, baseDir: string): Promise<string[]>;
  plan(context: PlanContext<z.output<Schema>>): Promise<StagePlan>;
  run(context: StageContext<z.output<Schema>>): Promise<void>;
}

export function defineStage<Schema extends z.ZodType>(
  stage: StageDefinition<Schema>,
): StageDefinition<Schema> {
  return stage;
}
