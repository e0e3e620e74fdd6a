/**
 * Rollouts on disk: `<work>/rollouts/rollout-<index>.json`, each under a checksum. A file appears under its name only
 * when it is complete. One that was drawn for another artifact, or with other rows set aside before it, is not used.
 */
import { readdir, readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { AnnealError } from '../../proto/errors.ts';
import { exists, makeDir, writeFileAtomic } from '../util/files.ts';
import { sha256 } from '../util/hash.ts';
import type { Rollout } from './rollout.ts';

const NAME = /^rollout-(\d{6,})\.json$/;

/** Arrays of a rollout by type. JSON has no NaN, and numbers as text take three times the room: base64 of the bytes. */
const ARRAYS = {
  prompts: Int32Array,
  offsets: Int32Array,
  ids: Int32Array,
  stopped: Uint8Array,
  sampledLogProbs: Float32Array,
  oldLogProbs: Float32Array,
  entropies: Float32Array,
  referenceLogProbs: Float32Array,
  values: Float32Array,
  rewards: Float64Array,
  scores: Float64Array,
} as const;
type ArrayName = keyof typeof ARRAYS;

export class RolloutStore {
  readonly #dir: string;
  readonly #artifact: string;
  readonly #keep: number;

  /** Keeps the newest `keep` rollouts: as many as lie between the oldest checkpoint that may be gone back to and now. */
  constructor(workDir: string, artifact: string, keep: number) {
    this.#dir = join(workDir, 'rollouts');
    this.#artifact = artifact;
    this.#keep = keep;
  }

  /** Writes a rollout, and removes the old ones that nothing goes back to. */
  async write(rollout: Rollout, key: string): Promise<void> {
    await makeDir(this.#dir);
    const content = JSON.stringify({ format: 1, artifact: this.#artifact, key, rollout: encode(rollout) });
    await writeFileAtomic(this.#path(rollout.index), `${sha256(content)}\n${content}\n`);
    for (const name of await readdir(this.#dir)) {
      const match = NAME.exec(name);
      if (match && Number(match[1]) <= rollout.index - this.#keep) await rm(join(this.#dir, name));
    }
  }

  /** The rollout of this number, if there is one that `key` (what it depends on beside the weights) fits. */
  async read(index: number, key: string): Promise<Rollout | undefined> {
    const path = this.#path(index);
    if (!(await exists(path))) return undefined;
    const text = await readFile(path, 'utf8');
    const border = text.indexOf('\n');
    const content = text.slice(border + 1, -1);
    if (sha256(content) !== text.slice(0, border)) {
      throw new AnnealError('artifact_corrupt', `The rollout ${path} does not match its checksum.`, {
        path,
        hint: 'Run the stage again from its beginning (--fresh).',
      });
    }
    const file = JSON.parse(content) as { artifact: string; key: string; rollout: Encoded };
    return file.artifact === this.#artifact && file.key === key ? decode(file.rollout) : undefined;
  }

  #path(index: number): string {
    return join(this.#dir, `rollout-${String(index).padStart(6, '0')}.json`);
  }
}

type Encoded = Omit<Rollout, ArrayName> & Record<ArrayName, string>;

function encode(rollout: Rollout): Encoded {
  const arrays = Object.keys(ARRAYS).map((name) => {
    const { buffer, byteOffset, byteLength } = rollout[name as ArrayName];
    return [name, Buffer.from(buffer, byteOffset, byteLength).toString('base64')];
  });
  return { ...rollout, ...(Object.fromEntries(arrays) as Record<ArrayName, string>) };
}

function decode(encoded: Encoded): Rollout {
  const arrays = Object.entries(ARRAYS).map(([name, Type]) => {
    // A copy of its own: what Buffer gives lies anywhere in a shared block.
    const bytes = Uint8Array.from(Buffer.from(encoded[name as ArrayName], 'base64'));
    return [name, new Type(bytes.buffer)];
  });
  return { ...encoded, ...Object.fromEntries(arrays) } as Rollout;
}
