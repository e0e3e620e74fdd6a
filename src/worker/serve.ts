/** Serves one model: loads it and answers generate requests until the daemon says stop (it counts the idle time). */
import { availableParallelism } from 'node:os';
import type { WorkerTask } from '../../proto/worker.ts';
import { ArtifactStore } from '../artifacts/store.ts';
import { loadModel, openModelFolder } from '../models/load.ts';
import { readStopIds } from '../models/save.ts';
import { loadAddon, type SessionOptions } from '../native/addon.ts';
import type { ServedModel } from '../stages/stage.ts';
import { loadTokenizer } from '../tokenizer/tokenizer.ts';
import { requireMemory } from '../util/memory.ts';
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
  const queue = new GenerateQueue(channel);
  channel.onStop(() => {
    stopped = true;
    queue.wake();
  });
  const model = await serve(task, channel);
  try {
    for (;;) {
      await queue.answer(model);
      if (stopped) break;
      await queue.arrival();
    }
  } finally {
    await model.session.close();
  }
}

async function serve(task: { home: string; model: string }, channel: WorkerChannel): Promise<ServedModel> {
  const path = await new ArtifactStore(task.home).resolveModel(task.model);
  const addon = trackedAddon(loadAddon(), channel.track.bind(channel));
  const folder = await openModelFolder(path);
  const threads = availableParallelism();
  const tokenizer = await loadTokenizer(path, { threads });
  const rows = Math.min(folder.architecture.maxPositions, MAX_ROWS);
  const options: Omit<SessionOptions, 'architecture'> = {
    threads,
    trainable: false,
    maxTokens: Math.min(rows, PASS_ROWS),
    maxSequences: 1,
    maxScored: 1,
    recompute: false,
    generationSlots: SLOTS,
    generationLength: rows,
    generationRows: 2 * rows,
  };
  requireMemory(
    addon.planSession({ ...options, architecture: folder.architecture }).total,
    `Model ${task.model}`,
  );
  const session = await loadModel(addon, folder, options);
  return { session, tokenizer, stopIds: await readStopIds(path, tokenizer), generationLength: rows };
}
