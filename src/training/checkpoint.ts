/**
 * Checkpoints of a training run: `<work>/checkpoint-<number>/` with the engine's snapshot (one of each session that
 * trains) and the trainer's state, each under a checksum. A folder appears under its name only when it is complete; the newest that passes its
 * checksums is the one to go on from. Numbers only rise, so that "newest" never depends on a clock.
 */
import { mkdir, readdir, readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { AnnealError } from '../../proto/errors.ts';
import type { Addon, Session } from '../native/addon.ts';
import { asFileError, fsyncDir, makeDir, renameDirAtomic, writeFileAtomic } from '../util/files.ts';
import { canonicalJson, sha256 } from '../util/hash.ts';
import { type TrainerState, trainerStateSchema } from './state.ts';

const TRAINER = 'trainer.json';
const NAME = /^checkpoint-(\d{6,})$/;

const trainerFileSchema = z.strictObject({
  format: z.literal(2),
  /** Hash of the artifact in the making. */
  artifact: z.string(),
  state: trainerStateSchema,
  /** Those of the sessions, in their order. */
  snapshots: z.array(z.strictObject({ bytes: z.int(), crc32c: z.int() })).min(1),
  /** SHA-256 of the canonical JSON of the fields above. */
  checksum: z.string(),
});

/** A checkpoint that has passed its checksums. */
export interface LoadedCheckpoint {
  number: number;
  state: TrainerState;
  /** In the order of the sessions. */
  snapshotPaths: string[];
}

export interface CheckpointStoreOptions {
  addon: Addon;
  dir: string;
  /** Hash of the artifact in the making: checkpoints of another one are not used. */
  artifact: string;
  keepLast: number;
}

export class CheckpointStore {
  readonly #options: CheckpointStoreOptions;
  #next = 1;

  constructor(options: CheckpointStoreOptions) {
    this.#options = options;
  }

  /**
   * The newest checkpoint that is whole. Damaged ones, ones of another artifact and half-written ones are removed;
   * `notice` is told of the damaged.
   */
  async newest(
    usable: (state: TrainerState) => Promise<boolean>,
    notice: (text: string) => void,
  ): Promise<LoadedCheckpoint | undefined> {
    const { dir } = this.#options;
    await makeDir(dir);
    for (const name of await readdir(dir)) {
      if (name.startsWith('.')) await rm(join(dir, name), { recursive: true, force: true });
    }
    for (const number of (await this.#numbers()).reverse()) {
      try {
        const loaded = await this.#load(number);
        if (loaded && (await usable(loaded.state))) {
          this.#next = number + 1;
          return loaded;
        }
      } catch (error) {
        if (!(error instanceof AnnealError)) throw error;
        notice(`${error.message} Going on from the one before.`);
      }
      await rm(this.#path(number), { recursive: true, force: true });
    }
    this.#next = 1;
    return undefined;
  }

  /**
   * Writes the sessions' last snapshots with this state; runs beside the training. `beforeCommit` is awaited when all
   * is on disk and before the folder gets its name.
   */
  async write(
    sessions: readonly Pick<Session, 'writeSnapshot'>[],
    state: TrainerState,
    beforeCommit: () => Promise<void>,
  ): Promise<number> {
    const number = this.#next;
    this.#next += 1;
    const path = this.#path(number);
    const temporary = join(this.#options.dir, `.checkpoint-${number}.partial`);
    try {
      await mkdir(temporary);
      const snapshots: { bytes: number; crc32c: number }[] = [];
      for (const [i, session] of sessions.entries())
        snapshots.push(await session.writeSnapshot(join(temporary, snapshotFile(i))));
      const content = { format: 2, artifact: this.#options.artifact, state, snapshots } as const;
      const checksum = sha256(canonicalJson(content));
      await writeFileAtomic(join(temporary, TRAINER), `${JSON.stringify({ ...content, checksum })}\n`);
      await beforeCommit();
      await renameDirAtomic(temporary, path);
      await this.#prune();
      return snapshots.reduce((sum, { bytes }) => sum + bytes, 0);
    } catch (error) {
      await rm(temporary, { recursive: true, force: true });
      throw asFileError(error, path);
    }
  }

  async #load(number: number): Promise<LoadedCheckpoint | undefined> {
    const path = this.#path(number);
    const damaged = (what: string, cause?: unknown) =>
      new AnnealError('artifact_corrupt', `Checkpoint ${path} is damaged: ${what}.`, { path, cause });
    const text = await readFile(join(path, TRAINER), 'utf8').catch((cause: unknown) => {
      throw damaged(`${TRAINER} cannot be read`, cause);
    });
    let file: z.infer<typeof trainerFileSchema>;
    try {
      file = trainerFileSchema.parse(JSON.parse(text));
    } catch (cause) {
      throw damaged(`${TRAINER} is not what was written`, cause);
    }
    const { checksum, ...content } = file;
    if (sha256(canonicalJson(content)) !== checksum) throw damaged(`${TRAINER} does not match its checksum`);
    if (file.artifact !== this.#options.artifact) return undefined;
    const snapshotPaths: string[] = [];
    for (const [i, snapshot] of file.snapshots.entries()) {
      const name = snapshotFile(i);
      snapshotPaths.push(join(path, name));
      const crc32c = await this.#options.addon.crc32cFile(snapshotPaths[i]!).catch((cause: unknown) => {
        throw damaged(`${name} cannot be read`, cause);
      });
      if (crc32c !== snapshot.crc32c) throw damaged(`${name} does not match its checksum`);
    }
    return { number, state: file.state, snapshotPaths };
  }

  /** Removes all but the newest `keepLast`, oldest first. */
  async #prune(): Promise<void> {
    const numbers = await this.#numbers();
    const { dir, keepLast } = this.#options;
    for (const number of numbers.slice(0, -keepLast)) {
      await rm(this.#path(number), { recursive: true, force: true });
    }
    if (numbers.length > keepLast) await fsyncDir(dir);
  }

  async #numbers(): Promise<number[]> {
    const numbers = (await readdir(this.#options.dir)).flatMap((name) => {
      const match = NAME.exec(name);
      return match ? [Number(match[1])] : [];
    });
    return numbers.sort((a, b) => a - b);
  }

  #path(number: number): string {
    return join(this.#options.dir, `checkpoint-${String(number).padStart(6, '0')}`);
  }
}

/** The file of a session's snapshot: the model's has no number. */
function snapshotFile(session: number): string {
  return session === 0 ? 'snapshot.bin' : `snapshot-${session}.bin`;
}
