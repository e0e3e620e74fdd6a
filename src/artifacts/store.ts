/**
 * The store of finished stages: `$ANNEAL_HOME/artifacts/<hash>/`, each folder complete or absent, with its
 * lineage in `artifact.json`. `$ANNEAL_HOME/models/<job name>/<stage>` are links to those that are models, and
 * `$ANNEAL_HOME/datasets/<job name>/<stage>` to those that are datasets, of responses or
 * prepared.
 */
import { lstat, readdir, readFile, readlink, rm, stat } from 'node:fs/promises';
import { basename, dirname, join, relative, resolve } from 'node:path';
import { AnnealError } from '../../proto/errors.ts';
import type { Artifact } from '../stages/stage.ts';
import {
  asFileError,
  exists,
  fsyncTree,
  linkAtomic,
  makeDir,
  renameDirAtomic,
  writeFileAtomic,
} from '../util/files.ts';
import { hashFile, hashValue } from '../util/hash.ts';
import { LINEAGE_FILE, type Lineage, lineageSchema } from './lineage.ts';

/** All that an artifact's content depends on. */
export interface ArtifactKey {
  type: string;
  /** Settings without the keys that name inputs: those enter by hash. */
  settings: Record<string, unknown>;
  seed: number;
  inputs: Record<string, string>;
  /** Hashes of the data files, in the order in which the stage reads them. */
  data: string[];
  codeVersion: string;
}

/** The address of the artifact that these would make. */
export function artifactHash(key: ArtifactKey): string {
  return hashValue(key).slice(0, 32);
}

/** Lineage of a folder in the store, or undefined where the folder is not an artifact. */
export async function readLineage(path: string): Promise<Lineage | undefined> {
  const file = join(path, LINEAGE_FILE);
  let text: string;
  try {
    text = await readFile(file, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw asFileError(error, file);
  }
  try {
    return lineageSchema.parse(JSON.parse(text));
  } catch (cause) {
    throw new AnnealError('artifact_corrupt', `${file} is not the lineage of an artifact.`, {
      path: file,
      hint: 'Remove the folder; the stage will be run again.',
      cause,
    });
  }
}

/** Compares every file with its checksum; throws `artifact_corrupt` for the first that differs. */
export async function verifyArtifact(path: string): Promise<Lineage> {
  const lineage = await readLineage(path);
  if (!lineage) {
    throw new AnnealError('artifact_corrupt', `${path} has no ${LINEAGE_FILE}.`, {
      path,
      hint: 'Remove the folder; the stage will be run again.',
    });
  }
  for (const { name, bytes, sha256 } of lineage.files) {
    const file = join(path, name);
    const size = (await stat(file).catch(() => undefined))?.size;
    if (size !== bytes || (await hashFile(file)) !== sha256) {
      throw new AnnealError('artifact_corrupt', `${file} does not match its checksum.`, {
        path: file,
        hint: `Remove ${path}; the stage ${lineage.stage} will be run again.`,
      });
    }
  }
  return lineage;
}

/** The store of one home. */
export class ArtifactStore {
  readonly #root: string;
  readonly #models: string;
  readonly #datasets: string;

  constructor(home: string) {
    this.#root = join(home, 'artifacts');
    this.#models = join(home, 'models');
    this.#datasets = join(home, 'datasets');
  }

  path(hash: string): string {
    return join(this.#root, hash);
  }

  /** A finished artifact, its checksums verified; undefined when there is none, or when it is damaged. */
  async find(hash: string, onCorrupt: (error: AnnealError) => void): Promise<Artifact | undefined> {
    const path = this.path(hash);
    if (!(await exists(path))) return undefined;
    try {
      const lineage = await verifyArtifact(path);
      return { hash, path, type: lineage.type };
    } catch (error) {
      if (!(error instanceof AnnealError) || error.code !== 'artifact_corrupt') throw error;
      onCorrupt(error);
      return undefined;
    }
  }

  /** An empty folder on the store's file system for a stage to write to. */
  async begin(hash: string): Promise<string> {
    await makeDir(this.#root);
    // What a kill has left of this artifact: half of it, or one that was just being replaced.
    for (const name of await readdir(this.#root)) {
      if (name.startsWith(`.${hash}.`)) await rm(join(this.#root, name), { recursive: true, force: true });
    }
    const path = join(this.#root, `.${hash}.partial`);
    await makeDir(path);
    return path;
  }

  /** Makes what a stage wrote the artifact: checksums, lineage, fsync, rename. */
  async finish(outDir: string, lineage: Omit<Lineage, 'format' | 'files'>): Promise<Artifact> {
    const files: Lineage['files'] = [];
    for (const name of await listFiles(outDir)) {
      const path = join(outDir, name);
      files.push({ name, bytes: (await stat(path)).size, sha256: await hashFile(path) });
    }
    const complete: Lineage = { format: 1, ...lineage, files };
    await writeFileAtomic(join(outDir, LINEAGE_FILE), `${JSON.stringify(complete, null, 2)}\n`);
    await fsyncTree(outDir);
    const path = this.path(lineage.hash);
    await renameDirAtomic(outDir, path);
    return { hash: lineage.hash, path, type: lineage.type };
  }

  /** Makes `<job name>/<stage>` the name of a model, or of a dataset: of responses, or prepared. */
  async nameArtifact(jobName: string, stage: string, artifact: Artifact): Promise<void> {
    const isModel = await isModelFolder(artifact.path);
    const isDataset = async (file: string) => exists(join(artifact.path, file));
    if (!isModel && !(await isDataset('dataset.json')) && !(await isDataset('manifest.json'))) return;
    const link = join(isModel ? this.#models : this.#datasets, jobName, stage);
    await linkAtomic(artifact.path, link);
  }

  /** Models that jobs of this home have made, newest first. */
  async listModels(): Promise<NamedModel[]> {
    const models: NamedModel[] = [];
    for (const jobName of await readdir(this.#models).catch(() => [])) {
      for (const stage of await readdir(join(this.#models, jobName)).catch(() => [])) {
        const link = join(this.#models, jobName, stage);
        if (stage.startsWith('.') || !(await lstat(link)).isSymbolicLink()) continue;
        const path = resolve(dirname(link), await readlink(link));
        const lineage = await readLineage(path).catch(() => undefined);
        if (!lineage) continue;
        models.push({
          name: `${jobName}/${stage}`,
          path,
          hash: lineage.hash,
          stage_type: lineage.type,
          parameters: Number(lineage.results.parameters ?? 0),
          created_at: lineage.created_at,
          job: lineage.job,
        });
      }
    }
    return models.sort((a, b) => b.created_at - a.created_at || (a.name < b.name ? -1 : 1));
  }

  /** The folder of a model by its name or its path; `model_not_found` names the nearest. */
  async resolveModel(nameOrPath: string): Promise<string> {
    const models = await this.listModels();
    const named = models.find((model) => model.name === nameOrPath || model.hash === nameOrPath);
    if (named) return named.path;
    if (await isModelFolder(resolve(nameOrPath))) return resolve(nameOrPath);
    throw new AnnealError(
      'model_not_found',
      `${nameOrPath} is neither a model of this home nor a model folder.`,
      {
        path: 'model',
        hint:
          models.length === 0
            ? 'No job has made a model yet; give the path of a folder with config.json and model.safetensors, or of an adapter.'
            : `Models: ${models
                .slice(0, 5)
                .map((model) => model.name)
                .join(', ')}${models.length > 5 ? ', ...' : ''}.`,
      },
    );
  }
}

/** An entry of `listModels`, as the protocol gives it. */
export interface NamedModel {
  name: string;
  path: string;
  hash: string;
  stage_type: string;
  parameters: number;
  created_at: number;
  job: string | null;
}

/** Hash of a folder that no stage of ours made: names and contents of its files. */
export async function hashFolder(path: string): Promise<string> {
  const files: [string, string][] = [];
  for (const name of await listFiles(path)) files.push([name, await hashFile(join(path, name))]);
  return hashValue(files).slice(0, 32);
}

async function isModelFolder(path: string): Promise<boolean> {
  return (await exists(join(path, 'config.json'))) || exists(join(path, 'adapter_config.json'));
}

/** Relative paths of the files below a folder, sorted; names that begin with a dot are left out. */
async function listFiles(dir: string): Promise<string[]> {
  const names: string[] = [];
  for (const entry of await readdir(dir, { recursive: true, withFileTypes: true })) {
    if (!entry.isFile() || basename(entry.name).startsWith('.')) continue;
    names.push(relative(dir, join(entry.parentPath, entry.name)));
  }
  return names.sort();
}
