/** Run by lifetime.test.ts as a process of its own: leaves it in the way that the argument names. */
import { setTimeout as sleep } from 'node:timers/promises';
import { isMainThread, parentPort, Worker, workerData } from 'node:worker_threads';
import { loadAddon } from '../../src/native/addon.ts';
import { requests, sampling, sessionOptions } from './support.ts';

const addon = loadAddon();
const prompt = Int32Array.of(1, 2, 3);
const mode = isMainThread ? process.argv[2] : (workerData as string);

async function makeSession() {
  const session = await addon.createSession(sessionOptions());
  await session.initWeights(1, 0.2);
  return session;
}

switch (mode) {
  case 'idle': {
    await makeSession();
    console.log(mode);
    break;
  }
  case 'wait': {
    const session = await makeSession();
    void session.generate(requests([prompt], sampling({ maxNewTokens: 50 }))).then(() => console.log(mode));
    break;
  }
  case 'exit': {
    const session = await makeSession();
    void session.generate(requests([prompt], sampling({ maxNewTokens: 4000 })), () => {
      console.log(mode);
      process.exit(0);
    });
    break;
  }
  case 'terminate': {
    const worker = new Worker(new URL(import.meta.url), { workerData: 'thread' });
    await new Promise((resolve) => worker.once('message', resolve));
    await worker.terminate();
    console.log(mode);
    break;
  }
  case 'thread': {
    const session = await makeSession();
    void session.generate(requests([prompt], sampling({ maxNewTokens: 4000 })), () =>
      parentPort?.postMessage('token'),
    );
    break;
  }
  case 'forget': {
    for (let i = 0; i < 10; i++) {
      await makeSession();
      globalThis.gc?.();
      await sleep(1);
    }
    console.log(mode);
    break;
  }
  default:
    throw new Error(`unknown mode ${mode}`);
}
