/** Event files are what TensorBoard itself reads, record by record and as its web page does. */
import { spawnSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import {
  fileHeader,
  sampleText,
  scalarRecord,
  TENSORBOARD_FILE,
  textRecord,
} from '../../src/training/tensorboard.ts';
import { temporaryFolder } from '../daemon/harness.ts';

const python = process.env.ANNEAL_PEERS_PYTHON;

interface Found {
  kinds: string[];
  scalars: Record<string, [step: number, time: number, value: number][]>;
  texts: Record<string, [step: number, text: string][]>;
  plugins: Record<string, string>;
}

function readBack(folder: string): Found {
  const input = JSON.stringify({ folder, file: join(folder, TENSORBOARD_FILE) });
  const run = spawnSync(python!, [join(import.meta.dirname, 'tensorboard_reader.py')], {
    input,
    encoding: 'utf8',
  });
  if (run.status !== 0) throw new Error(run.stderr);
  return JSON.parse(run.stdout) as Found;
}

describe.skipIf(!python)('event files', () => {
  it('are read by TensorBoard with every name, step, number and text', () => {
    const folder = temporaryFolder();
    // Steps whose varints have 1, 2 and 5 bytes; payloads above 127 bytes, whose lengths have 2.
    const steps = [1, 2, 300, 5_000_000_000];
    const metrics = (step: number) => ({
      loss: 1 / step,
      learning_rate: 3e-4,
      'rewards/margins': -step,
      [`long/${'name'.repeat(60)}`]: 0,
    });
    const sample = sampleText('What is the\ncapital of España?', 'Madrid, é 日本 🙂.\n\nNext.');
    writeFileSync(
      join(folder, TENSORBOARD_FILE),
      Buffer.concat([
        fileHeader(),
        ...steps.flatMap((step) => [
          scalarRecord(step, metrics(step)),
          textRecord(step, 'samples/0', sample),
        ]),
      ]),
    );
    const found = readBack(folder);
    expect(found.kinds).toEqual(['file_version', ...steps.flatMap(() => ['summary', 'summary'])]);
    for (const [name, values] of Object.entries(found.scalars)) {
      expect(values, name).toEqual(
        steps.map((step) => [step, step, Math.fround(metrics(step)[name as 'loss'])]),
      );
    }
    expect(Object.keys(found.scalars).sort()).toEqual(Object.keys(metrics(1)).sort());
    expect(found.texts).toEqual({ 'samples/0': steps.map((step) => [step, sample]) });
    expect(found.plugins).toEqual({ 'samples/0': 'text' });
  });
});
