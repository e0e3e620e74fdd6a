/**
 * The thread in which a user's reward module runs, so that one that never returns can be ended. Posts `{ ready }`
 * once it is loaded, then for each batch `{ scores }` or `{ error }`.
 */
import { parentPort, workerData } from 'node:worker_threads';

type Score = (responses: unknown[]) => unknown;

const port = parentPort!;
const text = (error: unknown) => (error instanceof Error ? (error.stack ?? error.message) : String(error));

try {
  const { default: score } = (await import((workerData as { url: string }).url)) as { default?: Score };
  if (typeof score === 'function') serve(score);
  else port.postMessage({ error: 'it has no function as its default export' });
} catch (error) {
  port.postMessage({ error: text(error) });
}

function serve(score: Score): void {
  port.on('message', async (responses: unknown[]) => {
    try {
      const scores = await score(responses);
      port.postMessage({ scores: Array.isArray(scores) ? scores.map(plain) : plain(scores) });
    } catch (error) {
      port.postMessage({ error: text(error) });
    }
  });
  port.postMessage({ ready: true });
}

/** What cannot be copied between threads is no number either. */
function plain(value: unknown): unknown {
  return ['object', 'function', 'symbol'].includes(typeof value) && value !== null ? {} : value;
}
