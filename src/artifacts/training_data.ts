/** What a model has been trained on: the data at the end of every way back through the lineages of what made it. */
import type { Artifact } from '../stages/stage.ts';
import { exists } from '../util/files.ts';
import type { Lineage } from './lineage.ts';
import { type ArtifactStore, readLineage } from './store.ts';

export type TrainingData =
  /** A dataset of a `prepare` stage. `name`: `job/stage`. */
  | { kind: 'prepared'; name: string; artifact: Artifact }
  /** Files that a stage read itself; `artifact` is what it made of them. */
  | { kind: 'files'; name: string; artifact: Artifact; lineage: Lineage }
  /** A model from elsewhere, or an artifact that is no longer in the store. */
  | { kind: 'unknown'; name: string };

/**
 * All data that an artifact comes from, through bases, adapters, teachers, reward models and the models that made
 * training data, each once, the nearest first. `name` is said of the artifact itself where it has no lineage.
 */
export async function trainingDataOf(
  artifact: Artifact,
  name: string,
  store: ArtifactStore,
): Promise<TrainingData[]> {
  const found: TrainingData[] = [];
  const seen = new Set([artifact.hash]);
  const left = [{ name, artifact }];
  for (let at = left.shift(); at; at = left.shift()) {
    const lineage = await readLineage(at.artifact.path);
    if (!lineage) {
      found.push({ kind: 'unknown', name: at.name });
      continue;
    }
    const stage = `${lineage.job_name}/${lineage.stage}`;
    if (lineage.type === 'prepare') {
      found.push({ kind: 'prepared', name: stage, artifact: at.artifact });
      continue;
    }
    if (lineage.data_files.length > 0 && lineage.inputs.dataset === undefined)
      found.push({ kind: 'files', name: stage, artifact: at.artifact, lineage });
    for (const [key, hash] of Object.entries(lineage.inputs)) {
      if (seen.has(hash)) continue;
      seen.add(hash);
      const path = store.path(hash);
      const given = inputName(lineage, key);
      if (await exists(path)) left.push({ name: given, artifact: { hash, path, type: '' } });
      else found.push({ kind: 'unknown', name: given });
    }
  }
  return found;
}

/** An input as the recipe names it: a stage, or a folder. */
function inputName({ settings }: Lineage, key: string): string {
  const [setting = '', ...names] = key.split('.');
  const value = settings[setting];
  const named = names.length === 0 ? value : (value as Record<string, unknown>)[names.join('.')];
  return typeof named === 'string' ? named : key;
}
