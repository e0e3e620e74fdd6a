/**
 * The folder of work that is done and being done, which several processes may share: `<key>/units/NNNNNN`, with a key
 * of all that decides what the units hold, so that what was left by other settings, data or programs is never used.
 */
import { readdir, readFile, rm } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { ANNEAL_VERSION } from '../../../proto/version.ts';
import { makeDir, writeFileAtomic } from '../../util/files.ts';
import { canonicalJson, hashValue } from '../../util/hash.ts';
import { LockFile } from '../../util/lock_file.ts';
import { type DoneUnit, isUndamaged, openUnit, unitPath } from './unit_folder.ts';

/** Goes up when units hold something else than before for the same settings. */
const UNITS_VERSION = 3;

/** How long a unit that somebody else is at is left alone before the next look. */
const WAIT_MS = 200;

/** Units of one kind: of the counting pass, or of the pass that makes documents. */
export class WorkFolder {
  readonly root: string;
  readonly #dir: string;
  readonly #inputs: Record<string, unknown>;
  readonly #claimsDir: string;
  /** Who is at which unit: so that processes which share the folder do not do the same twice. */
  readonly #claims = new Map<number, LockFile>();

  private constructor(dir: string, inputs: Record<string, unknown>) {
    this.#dir = dir;
    this.#inputs = inputs;
    this.root = join(dir, 'units');
    this.#claimsDir = join(dir, 'claims');
  }

  /** `inputs` is all that the units depend on, as JSON. */
  static async open(workDir: string, kind: string, inputs: Record<string, unknown>): Promise<WorkFolder> {
    const decides = { ...inputs, kind, units_version: UNITS_VERSION, code_version: ANNEAL_VERSION };
    const dir = join(workDir, `${kind}-${hashValue(decides).slice(0, 16)}`);
    await makeDir(join(dir, 'units'));
    await makeDir(join(dir, 'claims'));
    // For people who wonder what a folder is of.
    await writeFileAtomic(join(dir, 'inputs.json'), `${JSON.stringify(decides, null, 2)}\n`);
    return new WorkFolder(dir, decides);
  }

  /**
   * The inputs that differ from those of another folder of this kind beside it, of several from those of the nearest;
   * undefined where there is none.
   */
  async otherInputs(): Promise<string[] | undefined> {
    const [own, parent] = [basename(this.#dir), dirname(this.#dir)];
    const [kind] = own.split('-');
    let nearest: string[] | undefined;
    for (const name of await readdir(parent)) {
      if (name === own || !name.startsWith(`${kind}-`)) continue;
      // Somebody may just be making it.
      const text = await readFile(join(parent, name, 'inputs.json'), 'utf8').catch(() => '{}');
      const different = differences(this.#inputs, JSON.parse(text) as Record<string, unknown>);
      if (nearest === undefined || different.length < nearest.length) nearest = different;
    }
    return nearest;
  }

  /** Units that are done. */
  async count(): Promise<number> {
    return (await readdir(this.root)).filter((name) => /^\d+$/.test(name)).length;
  }

  done(index: number): Promise<DoneUnit | undefined> {
    return openUnit(this.root, index);
  }

  /**
   * Does the units that are not done, in order; a unit that another process is at comes last, when it is done there or
   * that process has gone. `after` is told of each that is done, by whomever, and may say that this is enough.
   */
  async complete(
    indices: readonly number[],
    make: (index: number) => Promise<void>,
    after: (index: number, unit: DoneUnit) => boolean,
  ): Promise<void> {
    let left = [...indices];
    while (left.length > 0) {
      const busy: number[] = [];
      for (const index of left) {
        const unit = (await this.done(index)) ?? (await this.#make(index, make));
        if (unit === undefined) busy.push(index);
        else if (after(index, unit)) return;
      }
      if (busy.length === left.length) await new Promise((resolve) => setTimeout(resolve, WAIT_MS));
      left = busy;
    }
  }

  /** Does a unit again whose files are no longer what was written. */
  async mend(index: number, unit: DoneUnit, make: (index: number) => Promise<void>): Promise<DoneUnit> {
    if (await isUndamaged(unit)) return unit;
    await rm(unit.path, { recursive: true, force: true });
    let again: DoneUnit | undefined;
    await this.complete([index], make, (_, made) => {
      again = made;
      return true;
    });
    return again!;
  }

  async #make(index: number, make: (index: number) => Promise<void>): Promise<DoneUnit | undefined> {
    const claim = this.#claim(index);
    if (!(await claim.take())) return undefined;
    try {
      // Whoever held the claim before may have finished between the two looks.
      const done = await this.done(index);
      if (done) return done;
      await this.#removePartial(index);
      await make(index);
      return await this.done(index);
    } catch (error) {
      // One that took this process for dead may have swept up its files and done the unit itself.
      const done = await this.done(index).catch(() => undefined);
      if (done) return done;
      throw error;
    } finally {
      await claim.release();
      this.#claims.delete(index);
    }
  }

  /** Kept from look to look, as only that shows a holder that is gone. */
  #claim(index: number): LockFile {
    let claim = this.#claims.get(index);
    if (claim === undefined) {
      claim = new LockFile(join(this.#claimsDir, String(index)));
      this.#claims.set(index, claim);
    }
    return claim;
  }

  /** What a kill has left of a unit. */
  async #removePartial(index: number): Promise<void> {
    const prefix = `${unitPath('', index)}.`;
    for (const name of await readdir(this.root)) {
      if (name.startsWith(prefix)) await rm(join(this.root, name), { recursive: true, force: true });
    }
  }
}

/** Keys whose values are not the same. */
function differences(a: Record<string, unknown>, b: Record<string, unknown>): string[] {
  const text = (value: unknown): string => canonicalJson(value ?? null);
  return [...new Set([...Object.keys(a), ...Object.keys(b)])].filter((key) => text(a[key]) !== text(b[key]));
}
