/** The hash that each stage's artifact will have, known before anything runs: settings, seed, inputs, data, code. */

import { stat } from 'node:fs/promises';
import { join } from 'node:path';
import { ANNEAL_VERSION } from '../../proto/version.ts';
import type { Lineage } from '../artifacts/lineage.ts';
import { artifactHash, hashFolder, readLineage } from '../artifacts/store.ts';
import { dataHash } from '../data/data_hash.ts';
import { addonPath } from '../native/addon.ts';
import { fileSettings, type Recipe, type RecipeStage } from '../recipe/recipe.ts';
import type { Artifact } from '../stages/stage.ts';
import { FILES_AT_ONCE, inOrder } from '../util/at_once.ts';
import { hashFile, hashValue } from '../util/hash.ts';

export interface StageIdentity {
  hash: string;
  /** Hash of each input by settings key. */
  inputs: Record<string, string>;
  /** Inputs that are folders on disk. */
  folders: Record<string, Artifact>;
  dataFiles: Lineage['data_files'];
}

/** Computes the identities of all stages; reads every data file once. `begin` is told of each stage in turn. */
export async function identifyStages(
  recipe: Recipe,
  home: string,
  begin: (stage: string) => void = () => undefined,
): Promise<Map<string, StageIdentity>> {
  const identities = new Map<string, StageIdentity>();
  const files = new Map<string, Lineage['data_files'][number]>();
  for (const stage of recipe.stages) {
    begin(stage.name);
    const inputs: Record<string, string> = {};
    const folders: Record<string, Artifact> = {};
    for (const [key, input] of Object.entries(stage.inputs)) {
      if (input.kind === 'folder') folders[key] = await folderArtifact(input.path);
      inputs[key] = input.kind === 'folder' ? folders[key]!.hash : identities.get(input.stage)!.hash;
    }
    const dataFiles: Lineage['data_files'] = [];
    const { definition } = stage;
    const settings = fileSettings(stage) as never;
    const { baseDir } = recipe;
    const paths = [
      ...stage.module,
      ...(await definition.files(settings, baseDir)),
      ...((await definition.homeFiles?.(settings, { home, baseDir, inputs })) ?? []),
    ];
    const look = async (path: string) =>
      files.get(path) ?? { path, bytes: (await stat(path)).size, sha256: await dataHash(path) };
    for await (const file of inOrder(paths, FILES_AT_ONCE, look)) {
      files.set(file.path, file);
      dataFiles.push(file);
    }
    const hash = artifactHash({
      type: stage.definition.type,
      settings: ownSettings(stage),
      seed: recipe.seed,
      inputs,
      data: dataFiles.map((file) => file.sha256),
      codeVersion: ANNEAL_VERSION,
    });
    identities.set(stage.name, { hash, inputs, folders, dataFiles });
  }
  return identities;
}

let ownCode: Promise<string> | undefined;

/**
 * Hash of this program, for the lineage: a build that is not a release has no other name. It is no part of an
 * artifact's address, so that a job which an upgrade interrupts goes on from its checkpoints.
 */
export function codeHash(): Promise<string> {
  const part = (name: string) => hashFolder(join(import.meta.dirname, '../..', name));
  ownCode ??= Promise.all([part('src'), part('proto'), hashFile(addonPath())]).then((parts) =>
    hashValue(parts).slice(0, 32),
  );
  return ownCode;
}

/** Settings without the keys that name inputs, which count by their hash. */
function ownSettings(stage: RecipeStage): Record<string, unknown> {
  return Object.fromEntries(
    Object.entries(stage.settings).filter(([key]) => !Object.hasOwn(stage.definition.inputs, key)),
  );
}

/** A folder as an input: an artifact keeps its type and hash, any other folder is hashed by content. */
export async function folderArtifact(path: string): Promise<Artifact> {
  const lineage = await readLineage(path);
  if (lineage) return { hash: lineage.hash, path, type: lineage.type };
  return { hash: await hashFolder(path), path, type: 'folder' };
}
