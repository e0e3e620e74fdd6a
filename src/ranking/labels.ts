/**
 * What people say about the responses of a dataset: `<home>/labels/<dataset>/<labeller>.jsonl`, a label a line, only
 * ever added to. Of several labels for the same thing the last counts. A label is durable before it is answered; half
 * a line at the end of a file (a kill while writing) is no label, and goes at the next one.
 */
import { open, readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { AnnealError } from '../../proto/errors.ts';
import { type Label, labelSchema } from '../../proto/ranking.ts';
import { asFileError, fsyncDir, makeDir } from '../util/files.ts';

/** Labels are about the same thing if this is the same. */
export function labelKey({ row, criterion, of }: Pick<Label, 'row' | 'criterion' | 'of'>): string {
  return JSON.stringify([row, criterion, [...of].sort((a, b) => a - b)]);
}

/** Folder of the labels of a dataset. */
export function labelFolder(labels: string, dataset: string): string {
  return join(labels, dataset);
}

/** Files of labels of a dataset, by name. */
export async function labelFiles(folder: string): Promise<string[]> {
  const names = await readdir(folder).catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return [];
    throw asFileError(error, folder);
  });
  return names
    .filter((name) => name.endsWith('.jsonl'))
    .sort()
    .map((name) => join(folder, name));
}

/** The labels of a file that count, by key, in the order in which they were first given. */
export async function readLabels(file: string): Promise<Map<string, Label>> {
  const labels = new Map<string, Label>();
  const content = await readFile(file).catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return Buffer.alloc(0);
    throw asFileError(error, file);
  });
  const lines = content
    .subarray(0, content.lastIndexOf(0x0a) + 1)
    .toString()
    .split('\n')
    .slice(0, -1);
  for (const [i, line] of lines.entries()) {
    const label = parseLabel(line);
    if (!label) {
      throw new AnnealError('data_syntax', `${file}:${i + 1} is not a label.`, {
        path: `${file}:${i + 1}`,
        hint: 'The file was edited or damaged: remove the line.',
      });
    }
    labels.set(labelKey(label), label);
  }
  return labels;
}

/** One labeller's labels of one dataset, open for more. */
export class LabelLog {
  readonly #folder: string;
  readonly #file: string;
  readonly #labels: Map<string, Label>;
  #writing: Promise<void> = Promise.resolve();

  private constructor(folder: string, file: string, labels: Map<string, Label>) {
    this.#folder = folder;
    this.#file = file;
    this.#labels = labels;
  }

  static async open(folder: string, labeller: string): Promise<LabelLog> {
    const file = join(folder, `${labeller}.jsonl`);
    return new LabelLog(folder, file, await readLabels(file));
  }

  get(thing: Pick<Label, 'row' | 'criterion' | 'of'>): Label | undefined {
    return this.#labels.get(labelKey(thing));
  }

  /** Adds labels; they are durable when the promise resolves. One call after the other. */
  add(labels: readonly Label[]): Promise<void> {
    const written = this.#writing.then(() => this.#append(labels));
    this.#writing = written.catch(() => {});
    return written;
  }

  async #append(labels: readonly Label[]): Promise<void> {
    try {
      await makeDir(this.#folder);
      const handle = await open(this.#file, 'a+');
      try {
        const end = await wholeLines(handle);
        const { size } = await handle.stat();
        if (end < size) await handle.truncate(end);
        await handle.appendFile(labels.map((label) => `${JSON.stringify(label)}\n`).join(''));
        await handle.sync();
        // A new file is found again only when its folder, and that of its folder, are on disk.
        if (size === 0) {
          await fsyncDir(this.#folder);
          await fsyncDir(join(this.#folder, '..'));
        }
      } finally {
        await handle.close();
      }
    } catch (error) {
      throw asFileError(error, this.#file);
    }
    for (const label of labels) this.#labels.set(labelKey(label), label);
  }
}

const TAIL = 1 << 16;

/** Where the last whole line of a file ends. */
async function wholeLines(handle: Awaited<ReturnType<typeof open>>): Promise<number> {
  const { size } = await handle.stat();
  for (let end = size; end > 0; end -= Math.min(end, TAIL)) {
    const start = Math.max(0, end - TAIL);
    const { buffer, bytesRead } = await handle.read(Buffer.alloc(end - start), 0, end - start, start);
    const newline = buffer.subarray(0, bytesRead).lastIndexOf(0x0a);
    if (newline >= 0) return start + newline + 1;
  }
  return 0;
}

function parseLabel(line: string): Label | undefined {
  try {
    return labelSchema.parse(JSON.parse(line));
  } catch {
    return undefined;
  }
}
