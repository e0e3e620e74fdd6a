/**
 * A reference that follows the model (TR-DPO, Gorbatovski et al. 2024): every so many steps it becomes
 * alpha * model + (1 - alpha) * reference. What it is then is state: a file in the work folder, which goes into each
 * checkpoint, so that a run that was stopped or went back goes on with the same bits.
 */
import { copyFile, open, rename, rm, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { AnnealError } from '../../proto/errors.ts';
import type { Addon, Architecture, Session, TensorInfo } from '../native/addon.ts';
import type { Kept } from '../training/work.ts';
import { asFileError, fsyncDir, fsyncFile, makeDir } from '../util/files.ts';

export interface MovingReferenceOptions {
  addon: Pick<Addon, 'crc32cFile'>;
  /** The model that is trained, in full. */
  model: Session;
  /** Its tensors are replaced. */
  reference: Session;
  /** A folder of its own: what lies there is removed. */
  dir: string;
  /** The model's share in the new reference. */
  alpha: number;
  /** Steps between two changes. */
  every: number;
  /** Where the settings stand in the recipe. */
  place: string;
}

export class MovingReference implements Kept {
  readonly #options: MovingReferenceOptions;
  readonly #tensors: readonly TensorInfo[];
  #files = 0;
  /** The file of the weights as they are, and of those of the last snapshot; undefined: those of the beginning. */
  #current: string | undefined;
  #kept: string | undefined;

  private constructor(options: MovingReferenceOptions) {
    this.#options = options;
    this.#tensors = options.reference.tensors();
  }

  /** Refuses a reference whose weights are not those of the model by name and shape. */
  static async open(options: MovingReferenceOptions): Promise<MovingReference> {
    const shapes = (session: Session) => JSON.stringify(session.tensors());
    if (shapes(options.model) !== shapes(options.reference)) {
      throw new AnnealError(
        'recipe_invalid',
        `${options.place}.sync_ref_model: ref_model has another architecture.`,
        { path: `${options.place}.ref_model`, hint: 'Only the weights of equal models can be mixed.' },
      );
    }
    await rm(options.dir, { recursive: true, force: true });
    await makeDir(options.dir);
    return new MovingReference(options);
  }

  /** Called after each step, with its number from 1. */
  async applied(step: number): Promise<void> {
    const { model, reference, alpha, every } = this.#options;
    if (step % every !== 0) return;
    // The weights of the beginning are needed again only if the training goes back to them.
    this.#current ??= await this.#write((name) => reference.readTensor(name, 'weight'));
    this.#kept ??= this.#current;
    const mixed = await this.#write(async (name) => {
      const weights = await reference.readTensor(name, 'weight');
      const other = await model.readTensor(name, 'weight');
      for (let i = 0; i < weights.length; i++) weights[i] = (1 - alpha) * weights[i]! + alpha * other[i]!;
      return weights;
    });
    await this.#load(mixed);
  }

  async snapshot(): Promise<void> {
    const before = this.#kept;
    this.#kept = this.#current;
    await this.#drop(before);
  }

  async restoreSnapshot(): Promise<void> {
    if (this.#kept !== undefined && this.#kept !== this.#current) await this.#load(this.#kept);
  }

  /** It has none. */
  async clearGradients(): Promise<void> {}

  /** An empty file stands for the weights of the beginning. */
  async writeSnapshot(path: string): Promise<{ bytes: number; crc32c: number }> {
    if (this.#kept === undefined) await writeFile(path, '');
    else await copyFile(this.#kept, path);
    await fsyncFile(path);
    return { bytes: (await stat(path)).size, crc32c: await this.#options.addon.crc32cFile(path) };
  }

  async readSnapshot(path: string): Promise<void> {
    // The session holds the weights of the beginning already.
    if ((await stat(path)).size > 0) {
      const own = this.#newPath();
      await copyFile(path, own);
      await this.#load(own);
    }
    this.#kept = this.#current;
  }

  /** Writes weights to a new file, a tensor after the other. */
  async #write(weights: (name: string) => Promise<Float32Array>): Promise<string> {
    const path = this.#newPath();
    try {
      const file = await open(`${path}.partial`, 'w');
      try {
        for (const { name } of this.#tensors) {
          const values = await weights(name);
          await file.writeFile(new Uint8Array(values.buffer, values.byteOffset, values.byteLength));
        }
        await file.sync();
      } finally {
        await file.close();
      }
      await rename(`${path}.partial`, path);
      await fsyncDir(this.#options.dir);
      return path;
    } catch (error) {
      throw asFileError(error, path);
    }
  }

  /** Makes the weights of a file the reference's. */
  async #load(path: string): Promise<void> {
    let offset = 0;
    const sources = this.#tensors.map(({ name, shape }) => {
      const source = { name, path, offset, dtype: 'F32' as const };
      offset += sizeOf(shape);
      return source;
    });
    await this.#options.reference.importTensors(sources);
    const before = this.#current;
    this.#current = path;
    await this.#drop(before);
  }

  /** Removes a file that nothing needs any more. */
  async #drop(path: string | undefined): Promise<void> {
    if (path !== undefined && path !== this.#current && path !== this.#kept) await rm(path, { force: true });
  }

  #newPath(): string {
    this.#files += 1;
    return join(this.#options.dir, `${this.#files}.bin`);
  }
}

/** What it takes on the disk for each checkpoint: a file in it, and about as much beside them. */
export function movingReferenceBytes(addon: Pick<Addon, 'planSession'>, architecture: Architecture): number {
  const { weights } = addon.planSession({
    architecture,
    threads: 1,
    trainable: false,
    maxTokens: 1,
    maxSequences: 1,
    maxScored: 1,
    recompute: false,
    generationSlots: 0,
    generationLength: 0,
  });
  return 2 * weights;
}

/** Bytes of a tensor of float32. */
function sizeOf(shape: readonly number[]): number {
  return 4 * shape.reduce((product, size) => product * size, 1);
}
