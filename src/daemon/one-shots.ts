/**
 * Short workers that answer one question: is this recipe right, what will it need, what can this machine do, what is in
 * these data. Few at
 * once; the rest wait in line.
 */
import { join } from 'node:path';
import { AnnealError } from '../../proto/errors.ts';
import type { HomeLayout } from '../../proto/home.ts';
import type { WorkerTask } from '../../proto/worker.ts';
import type { Settings } from './settings.ts';
import { type WorkerMessage, WorkerProcess } from './worker-process.ts';

type ShortAnswer = 'planned' | 'doctored' | 'answered';
type Answer<T extends WorkerMessage['type']> = Extract<WorkerMessage, { type: T }>;

const SIDE_BY_SIDE = 2;
const MAX_WAITING = 64;
const TIMEOUT_MS = 300_000;

export class OneShots {
  readonly #home: HomeLayout;
  readonly #settings: Settings;
  readonly #running = new Set<WorkerProcess>();
  readonly #waiting: (() => void)[] = [];
  #active = 0;
  #stopped = false;

  constructor(home: HomeLayout, settings: Settings) {
    this.#home = home;
    this.#settings = settings;
  }

  /** Runs the task in a worker; resolves with its message of type `answer`, rejects with the error it reports. */
  async run<T extends ShortAnswer>(task: WorkerTask, answer: T): Promise<Answer<T>> {
    await this.#turn();
    try {
      return await this.#runNow(task, answer);
    } finally {
      this.#active -= 1;
      this.#waiting.shift()?.();
    }
  }

  /** Ends what runs and takes nothing more. */
  shutdown(): void {
    this.#stopped = true;
    for (const worker of this.#running) worker.kill();
  }

  async #turn(): Promise<void> {
    if (this.#active >= SIDE_BY_SIDE) {
      if (this.#waiting.length >= MAX_WAITING) {
        throw new AnnealError('busy', `${MAX_WAITING} recipes wait to be checked already.`, {
          hint: 'Try again when they are through.',
        });
      }
      await new Promise<void>((resolve) => this.#waiting.push(resolve));
    }
    this.#active += 1;
  }

  #runNow<T extends ShortAnswer>(task: WorkerTask, answer: T): Promise<Answer<T>> {
    if (this.#stopped)
      throw new AnnealError('shutting_down', 'The daemon is going down and takes no new work.');
    return new Promise((resolve, reject) => {
      const worker = new WorkerProcess(task, {
        settings: this.#settings,
        output: join(this.#home.logs, `${task.task}.log`),
        onMessage: (message) => {
          if (message.type === answer) resolve(message as Answer<T>);
          else if (message.type === 'done' && message.error) reject(AnnealError.fromBody(message.error));
          worker.confirmStored();
        },
        onExit: (end) => {
          clearTimeout(timer);
          this.#running.delete(worker);
          // Without effect when it has answered.
          const how = late
            ? `had no answer after ${TIMEOUT_MS / 60_000} minutes`
            : `ended (${end.signal ?? end.code}) without an answer`;
          const hint = late
            ? 'Ask about less at a time; of URLs it goes on where it stopped.'
            : end.lastWords || 'Try again; the memory of the machine may have run out.';
          reject(new AnnealError('worker_died', `The worker for '${task.task}' ${how}.`, { hint }));
        },
      });
      this.#running.add(worker);
      let late = false;
      const timer = setTimeout(() => {
        late = true;
        worker.kill();
      }, TIMEOUT_MS);
    });
  }
}
