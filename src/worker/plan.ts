/** Checks a recipe and counts what it will need, before anything starts. */
import { availableParallelism } from 'node:os';
import type { CommandReply } from '../../proto/commands.ts';
import type { WorkerTask } from '../../proto/worker.ts';
import { ArtifactStore } from '../artifacts/store.ts';
import { requireFile } from '../data/files.ts';
import { NotFetched, setFetching } from '../data/sources/fetch.ts';
import { type Addon, loadAddon } from '../native/addon.ts';
import { atStage } from '../recipe/errors.ts';
import { fileSettings, parseRecipe, type Recipe } from '../recipe/recipe.ts';
import { STAGES } from '../stages/registry.ts';
import type { Artifact, PlannedInput, StagePlan } from '../stages/stage.ts';
import { freeDiskBytes } from '../util/files.ts';
import { availableMemory } from '../util/memory.ts';
import type { WorkerChannel } from './channel.ts';
import { folderArtifact, identifyStages, type StageIdentity } from './identity.ts';
import { matrixSpeed } from './machine.ts';
import { trackedAddon } from './tracked.ts';

type Plan = CommandReply<'job.plan'>;

/** Runs the task `plan`; `check_only` leaves out what takes time: hashing the data and measuring the machine. */
export async function runPlan(
  task: Extract<WorkerTask, { task: 'plan' }>,
  channel: WorkerChannel,
): Promise<void> {
  // A plan is there in seconds.
  setFetching({ asksOnly: true });
  const recipe = await parseRecipe(task.recipe, STAGES, task.home);
  const addon = trackedAddon(loadAddon(), channel.track.bind(channel));
  const found = task.check_only ? new Map<string, Artifact>() : await findArtifacts(recipe, task.home);
  const speed = task.check_only
    ? 0
    : await matrixSpeed(task.home, addon, recipe.threads ?? availableParallelism());
  const plan = await planRecipe(recipe, found, addon, speed, task.home);
  const { name, device, window = null, retry } = recipe;
  channel.send({ type: 'planned', plan, recipe: { name, device, window, retry } });
}

/** Stages whose artifact exists already; of what is still to be fetched nobody knows what it would make. */
async function findArtifacts(recipe: Recipe, home: string): Promise<Map<string, Artifact>> {
  const store = new ArtifactStore(home);
  const found = new Map<string, Artifact>();
  const identities = await identifyStages(recipe, home).catch((error: unknown) => {
    if (error instanceof NotFetched) return new Map<string, StageIdentity>();
    throw error;
  });
  for (const [stage, { hash }] of identities) {
    const artifact = await store.find(hash, () => {});
    if (artifact) found.set(stage, artifact);
  }
  return found;
}

/** What is known of a stage whose data are still to be fetched. */
function planOfFetching({ urls, bytes }: NotFetched): StagePlan {
  return {
    memoryBytes: 0,
    diskBytes: bytes,
    seconds: null,
    detail: { urls_to_fetch: urls, to_fetch_bytes: bytes },
  };
}

async function planRecipe(
  recipe: Recipe,
  found: ReadonlyMap<string, Artifact>,
  addon: Addon,
  speed: number,
  home: string,
): Promise<Plan> {
  const planned = new Map<string, PlannedInput>();
  const stages: Plan['stages'] = [];
  for (const stage of recipe.stages) {
    const { name, definition, settings, inputs: sources } = stage;
    const inputs: Record<string, PlannedInput> = {};
    for (const [key, source] of Object.entries(sources)) {
      inputs[key] = source.kind === 'stage' ? planned.get(source.stage)! : await folderArtifact(source.path);
    }
    planned.set(name, found.get(name) ?? { type: definition.type, settings, inputs });
    const planStage = async () => {
      // Missing files are errors here already.
      const files = await definition.files(fileSettings(stage) as never, recipe.baseDir);
      for (const file of files) await requireFile(file, file);
      return definition.plan({
        name,
        settings: settings as never,
        threads: recipe.threads ?? availableParallelism(),
        addon,
        baseDir: recipe.baseDir,
        inputs,
        matrixSpeed: speed,
      });
    };
    const plan = await planStage().catch((error: unknown): StagePlan => {
      if (error instanceof NotFetched) return planOfFetching(error);
      throw atStage(error, stage, recipe.locate);
    });
    const reused = found.has(name);
    stages.push({
      stage: name,
      type: definition.type,
      reused,
      memory_bytes: reused ? 0 : plan.memoryBytes,
      disk_bytes: reused ? 0 : plan.diskBytes,
      seconds: reused ? 0 : plan.seconds,
      detail: plan.detail,
    });
  }
  const memory = Math.max(...stages.map((stage) => stage.memory_bytes));
  const disk = stages.reduce((sum, stage) => sum + stage.disk_bytes, 0);
  const [memoryAvailable, diskAvailable] = [availableMemory(), await freeDiskBytes(home)];
  const known = stages.flatMap((stage) => (stage.seconds === null ? [] : [stage.seconds]));
  return {
    stages,
    memory_bytes: memory,
    memory_available_bytes: memoryAvailable,
    disk_bytes: disk,
    disk_available_bytes: diskAvailable,
    seconds: known.length === stages.length ? known.reduce((sum, seconds) => sum + seconds, 0) : null,
    fits: memory <= memoryAvailable && disk <= diskAvailable,
  };
}
