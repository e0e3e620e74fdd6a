/**
 * The training loop of all training stages: microbatches of a work, optimiser steps, validation, samples, checkpoints
 * and the guard.
 *
 * Numbers never depend on time. Checkpoints, pauses and chats may fall between any two microsteps; what is computed
 * is a function of the recipe alone, so that a run that was killed, paused or rolled back ends with the same bits
 * as one that was not.
 */
import { join } from 'node:path';
import { isDeepStrictEqual } from 'node:util';
import type { EventBody } from '../../proto/events.ts';
import type { Addon, Session } from '../native/addon.ts';
import { type ServedModel, type StageContext, StageStopped } from '../stages/stage.ts';
import { writeFileAtomic } from '../util/files.ts';
import { CheckpointStore } from './checkpoint.ts';
import { acceptStep, countFailure, type GuardBounds, gradNormSpike, lossSpike } from './guard.ts';
import { stepOptions } from './optimizer.ts';
import { Records } from './records.ts';
import { learningRate, type Schedule } from './schedule.ts';
import type { TrainingSettings } from './settings.ts';
import { SpeedMeter } from './speed.ts';
import { initialState, type TrainerState } from './state.ts';
import { type Kept, LOWEST_LOSS, type Work, type WorkGroup } from './work.ts';

export interface TrainerOptions {
  context: Pick<
    StageContext<unknown>,
    'name' | 'hash' | 'workDir' | 'matrixSpeed' | 'emit' | 'flush' | 'checkpointRequested' | 'serve'
  >;
  addon: Addon;
  session: Session;
  /** The adapter that is trained; undefined: the base is. */
  adapter: number | undefined;
  served: ServedModel;
  settings: TrainingSettings;
  schedule: Schedule;
  work: Work;
  /** Writes one sample of text for a prompt. */
  sample(prompt: string): Promise<string>;
  /** The weights are the best so far by validation. */
  onBest(): Promise<void>;
}

/** Samples before and after, beside the model. */
export const SAMPLES_FILE = 'samples.json';

export class Trainer {
  readonly #options: TrainerOptions;
  readonly #checkpoints: CheckpointStore;
  readonly #speed: SpeedMeter;
  readonly #bounds: GuardBounds;
  /** The model's session, those of what is trained beside it, and what else the work keeps. */
  readonly #sessions: readonly Kept[];
  #state: TrainerState = initialState();
  /** The state that belongs to the engine's last snapshot. */
  #snapshotState: TrainerState = initialState();
  #records!: Records;
  #lastSave = performance.now();
  /** The checkpoint that is being written, and what went wrong with it. */
  #writing: Promise<void> = Promise.resolve();
  #writeError: unknown;

  constructor(options: TrainerOptions) {
    this.#options = options;
    const { addon, context, session, settings, work } = options;
    const sessions = new Set([session, ...(work.companions ?? []).map((each) => each.session)]);
    this.#sessions = [...sessions, ...(work.kept ?? [])];
    this.#checkpoints = new CheckpointStore({
      addon,
      dir: join(context.workDir, 'checkpoints'),
      artifact: context.hash,
      keepLast: settings.keep_last,
    });
    this.#speed = new SpeedMeter(session.plan().trainFlopsPerToken, context.matrixSpeed);
    this.#bounds = { maxLossSpike: settings.max_loss_spike, maxGradNormSpike: settings.max_grad_norm_spike };
  }

  /** Trains to the end, from the newest checkpoint if there is one; returns the final state. */
  async run(): Promise<TrainerState> {
    await this.#begin();
    try {
      await this.#sampleBefore();
      await this.#betweenSteps();
      while (this.#state.step < this.#options.schedule.totalSteps) {
        if (!(await this.#trainStep())) continue;
        await this.#betweenSteps();
        if (this.#saveIsDue()) await this.#checkpoint();
      }
      if (!isDeepStrictEqual(this.#state, this.#snapshotState)) await this.#checkpoint();
      await this.#settleWrite();
      await this.#options.context.serve(this.#options.served, 'answered');
      return this.#state;
    } finally {
      await this.#writing;
      this.#records.close();
    }
  }

  async #begin(): Promise<void> {
    const { context } = this.#options;
    const loaded = await this.#checkpoints.newest(
      (state) => Records.hold(context.workDir, state),
      (text) => context.emit('notice', { stage: context.name, level: 'warning', text }),
    );
    if (loaded) {
      for (const [i, session] of this.#sessions.entries())
        await session.readSnapshot(loaded.snapshotPaths[i]!);
      this.#state = loaded.state;
    } else {
      for (const session of this.#sessions) await session.snapshot();
    }
    this.#snapshotState = structuredClone(this.#state);
    this.#records = Records.open(context.workDir, this.#state);
  }

  /** One optimiser step; false when the guard threw it away. */
  async #trainStep(): Promise<boolean> {
    const { settings, schedule, work, session, adapter, context } = this.#options;
    const state = this.#state;
    const group = await work.group(state.cursor, state.setAside, () => this.#boundary());
    while (state.microstep < group.microbatches) {
      await this.#boundary();
      const { loss, tokens, sums } = await work.microbatch(group, state.microstep);
      if (!Number.isFinite(loss)) return this.#throwAway(group, `loss ${loss}`);
      state.partialLoss += loss;
      for (const [name, value] of Object.entries(sums))
        state.partialSums[name] = (state.partialSums[name] ?? 0) + value;
      state.microstep += 1;
      const perStep = state.step > 0 ? state.numTokens / state.step : group.tokens;
      const left = (schedule.totalSteps - state.step - state.microstep / group.microbatches) * perStep;
      const speed = this.#speed.count(context.name, tokens, left, work.takeWait?.());
      if (speed) context.emit('speed', speed);
    }
    const loss = state.partialLoss;
    const spike = lossSpike(loss, state, this.#bounds);
    if (spike) return this.#throwAway(group, spike);
    const step = state.step + 1;
    const rate = learningRate(schedule, step);
    const result = await session.step({
      ...stepOptions(settings, rate, step),
      ...(adapter === undefined ? {} : { adapter }),
    });
    const { gradNorm, applied } = result;
    const steep = applied ? gradNormSpike(gradNorm, state, this.#bounds) : `gradient norm ${gradNorm}`;
    if (steep) return this.#throwAway(group, steep);
    const beside = await this.#stepCompanions(step);
    if (typeof beside === 'string') return this.#throwAway(group, beside);
    await work.applied?.(group, result, step);
    this.#commit(group, step, { loss, grad_norm: gradNorm, learning_rate: rate }, beside);
    return true;
  }

  /** Steps what is trained beside the model; returns its metrics, or what is wrong. */
  async #stepCompanions(step: number): Promise<Record<string, number> | string> {
    const { settings, schedule, work } = this.#options;
    const metrics: Record<string, number> = {};
    for (const { name, session, adapter, learningRate: peak } of work.companions ?? []) {
      const rate = learningRate({ ...schedule, peak }, step);
      const { gradNorm, applied } = await session.step({
        ...stepOptions(settings, rate, step),
        ...(adapter === undefined ? {} : { adapter }),
      });
      if (!applied) return `gradient norm ${gradNorm} of the ${name}`;
      metrics[`${name}/grad_norm`] = gradNorm;
      metrics[`${name}/learning_rate`] = rate;
    }
    return metrics;
  }

  /** Takes a step into the state, the metrics and the ledger. */
  #commit(
    group: WorkGroup,
    step: number,
    figures: { loss: number; grad_norm: number; learning_rate: number },
    beside: Record<string, number>,
  ): void {
    const { context, schedule, work } = this.#options;
    const state = this.#state;
    // The ledger tells of thrown-away batches where training went on, wherever the snapshot was taken.
    const thrownAway = step === state.failingStep ? state.failures : 0;
    for (const { rows } of state.setAside.slice(state.setAside.length - thrownAway)) {
      this.#records.ledger({ step, set_aside: rows });
    }
    this.#records.ledger({ step, rows: group.rows });
    const own = work.metrics(state.partialSums, group);
    state.step = step;
    state.microstep = 0;
    state.partialLoss = 0;
    state.partialSums = {};
    state.cursor = group.next;
    state.numTokens += group.tokens;
    acceptStep(state, figures.loss, figures.grad_norm);
    const epoch = work.epochsAt(group.next);
    const metrics = { ...figures, epoch, num_tokens: state.numTokens, ...beside, ...own };
    this.#records.metrics(step, metrics);
    this.#noteRecords();
    context.emit(
      'progress',
      { stage: context.name, done: step, total: schedule.totalSteps, unit: 'step', metrics },
      `${context.name}/step/${step}`,
    );
  }

  /** Validation and samples that are due after the step that is done; each at most once, also after a restart. */
  async #betweenSteps(): Promise<void> {
    const { settings, schedule, work } = this.#options;
    const state = this.#state;
    const { step } = state;
    const last = step === schedule.totalSteps;
    const due = (every: number | undefined) =>
      every !== undefined && step > 0 && (last || step % every === 0);
    const since = performance.now();
    if (work.validate && due(settings.eval_steps) && state.validatedStep < step)
      await this.#validate(await work.validate(() => this.#boundary()));
    const compare = last && state.samplesBefore.length > 0;
    if ((due(settings.sample_steps) || compare) && state.sampledStep < step) {
      const texts = await this.#sample();
      if (compare) await this.#compareSamples(texts);
      state.sampledStep = step;
      this.#noteRecords();
    }
    this.#speed.skip(since);
  }

  async #validate(metrics: Record<string, number>): Promise<void> {
    const { context, onBest, work } = this.#options;
    const state = this.#state;
    const { step } = state;
    const { metric, greater } = work.bestBy ?? LOWEST_LOSS;
    const value = metrics[metric]!;
    if (state.best === null || (greater ? value > state.best.value : value < state.best.value)) {
      await onBest();
      state.best = { step, value };
    }
    state.validatedStep = step;
    this.#records.metrics(step, metrics);
    this.#noteRecords();
    context.emit('validation', { stage: context.name, step, metrics }, `${context.name}/validation/${step}`);
  }

  /** Samples of the model as it is before training, once. */
  async #sampleBefore(): Promise<void> {
    const state = this.#state;
    const { sample_prompts: prompts } = this.#options.settings;
    if (state.step > 0 || state.microstep > 0 || state.samplesBefore.length === prompts.length) return;
    const since = performance.now();
    state.samplesBefore = await this.#sample();
    this.#noteRecords();
    // The engine's first snapshot is of these very weights: who goes back to it need not draw them again.
    this.#snapshotState = structuredClone(state);
    this.#speed.skip(since);
  }

  /** What the samples were before training, and what they are now. */
  async #compareSamples(after: readonly string[]): Promise<void> {
    const { context, settings } = this.#options;
    const report: EventBody<'report'> = {
      stage: context.name,
      title: `${context.name}: samples before and after`,
      columns: [],
      rows: [],
      examples: settings.sample_prompts.map((prompt, i) => ({
        prompt,
        expected: '',
        outputs: { before: this.#state.samplesBefore[i]!, after: after[i]! },
      })),
    };
    await writeFileAtomic(join(context.workDir, SAMPLES_FILE), `${JSON.stringify(report, null, 2)}\n`);
    context.emit('report', report, `${context.name}/samples`);
  }

  /** Draws and tells a sample of each prompt. */
  async #sample(): Promise<string[]> {
    const { context, settings, sample } = this.#options;
    const { step } = this.#state;
    const texts: string[] = [];
    for (const [i, prompt] of settings.sample_prompts.entries()) {
      await this.#boundary();
      const text = await sample(prompt);
      texts.push(text);
      context.emit(
        'sample',
        { stage: context.name, step, prompt, text },
        `${context.name}/sample/${step}/${i}`,
      );
    }
    // Together, once all are there: a stop between them draws them all again.
    for (const [i, text] of texts.entries()) this.#records.sample(step, i, settings.sample_prompts[i]!, text);
    return texts;
  }

  /** Between two units of work: stops if asked to, and lets waiting generations have the engine. */
  async #boundary(): Promise<void> {
    if (this.#writeError !== undefined) throw this.#writeError;
    const { context, served } = this.#options;
    if (context.checkpointRequested()) {
      await this.#checkpoint();
      await this.#settleWrite();
      throw new StageStopped();
    }
    const since = performance.now();
    await context.serve(served);
    this.#speed.skip(since);
  }

  #saveIsDue(): boolean {
    const { save_steps, save_seconds } = this.#options.settings;
    if (this.#state.step % save_steps === 0) return true;
    return performance.now() - this.#lastSave >= save_seconds * 1_000;
  }

  /** Copies the state aside and begins to write it; training goes on meanwhile. */
  async #checkpoint(): Promise<void> {
    const { context } = this.#options;
    await this.#settleWrite();
    this.#records.sync();
    for (const session of this.#sessions) await session.snapshot();
    const state = structuredClone(this.#state);
    this.#snapshotState = state;
    this.#lastSave = performance.now();
    this.#writing = this.#checkpoints
      .write(this.#sessions, state, () => context.flush())
      .then(
        (bytes) => {
          const { step } = state;
          context.emit(
            'checkpoint',
            { stage: context.name, step, bytes },
            `${context.name}/checkpoint/${step}`,
          );
        },
        (error: unknown) => {
          this.#writeError = error;
        },
      );
  }

  async #settleWrite(): Promise<void> {
    await this.#writing;
    if (this.#writeError !== undefined) throw this.#writeError;
  }

  /**
   * Goes back to the last snapshot and sets the rows of the failed step aside. The steps between are trained again
   * with the same rows, and so with the same numbers; only the failed one gets others.
   */
  async #throwAway(group: WorkGroup, what: string): Promise<false> {
    const { context } = this.#options;
    const { step: done, cursor, setAside, failures: before, failingStep } = this.#state;
    const step = done + 1;
    const failures = countFailure(failingStep === step ? before : 0, step, what, context.name);
    const rows = group.rows.flat();
    for (const session of this.#sessions) await session.restoreSnapshot();
    const state = structuredClone(this.#snapshotState);
    if (state.step === done && state.microstep > 0) {
      // The snapshot holds gradients of the very rows that are set aside.
      for (const session of this.#sessions) await session.clearGradients();
      state.microstep = 0;
      state.partialLoss = 0;
      state.partialSums = {};
    }
    this.#state = { ...state, setAside: [...setAside, { from: cursor, rows }], failures, failingStep: step };
    this.#records.truncate(state);
    const named = rows.slice(0, 5).map((row) => this.#options.work.origin(row));
    context.emit(
      'notice',
      {
        stage: context.name,
        level: 'warning',
        text: `Step ${step}: ${what}. Back to step ${state.step}; ${rows.length} rows set aside: ${named.join(', ')}${
          rows.length > named.length ? ', ...' : ''
        }.`,
      },
      `${context.name}/set_aside/${step}/${failures}`,
    );
    return false;
  }

  #noteRecords(): void {
    Object.assign(this.#state, this.#records.lengths());
  }
}
