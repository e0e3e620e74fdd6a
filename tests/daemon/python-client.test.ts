/** A client in another language, with nothing of ours but the reference page. */
import { execFile } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { describe, expect, it } from 'vitest';
import { startDaemon, temporaryFolder, tinyRecipe } from './harness.ts';

const PYTHON = process.env.ANNEAL_PEERS_PYTHON;
const CLIENT = join(import.meta.dirname, '../../examples/client.py');

describe.skipIf(!PYTHON)('examples/client.py', () => {
  it('starts a job and follows it to its end', async () => {
    const daemon = await startDaemon();
    const folder = temporaryFolder();
    const path = join(folder, 'tiny.yaml');
    writeFileSync(path, tinyRecipe(folder, { steps: 30 }).recipe);
    const { stdout } = await promisify(execFile)(PYTHON!, [CLIENT, path], {
      env: { ...process.env, ANNEAL_HOME: daemon.home },
    });
    const kinds = stdout
      .trim()
      .split('\n')
      .map((line) => line.split(' ')[0]);
    const { events } = await (await daemon.client()).call('job.events', { job: 'j1' });
    expect(kinds).toEqual(events.map(({ kind }) => kind));
    expect(kinds.at(-1)).toBe('state');
  });

  it('ends with a typed error', async () => {
    const daemon = await startDaemon();
    const path = join(temporaryFolder(), 'bad.yaml');
    writeFileSync(path, 'seed: 1\n');
    const run = promisify(execFile)(PYTHON!, [CLIENT, path], {
      env: { ...process.env, ANNEAL_HOME: daemon.home },
    });
    await expect(run).rejects.toMatchObject({ code: 1, stderr: expect.stringContaining('recipe_') });
  });
});
