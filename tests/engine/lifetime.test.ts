/** Cancelling, closing and leaving: nothing hangs, nothing crashes, the event loop stays free. */
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { loadAddon, type Session } from '../../src/native/addon.ts';
import { makeBatch, meanWeights, requests, sampling, sessionOptions } from './support.ts';

const addon = loadAddon();
const prompt = Int32Array.of(1, 2, 3);
const long = sampling({ maxNewTokens: 4000 });

async function makeSession(): Promise<Session> {
  const session = await addon.createSession(sessionOptions());
  await session.initWeights(1, 0.2);
  return session;
}

describe('generate', () => {
  it('reports tokens as they are drawn, all before the promise settles, with the event loop free', async () => {
    const session = await makeSession();
    const seen: number[][] = [[], []];
    let turns = 0;
    const timer = setInterval(() => turns++, 1);
    const completions = await session.generate(
      requests([prompt, Int32Array.of(7)], sampling({ maxNewTokens: 1000 })),
      (request, _sample, token) => seen[request]!.push(token),
    );
    clearInterval(timer);
    expect(turns).toBeGreaterThan(1);
    expect(seen).toEqual(completions.map(({ tokens }) => [...tokens]));
    for (const { tokens, logProbs, finish } of completions) {
      expect(tokens.length).toBe(1000);
      expect(logProbs.every((value) => value <= 0)).toBe(true);
      expect(finish).toBe('length');
    }
    await session.close();
  });

  it('ends with what it has when the signal is aborted', async () => {
    const session = await makeSession();
    const controller = new AbortController();
    const [completion] = await session.generate(
      requests([prompt], long),
      () => {
        controller.abort();
      },
      controller.signal,
    );
    expect(completion!.finish).toBe('cancelled');
    expect(completion!.tokens.length).toBeGreaterThan(0);
    expect(completion!.tokens.length).toBeLessThan(4000);
    const whole = await session.generate(
      requests([prompt], sampling({ maxNewTokens: completion!.tokens.length })),
    );
    expect(whole[0]!.tokens).toEqual(completion!.tokens);
    const [none] = await session.generate(requests([prompt], long), undefined, AbortSignal.abort());
    expect(none).toEqual({ tokens: new Int32Array(), logProbs: new Float32Array(), finish: 'cancelled' });
    await session.close();
  });

  it('passes on what its callback throws, and ends early', async () => {
    const session = await makeSession();
    let calls = 0;
    const failing = session.generate(requests([prompt], long), () => {
      calls++;
      throw new RangeError('enough');
    });
    await expect(failing).rejects.toThrow(new RangeError('enough'));
    expect(calls).toBe(1);
    expect((await session.generate(requests([prompt], sampling())))[0]!.finish).toBe('length');
    await session.close();
  });
});

describe('close', () => {
  it('rejects what runs and what waits, and everything after', async () => {
    const session = await makeSession();
    const batch = makeBatch();
    let started: () => void;
    const firstToken = new Promise<void>((resolve) => {
      started = resolve;
    });
    const running = session.generate(requests([prompt], long), () => started());
    await firstToken;
    // More than the engine does before it hears of the end.
    const busy = Array.from({ length: 100 }, () => session.forward(batch));
    const waiting = [
      session.forward(batch),
      session.forwardBackward(batch, meanWeights(batch)),
      session.writeSnapshot('/nowhere'),
      session.generate(requests([prompt], long)),
    ];
    const closed = session.close();
    const after = [session.forward(batch), session.snapshot()];
    const outcomes = await Promise.allSettled([...busy, running, ...waiting, ...after]);
    for (const outcome of outcomes.slice(busy.length)) {
      expect(outcome).toMatchObject({ status: 'rejected', reason: { code: 'closed' } });
    }
    await closed;
    await session.close();
    await expect(session.initWeights(1, 1)).rejects.toMatchObject({ code: 'closed' });
    expect(session.plan().parameters).toBeGreaterThan(0);
  });

  it('many sessions side by side, opened and closed in the middle of work', async () => {
    await Promise.all(
      Array.from({ length: 6 }, async () => {
        const session = await makeSession();
        const batch = makeBatch();
        const scores = await session.forwardBackward(batch, meanWeights(batch));
        expect(scores.logProbs.length).toBe(batch.scored.length);
        const left = session.generate(requests([prompt], long));
        const outcome = expect(left).rejects.toMatchObject({ code: 'closed' });
        await session.close();
        await outcome;
      }),
    );
  });
});

describe('leaving a process', () => {
  const program = join(import.meta.dirname, 'leave.ts');
  it.each([
    ['ends by itself when its sessions are idle', 'idle'],
    ['waits for work under way', 'wait'],
    ['may exit in the middle of work', 'exit'],
    ['may terminate a thread in the middle of work', 'terminate'],
    ['frees forgotten sessions', 'forget'],
  ])('%s', (_, mode) => {
    const { status, signal, stdout, stderr } = spawnSync(process.execPath, ['--expose-gc', program, mode], {
      encoding: 'utf8',
    });
    expect({ status, signal, stdout, stderr }).toEqual({
      status: 0,
      signal: null,
      stdout: `${mode}\n`,
      stderr: '',
    });
  });
});
