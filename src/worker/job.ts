/**
 * Runs a recipe: its stages in order, each reused where an artifact of the same inputs exists. Restarted after a
 * kill it finds finished stages in the store and the running one's checkpoints in its work folder. A stage that fails
 * takes those with it that need it; the others run, and the job fails in the end.
 */
import { rm } from 'node:fs/promises';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { AnnealError, type ErrorBody, toAnnealError } from '../../proto/errors.ts';
import type { EventBody, EventKind } from '../../proto/events.ts';
import { tensorboardFolder } from '../../proto/home.ts';
import { ANNEAL_VERSION } from '../../proto/version.ts';
import type { FromWorker, WorkerEvent, WorkerTask } from '../../proto/worker.ts';
import { ArtifactStore, readLineage } from '../artifacts/store.ts';
import { setFetching } from '../data/sources/fetch.ts';
import { type Addon, loadAddon } from '../native/addon.ts';
import { atStage } from '../recipe/errors.ts';
import { needsOf, parseRecipe, type Recipe, type RecipeStage } from '../recipe/recipe.ts';
import { requireTested, selftestRoles, testStage } from '../selftest/selftest.ts';
import { STAGES } from '../stages/registry.ts';
import { type Artifact, type StageContext, StageStopped } from '../stages/stage.ts';
import { asFileError, linkAtomic, makeDir } from '../util/files.ts';
import type { WorkerChannel } from './channel.ts';
import { GenerateQueue, SLICE_MS } from './generate.ts';
import { jobError, walkStages } from './graph.ts';
import { codeHash, identifyStages, type StageIdentity } from './identity.ts';
import { matrixSpeed } from './machine.ts';
import { trackedAddon } from './tracked.ts';

/** Between two reports of how far the fetching of URLs is. */
const FETCH_REPORT_MS = 1000;

type RecipeTask = Extract<WorkerTask, { task: 'recipe' }>;

/** Runs the task `recipe`; how it ended is the last message. */
export async function runRecipe(task: RecipeTask, channel: WorkerChannel): Promise<void> {
  const done = (outcome: Extract<FromWorker, { type: 'done' }>['outcome'], error: AnnealError | null) =>
    channel.send({ type: 'done', outcome, error: error?.toBody() ?? null });
  const queue = new GenerateQueue(channel);
  try {
    await new RecipeRun(task, channel, queue).run();
    done('succeeded', null);
  } catch (error) {
    if (error instanceof StageStopped) {
      done('stopped', null);
      return;
    }
    const known = toAnnealError(asFileError(error, (error as NodeJS.ErrnoException).path ?? task.home));
    if (known.code === 'internal') process.stderr.write(`${(error as Error).stack ?? String(error)}\n`);
    done('failed', known);
  } finally {
    queue.close(new AnnealError('job_state', 'The job has ended.', { hint: 'Name the model that it made.' }));
  }
}

class RecipeRun {
  readonly #task: RecipeTask;
  readonly #channel: WorkerChannel;
  readonly #queue: GenerateQueue;
  readonly #store: ArtifactStore;
  readonly #addon: Addon;
  readonly #stop = new AbortController();

  constructor(task: RecipeTask, channel: WorkerChannel, queue: GenerateQueue) {
    this.#task = task;
    this.#channel = channel;
    this.#queue = queue;
    this.#store = new ArtifactStore(task.home);
    this.#addon = trackedAddon(loadAddon(), channel.track.bind(channel));
    channel.onStop(() => this.#stop.abort());
  }

  get #stopRequested(): boolean {
    return this.#stop.signal.aborted;
  }

  async run(): Promise<void> {
    const recipe = await parseRecipe(this.#task.recipe, STAGES, this.#task.home);
    const { selftest } = this.#task;
    const roles = selftest === null ? undefined : selftestRoles(recipe, selftest);
    const stages = roles ? recipe.stages.filter(({ name }) => roles.has(name)) : recipe.stages;
    this.#emitGraph(stages);
    const identities = await this.#identify(recipe);
    const placeOf = (stage: RecipeStage, index: number): StagePlace => ({
      stage: stage.name,
      type: stage.definition.type,
      index,
      count: stages.length,
    });
    const outcome = await walkStages(stages, this.#task.failed, {
      checkStop: () => {
        if (this.#stopRequested) throw new StageStopped();
      },
      make: (stage, index, made) => {
        const run: StageRun = {
          recipe,
          stage,
          identity: identities.get(stage.name)!,
          place: placeOf(stage, index),
          made,
        };
        const role = roles?.get(stage.name);
        if (role === 'test') return this.#test(run);
        // Training for the sake of a test would be the whole recipe.
        return role === 'make' && stage.definition.trains ? this.#find(run) : this.#make(run);
      },
      known: (error, stage) => this.#known(atStage(error, stage, recipe.locate)),
      ended: (stage, index, phase, error) => this.#emitEnd(placeOf(stage, index), phase, error),
    });
    if (outcome.failed.size > 0) throw jobError(outcome);
    if (roles) requireTested(roles, outcome.skipped, selftest!);
  }

  /** Fetches what URLs name, and tells how far that is; from then on they have what they had at this look. */
  async #identify(recipe: Recipe): Promise<Map<string, StageIdentity>> {
    let stage = '';
    let told = Number.NEGATIVE_INFINITY;
    setFetching({
      remembered: new Map(),
      signal: this.#stop.signal,
      onProgress: ({ bytes, done, urls }) => {
        const now = performance.now();
        if (now - told < FETCH_REPORT_MS) return;
        told = now;
        const metrics = { urls, fetched: done };
        this.#emit('progress', { stage, done: bytes, total: null, unit: 'byte', metrics });
      },
    });
    try {
      return await identifyStages(recipe, this.#task.home, (name) => {
        stage = name;
      });
    } catch (error) {
      throw this.#stopRequested ? new StageStopped() : error;
    }
  }

  /** The artifact of a stage, reused or made. */
  async #make(run: StageRun): Promise<Artifact> {
    const { recipe, stage } = run;
    const artifact = (await this.#reuse(run)) ?? (await this.#runStage(run));
    await this.#store.nameArtifact(recipe.name, stage.name, artifact);
    if (stage.definition.trains) await linkAtomic(artifact.path, this.#tensorboard(stage.name));
    return artifact;
  }

  /** The artifact of a stage if it is there. */
  async #find(run: StageRun): Promise<Artifact | undefined> {
    const artifact = await this.#reuse(run);
    const text = `${run.stage.name} has not been trained yet: what needs it cannot be tested.`;
    if (!artifact) this.#emit('notice', { stage: run.stage.name, level: 'warning', text });
    return artifact;
  }

  /** Tests a stage; those that need it are given what it has made before. */
  async #test(run: StageRun): Promise<Artifact | undefined> {
    const { stage, place, identity } = run;
    const started = performance.now();
    this.#emitStage(place, 'started', null, null);
    const outDir = join(this.#task.home, 'jobs', this.#task.job, 'selftest', stage.name);
    await makeDir(outDir);
    await testStage(stage.definition, await this.#context(run, outDir, {}));
    this.#emitStage(place, 'finished', null, (performance.now() - started) / 1000);
    return this.#store.find(identity.hash, () => {});
  }

  /** Any thrown value as an error of the catalogue. */
  #known(error: unknown): AnnealError {
    const known = toAnnealError(asFileError(error, (error as NodeJS.ErrnoException).path ?? this.#task.home));
    // A fault of our own: its stack goes to the log.
    if (known.code === 'internal') process.stderr.write(`${(error as Error).stack ?? String(error)}\n`);
    return known;
  }

  /** The link under which TensorBoard finds the events of a stage, while it runs and afterwards. */
  #tensorboard(stage: string): string {
    return join(tensorboardFolder(this.#task.home, this.#task.job), stage);
  }

  /** An artifact that exists; with `fresh` only one that this very job has made. */
  async #reuse({ stage, identity, place }: StageRun): Promise<Artifact | undefined> {
    const artifact = await this.#store.find(identity.hash, (error) =>
      this.#emit('notice', {
        stage: place.stage,
        level: 'warning',
        text: `${error.message} It is made anew.`,
      }),
    );
    const lineage = artifact && (await readLineage(artifact.path));
    if (!artifact || !lineage) return undefined;
    const own = lineage.job === this.#task.job;
    if (this.#task.fresh && !own) return undefined;
    await stage.definition.retell?.(artifact, {
      name: stage.name,
      emit: (kind, body, key) => this.#emit(kind, body, key),
    });
    const phase = own ? 'finished' : 'reused';
    this.#emitStage(place, phase, artifact.hash, own ? lineage.seconds : null);
    return artifact;
  }

  async #runStage(run: StageRun): Promise<Artifact> {
    const { recipe, stage, identity, place } = run;
    const started = performance.now();
    const { name, definition } = stage;
    const task = this.#task;
    this.#emitStage(place, 'started', null, null);
    const outDir = await this.#store.begin(identity.hash);
    const results: Record<string, number | string> = {};
    const context = await this.#context(run, outDir, results);
    if (definition.trains) await linkAtomic(context.workDir, this.#tensorboard(name));
    await definition.run(context as StageContext<never>);
    const seconds = (performance.now() - started) / 1000;
    // Once the artifact is there, nothing of this stage is run again: its events must be safe by then.
    await this.#channel.flush();
    const artifact = await this.#store.finish(outDir, {
      hash: identity.hash,
      type: definition.type,
      stage: name,
      job: task.job,
      job_name: recipe.name,
      created_at: Date.now() / 1000,
      seconds,
      code_version: ANNEAL_VERSION,
      code_hash: await codeHash(),
      seed: recipe.seed,
      threads: context.threads,
      settings: stage.settings,
      inputs: identity.inputs,
      data_files: identity.dataFiles,
      recipe: task.recipe,
      results,
    });
    this.#emitStage(place, 'finished', artifact.hash, seconds);
    await rm(context.workDir, { recursive: true, force: true });
    return artifact;
  }

  /** What a stage works with; generate requests wait for it from now on if it answers them. */
  async #context(
    { recipe, stage, identity, made }: StageRun,
    outDir: string,
    results: Record<string, number | string>,
  ): Promise<StageContext<unknown>> {
    const { name, definition, settings } = stage;
    const task = this.#task;
    if (definition.serves) this.#queue.open();
    else this.#queue.close(noModelNow(name));
    const inputs: Record<string, Artifact> = { ...identity.folders };
    for (const [key, input] of Object.entries(stage.inputs)) {
      if (input.kind === 'stage') inputs[key] = made.get(input.stage)!;
    }
    const workDir = join(task.home, 'jobs', task.job, 'work', name);
    await makeDir(workDir);
    const threads = recipe.threads ?? availableParallelism();
    return {
      name,
      settings,
      seed: recipe.seed,
      threads,
      addon: this.#addon,
      baseDir: recipe.baseDir,
      inputs,
      hash: identity.hash,
      matrixSpeed: await matrixSpeed(task.home, this.#addon, threads),
      outDir,
      workDir,
      cacheDir: join(task.home, 'cache'),
      home: task.home,
      emit: (kind, body, key) => this.#emit(kind, body, key),
      flush: () => this.#channel.flush(),
      checkpointRequested: () => this.#stopRequested,
      serve: (model, until) => this.#queue.answer(model, until === 'answered' ? undefined : SLICE_MS),
      record: (figures) => Object.assign(results, figures),
      log: (level, text) => this.#emit('log', { level, text }),
    };
  }

  #emitGraph(stages: readonly RecipeStage[]): void {
    const graph = stages.map((stage) => ({
      stage: stage.name,
      type: stage.definition.type,
      needs: needsOf(stage),
    }));
    this.#emit('graph', { stages: graph }, 'graph');
  }

  /** A stage that fails again after it was tried again says so again. */
  #emitEnd(place: StagePlace, phase: 'failed' | 'skipped', error: ErrorBody): void {
    const key = `${place.stage}/stage/${phase}/${this.#task.attempt}`;
    this.#emit('stage', { ...place, phase, artifact: null, seconds: null, error }, key);
  }

  #emitStage(
    place: StagePlace,
    phase: EventBody<'stage'>['phase'],
    artifact: string | null,
    seconds: number | null,
  ): void {
    this.#emit('stage', { ...place, phase, artifact, seconds }, `${place.stage}/stage/${phase}`);
  }

  #emit<K extends EventKind>(kind: K, body: EventBody<K>, key?: string): void {
    this.#channel.send({ type: 'event', kind, body, ...(key === undefined ? {} : { key }) } as WorkerEvent);
  }
}

/** A stage in its turn. */
interface StageRun {
  recipe: Recipe;
  stage: RecipeStage;
  identity: StageIdentity;
  place: StagePlace;
  made: ReadonlyMap<string, Artifact>;
}

type StagePlace = Pick<EventBody<'stage'>, 'stage' | 'type' | 'index' | 'count'>;

function noModelNow(stage: string): AnnealError {
  return new AnnealError('job_state', `Stage ${stage} of the job has no model in memory.`, {
    hint: 'Ask while a stage trains, or name a model that is done.',
  });
}
