/**
 * Serves one model, and the adapters over it that requests name: the base is loaded once, an adapter with the first
 * request for it. It answers until the daemon says stop (which counts the idle time).
 */
import { availableParallelism } from 'node:os';
import type { WorkerTask } from '../../proto/worker.ts';
import { ArtifactStore } from '../artifacts/store.ts';
import { openLanguageModel } from '../models/load.ts';
import { readStopIds } from '../models/save.ts';
import { SharedBase } from '../models/shared_base.ts';
import { type Addon, loadAddon } from '../native/addon.ts';
import type { ServedModel } from '../stages/stage.ts';
import { loadTokenizer } from '../tokenizer/tokenizer.ts';
import type { WorkerChannel } from './channel.ts';
import { GenerateQueue } from './generate.ts';
import { trackedAddon } from './tracked.ts';

/** Rows of a served conversation at most, whatever longer context a model has. */
const MAX_ROWS = 8192;
/** Conversations that are answered side by side; the cache holds two of the longest, or many short ones. */
const SLOTS = 16;
/** Rows of one pass. */
const PASS_ROWS = 512;

/** Runs the task `serve`. */
export async function runServe(
  task: Extract<WorkerTask, { task: 'serve' }>,
  channel: WorkerChannel,
): Promise<void> {
  let stopped = false;
  const addon = trackedAddon(loadAddon(), channel.track.bind(channel));
  const models = new ServedModels(addon, task);
  const queue = new GenerateQueue(channel, ({ adapter }) => models.of(adapter));
  channel.onStop(() => {
    stopped = true;
    queue.wake();
  });
  const { session } = await models.base;
  try {
    for (;;) {
      await queue.answerLoaded(session);
      if (stopped) break;
      await queue.arrival();
    }
  } finally {
    await session.close();
  }
}

/** The base of a worker and the adapters over it, as those who ask see them. */
class ServedModels {
  readonly base: Promise<SharedBase>;
  readonly #path: Promise<string>;
  /** By the adapter's folder; undefined: the base alone. */
  readonly #models = new Map<string | undefined, Promise<ServedModel>>();

  constructor(addon: Addon, { home, model }: { home: string; model: string }) {
    this.#path = new ArtifactStore(home).resolveModel(model);
    this.base = this.#path.then((path) => openServed(addon, path, model));
  }

  /** The model of an adapter, loaded if it is not; one that cannot be loaded is tried again. */
  of(adapter: string | undefined): Promise<ServedModel> {
    const known = this.#models.get(adapter);
    if (known) return known;
    const loaded = this.#load(adapter);
    this.#models.set(adapter, loaded);
    loaded.catch(() => this.#models.delete(adapter));
    return loaded;
  }

  async #load(adapter: string | undefined): Promise<ServedModel> {
    const base = await this.base;
    const path = adapter ?? (await this.#path);
    const folder = await openLanguageModel(path);
    const tokenizer = await loadTokenizer(path, { threads: availableParallelism() });
    return {
      session: base.session,
      ...(adapter === undefined ? {} : { adapter: await base.add(folder) }),
      tokenizer,
      stopIds: await readStopIds(path, tokenizer),
      generationLength: Math.min(folder.architecture.maxPositions, MAX_ROWS),
    };
  }
}

async function openServed(addon: Addon, path: string, model: string): Promise<SharedBase> {
  const folder = await openLanguageModel(path);
  const rows = Math.min(folder.architecture.maxPositions, MAX_ROWS);
  return SharedBase.open(
    addon,
    folder,
    {
      threads: availableParallelism(),
      trainable: false,
      maxTokens: Math.min(rows, PASS_ROWS),
      maxSequences: 1,
      maxScored: 1,
      recompute: false,
      generationSlots: SLOTS,
      generationLength: rows,
      generationRows: 2 * rows,
    },
    `Model ${model}`,
  );
}
