/** Locks between processes: one holder at a time, and what becomes of those whose holder is gone. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readdirSync, readFileSync, statSync, utimesSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { afterAll, afterEach, describe, expect, it, vi } from 'vitest';
import { LockFile } from '../../src/util/lock_file.ts';
import { processSpace } from '../../src/util/processes.ts';
import { temporaryFolder } from './stage_context.ts';

const folder = temporaryFolder();
afterAll(folder.remove);
afterEach(() => void vi.useRealTimers());
let made = 0;
const newPath = () => join(folder.path, `${made++}.lock`);
const STALE_MS = 30_000;

/** A lock of another machine: the number of its process is one that lives here. */
const foreign = JSON.stringify({ pid: process.pid, of: 'another machine', process: 'x' });

function child(...args: string[]) {
  return spawn(process.execPath, [join(import.meta.dirname, 'lock_process.ts'), ...args], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
}

/** A lock whose steady clock is set by hand. */
function clocked(path: string) {
  const clock = { ms: 1000 };
  return { clock, lock: new LockFile(path, { now: () => clock.ms }) };
}

describe('a lock', () => {
  it('has one holder, in a process and between processes', async () => {
    const path = newPath();
    const [a, b] = [new LockFile(path), new LockFile(path)];
    expect(await a.take()).toBe(true);
    expect(await b.take()).toBe(false);
    await b.release();
    expect(await b.take()).toBe(false);
    await a.release();
    expect(await b.take()).toBe(true);
    await b.release();

    const file = `${path}.count`;
    writeFileSync(file, '0');
    const counting = [1, 2, 3].map(() => child('count', path, file, '5'));
    for (const each of counting) if (each.exitCode === null) await once(each, 'exit');
    expect(readFileSync(file, 'utf8')).toBe('15');
  });

  it('is touched by its holder', async () => {
    const path = newPath();
    const lock = new LockFile(path, { touchMs: 5 });
    await lock.take();
    utimesSync(path, 1, 1);
    while (statSync(path).mtimeMs === 1000) await delay(5);
    await lock.release();
  });

  it('of a killed process is taken over at once, by one of those that race for it', async () => {
    const path = newPath();
    const holder = child('hold', path);
    await once(holder.stdout, 'data');
    expect(await new LockFile(path).take()).toBe(false);
    holder.kill('SIGKILL');
    await once(holder, 'exit');
    const racing = Array.from({ length: 20 }, () => new LockFile(path));
    const taken = await Promise.all(racing.map((each) => each.take()));
    expect(taken.filter(Boolean)).toEqual([true]);
    expect(await new LockFile(path).take()).toBe(false);
    await Promise.all(racing.map((each) => each.release()));
    expect(readdirSync(folder.path)).not.toContain(path);
  });

  it('of an earlier process with the number of this one is taken over', async () => {
    const path = newPath();
    writeFileSync(path, JSON.stringify({ pid: process.pid, of: processSpace(), process: 'before' }));
    const lock = new LockFile(path);
    expect(await lock.take()).toBe(true);
    await lock.release();
  });

  it.each([
    ['of a holder on another machine', foreign],
    ['that a full disk left empty', ''],
    ['of nonsense', 'null'],
  ])('%s is taken over when nobody has touched it for long', async (_, content) => {
    const path = newPath();
    writeFileSync(path, content);
    const { lock, clock } = clocked(path);
    // However old: another machine's clock may be wrong.
    utimesSync(path, 1, 1);
    expect(await lock.take()).toBe(false);
    clock.ms += STALE_MS;
    expect(await lock.take()).toBe(false);
    // A touch, by whatever clock.
    utimesSync(path, 2 ** 31, 2 ** 31);
    clock.ms += 1;
    expect(await lock.take()).toBe(false);
    clock.ms += STALE_MS;
    expect(await lock.take()).toBe(false);
    clock.ms += 1;
    expect(await lock.take()).toBe(true);
    await lock.release();
  });

  it('does not mind clocks that jump', async () => {
    const path = newPath();
    writeFileSync(path, foreign);
    const { lock } = clocked(path);
    expect(await lock.take()).toBe(false);
    vi.useFakeTimers({ toFake: ['Date'] });
    for (const year of [2200, 1971]) {
      vi.setSystemTime(new Date(`${year}-01-01`));
      expect(await lock.take()).toBe(false);
    }
  });

  it('that was taken over is no longer touched or removed by the one that had it', async () => {
    const path = newPath();
    const slept = new LockFile(path, { touchMs: 5 });
    await slept.take();
    writeFileSync(path, foreign); // as if it had been taken over from afar, without a new file
    await slept.release();
    expect(readFileSync(path, 'utf8')).toBe(foreign);

    const other = newPath();
    const replaced = new LockFile(other, { touchMs: 50 });
    await replaced.take();
    const { lock, clock } = clocked(other);
    const content = JSON.parse(readFileSync(other, 'utf8')) as object;
    writeFileSync(other, JSON.stringify({ ...content, of: 'another machine' }));
    // Between two of its touches the clock goes on for long, as if it had slept.
    do clock.ms += STALE_MS + 1;
    while (!(await lock.take()));
    utimesSync(other, 1, 1);
    await delay(150);
    expect(statSync(other).mtimeMs).toBe(1000);
    await replaced.release();
    expect(await new LockFile(other).take()).toBe(false);
    await lock.release();
    expect(await new LockFile(other).take()).toBe(true);
  });

  it('is not kept for ever by a process that ended while it took it over', async () => {
    const path = newPath();
    writeFileSync(path, JSON.stringify({ pid: 2 ** 22 + 1, of: processSpace() }));
    writeFileSync(`${path}.next`, foreign);
    const { lock, clock } = clocked(path);
    expect(await lock.take()).toBe(false);
    clock.ms += STALE_MS + 1;
    expect(await lock.take()).toBe(false); // the leftover goes
    expect(await lock.take()).toBe(true);
    await lock.release();
  });
});
