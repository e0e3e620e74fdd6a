/**
 * `module`: a user's `.mjs`, whose default export gets the responses of a batch (objects with prompt, messages,
 * text, finish, fields) and returns a number for each, or a promise of them. It runs in a thread of its own.
 */
import { extname, join, resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import { Worker } from 'node:worker_threads';
import { z } from 'zod';
import { AnnealError } from '../../proto/errors.ts';
import { exists } from '../util/files.ts';
import { checkedNumbers, outward, skipAll } from './external.ts';
import { commonFields, defineReward, rewardName, Skips, timeoutField } from './reward.ts';
import type { Response, Scorer } from './scorer.ts';

const schema = z.strictObject({
  type: z.literal('module'),
  ...commonFields,
  path: z.string().min(1).describe('A file relative to the recipe.'),
  timeout_seconds: timeoutField.default(60).describe('For one batch of responses.'),
});
type Settings = z.output<typeof schema>;

/** For the module to be loaded. */
const LOADING_SECONDS = 10;

type Reply = { ready: true } | { scores: unknown } | { error: string };

export const moduleReward = defineReward({
  doc: 'A `.mjs` file whose default export gets a list of responses (objects with `prompt`, `messages`, `text`, `finish`, `fields`) and returns a number, or null, for each. It runs in a thread of its own.',
  schema,

  async files({ path }, baseDir) {
    return [resolve(baseDir, path)];
  },

  async open(settings, baseDir) {
    const path = resolve(baseDir, settings.path);
    if (!(await exists(path))) {
      throw new AnnealError('file_not_found', `The reward module ${path} does not exist.`, {
        path,
        hint: 'Relative paths start from the folder of the recipe.',
      });
    }
    const scorer = new ModuleScorer(settings, path);
    await scorer.load();
    return scorer;
  },
});

class ModuleScorer implements Scorer {
  readonly name: string;
  readonly skipped: ReadonlyMap<string, number>;
  readonly #settings: Settings;
  readonly #path: string;
  readonly #skips: Skips;
  #thread: Worker | undefined;

  constructor(settings: Settings, path: string) {
    this.name = rewardName(settings);
    this.#settings = settings;
    this.#path = path;
    this.#skips = new Skips(settings);
    this.skipped = this.#skips.counts;
  }

  /** Starts the thread; a module that cannot be loaded is an error whatever `on_error` says. */
  async load(): Promise<void> {
    this.#thread = new Worker(
      join(import.meta.dirname, `module_thread${extname(import.meta.filename)}`),
      // Standard output is the worker's own affair; what the module prints goes to its log.
      { workerData: { url: pathToFileURL(this.#path).href }, stdout: false, stderr: false },
    );
    const reply = await this.#reply(LOADING_SECONDS);
    if (reply !== 'timeout' && 'ready' in reply) return;
    await this.close();
    throw new AnnealError(
      'reward_invalid',
      `The reward ${this.name}: ${this.#path} cannot be loaded: ${reply === 'timeout' ? 'it does not end' : lastLines('error' in reply ? reply.error : '')}.`,
      { path: this.#path, hint: 'Its default export is a function from responses to numbers.' },
    );
  }

  async score(responses: readonly Response[]): Promise<(number | null)[]> {
    if (responses.length === 0) return [];
    if (!this.#thread) await this.load();
    this.#thread!.postMessage(responses.map(outward));
    const reply = await this.#reply(this.#settings.timeout_seconds);
    if (reply !== 'timeout' && 'scores' in reply) return checkedNumbers(reply.scores, responses, this.#skips);
    const { timeout_seconds: limit } = this.#settings;
    if (reply === 'timeout') {
      await this.close();
      const hint = 'Mend the module, or allow more with timeout_seconds.';
      return skipAll(
        responses,
        this.#skips,
        `took more than ${limit} s`,
        ` for ${responses.length} responses`,
        hint,
      );
    }
    const what = 'error' in reply ? reply.error : 'it ended';
    return skipAll(responses, this.#skips, 'threw an error', `: ${lastLines(what)}`, `Mend ${this.#path}.`);
  }

  async close(): Promise<void> {
    const thread = this.#thread;
    this.#thread = undefined;
    await thread?.terminate();
  }

  /** The thread's next message, in time. */
  #reply(seconds: number): Promise<Reply | 'timeout'> {
    const thread = this.#thread!;
    return new Promise((done) => {
      const end = (reply: Reply | 'timeout') => {
        clearTimeout(timer);
        thread.off('message', end).off('error', failed).off('exit', exited);
        done(reply);
      };
      const gone = (error: string) => {
        this.#thread = undefined;
        end({ error });
      };
      const failed = (error: Error) => gone(error.stack ?? error.message);
      const exited = (code: number) => gone(`it ended its thread with status ${code}`);
      const timer = setTimeout(end, seconds * 1000, 'timeout');
      thread.on('message', end).on('error', failed).on('exit', exited);
    });
  }
}

/** The message of a stack and where it was thrown. */
function lastLines(stack: string): string {
  return stack
    .split('\n')
    .slice(0, 2)
    .map((line) => line.trim())
    .join(' ')
    .replace(/\.$/, '');
}
