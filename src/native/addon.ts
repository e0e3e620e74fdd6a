/**
 * All that the native addon offers, and its loader. The types of its calls stand beside it by what they are about
 * (model, batch, generation, session, tokenizer); importers take them from here.
 *
 * Native does bounded things on flat arrays; TypeScript owns options, defaults, loops and messages. Every call
 * that computes returns a promise and runs on the session's engine thread, in the order of the calls. Sizes are
 * in elements unless the name says bytes; token ids and indices are int32, numbers float32.
 *
 * An error has a `code`: `invalid_argument` (nothing was changed), `closed` (the session was closed), a code of
 * proto/errors.ts (`model_invalid`, `artifact_corrupt`, `file_unreadable`, `out_of_memory`, `cancelled`), or the name
 * of the system's error (`ENOSPC`). A file that could not be written whole is removed.
 */
import { createRequire } from 'node:module';
import { cpus } from 'node:os';
import { join } from 'node:path';
import type { Cleaner, CleanerOptions } from './cleaning.ts';
import type {
  Contamination,
  ContaminationOptions,
  DuplicateOptions,
  Duplicates,
  Fingerprinter,
  FoundParts,
  NearOptions,
  PartHasher,
  PartOptions,
  PartRemover,
  RepeatedPartOptions,
  RepeatedParts,
} from './dedup.ts';
import { Generations } from './generations.ts';
import type { JsonTextOptions, JsonTexts } from './json_texts.ts';
import type { SessionOptions, SessionPlan } from './model.ts';
import type { Session } from './session.ts';
import type { BpeEncoder, BpeEncoderOptions, BpeTrainer, BpeTrainerOptions } from './tokenizer.ts';

export type * from './batch.ts';
export type * from './cleaning.ts';
export type * from './dedup.ts';
export type * from './generation.ts';
export type * from './json_texts.ts';
export type * from './model.ts';
export type * from './session.ts';
export type * from './tokenizer.ts';

export interface MachineInfo {
  simd: 'avx512' | 'avx2' | 'baseline';
  blas: string;
}

export interface Addon {
  createSession(options: SessionOptions): Promise<Session>;
  /** The same sizing code, without reserving anything. */
  planSession(options: SessionOptions): SessionPlan;
  createBpeTrainer(options: BpeTrainerOptions): BpeTrainer;
  createBpeEncoder(options: BpeEncoderOptions): BpeEncoder;
  createCleaner(options: CleanerOptions): Cleaner;
  createFingerprinter(options: { threads: number; near?: NearOptions }): Fingerprinter;
  createPartHasher(options: PartOptions): PartHasher;
  createPartRemover(options: PartOptions & RepeatedParts): PartRemover;
  createContamination(options: ContaminationOptions): Contamination;
  createJsonTexts(options: JsonTextOptions): JsonTexts;
  /** Finds duplicates among documents whose fingerprints lie in files, off the event loop. */
  findDuplicates(options: DuplicateOptions): Promise<Duplicates>;
  /** Finds lines or paragraphs that at least `minDocuments` documents have, off the event loop. */
  findRepeatedParts(options: RepeatedPartOptions): Promise<FoundParts>;
  machineInfo(): MachineInfo;
  /** Measures the speed of matrix products, in FLOP/s: the fastest of some large ones. */
  measureMatrixSpeed(threads: number): Promise<number>;
  /** CRC-32C of a file, computed off the event loop. */
  crc32cFile(path: string): Promise<number>;
}

let loaded: Addon | undefined;

/** Loads the binary once. Only the worker and the tests may call this. */
export function loadAddon(): Addon {
  if (!loaded) {
    setLibraryDefaults();
    const native = createRequire(import.meta.url)(addonPath()) as Addon;
    loaded = {
      ...native,
      createSession: async (options) => withGeneration(await native.createSession(options)),
    };
  }
  return loaded;
}

/** A session is a native object: what TypeScript adds to it becomes its properties. */
function withGeneration(session: Session): Session {
  const generations = new Generations(session);
  const generate: Session['generate'] = (...args) => generations.generate(...args);
  return Object.assign(session, { generations, generate });
}

/**
 * Both libraries read their variables when they are loaded; a user's own settings stay.
 *
 * OpenBLAS 0.3.21 takes AMD's cores with AVX-512 for Intel's Cooper Lake, whose kernels are up to a tenth slower
 * there than its AVX2 ones, and less steady. OpenMP threads that wait must do so asleep: spinning ones take the
 * cores from everything else that runs, and with more threads than free cores a barrier then lasts a time slice.
 */
function setLibraryDefaults(): void {
  if (/AMD/.test(cpus()[0]?.model ?? '')) process.env.OPENBLAS_CORETYPE ??= 'Haswell';
  process.env.OMP_WAIT_POLICY ??= 'passive';
}

/** The binary: both src/native (tests run the sources) and dist/src/native (built) find the one build folder. */
export function addonPath(): string {
  const root = import.meta.dirname.endsWith('/dist/src/native') ? '../../..' : '../..';
  return join(import.meta.dirname, root, 'build/Release/anneal.node');
}
