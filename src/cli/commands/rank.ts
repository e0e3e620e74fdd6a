/**
 * `anneal rank`: a person ranks responses by keys, blind to the models. Every label is on disk before the next task
 * is shown. Also brings labels in and out as files. Works from a pipe: each character is a key.
 */
import { existsSync } from 'node:fs';
import { userInfo } from 'node:os';
import { resolve } from 'node:path';
import { defineCommand } from '../command.ts';
import { formatCounted } from '../format.ts';
import { exitStatus, type Output } from '../output.ts';
import { exportLabels, importLabels } from '../ranking/files.ts';
import { openKeys } from '../ranking/keys.ts';
import { labelTasks, type Selection } from '../ranking/session.ts';
import { collect, settingsOf } from '../settings.ts';

interface Options {
  as?: string;
  criteria?: string[];
  pairwise?: boolean;
  review?: boolean;
  set?: string[];
  export?: string;
  import?: string;
}

export default defineCommand<Options>({
  usage: '<dataset>',
  options: (command) => {
    command
      .option('--as <name>', 'who labels (default: your user name)')
      .option(
        '--criteria <names>',
        'accuracy, helpfulness, safety, or your own, by commas (all three)',
        commaList,
      )
      .option('--pairwise', 'show two responses at a time instead of all')
      .option('--set <key=value>', 'how rows are read, as in a recipe: fields, where, ...', collect)
      .option('--review', 'begin with the first task, labelled or not')
      .option('--export <file>', 'write all labels to a .jsonl or .csv file')
      .option('--import <file>', 'add the labels of a .jsonl or .csv file');
  },
  examples: [
    ['anneal rank quickstart/generate', 'press 1, 2, ... best first; ? explains the keys'],
    ['anneal rank quickstart/generate --as ida --criteria helpfulness', 'another labeller, one criterion'],
    ['anneal rank responses.jsonl --pairwise', 'a file of your own: prompt and responses in each row'],
    [
      `anneal rank own.csv --set 'fields={"responses": "answers"}' --set 'where={"language": "en"}'`,
      'with other names of fields, and of some rows only',
    ],
    ['anneal rank quickstart/generate --export labels.csv', 'for a spreadsheet'],
    ['anneal rank quickstart/generate --import labels.csv --as ida', 'and back'],
  ],
  async run({ args, options, out, connect }) {
    const client = await connect();
    const read = {
      dataset: datasetReference(args[0]!),
      ...(options.set && { settings: settingsOf(options.set, 'rank') }),
    };
    const labeller = options.as ?? ownName();
    if (options.export !== undefined) {
      const labels = await exportLabels(client, read, resolve(options.export));
      out.value({ exported: labels, file: options.export });
      out.line(`${formatCounted(labels, 'label')} written to ${options.export}.`);
      return exitStatus.ok;
    }
    if (options.import !== undefined) {
      const { criteria = [] } = options;
      const criterion = criteria.length === 1 ? criteria[0] : undefined;
      const labels = await importLabels(client, read, resolve(options.import), { labeller, criterion });
      out.value({ imported: labels, file: options.import });
      out.line(`${formatCounted(labels, 'label')} added from ${options.import}.`);
      return exitStatus.ok;
    }
    const selection: Selection = {
      ...read,
      labeller,
      ...(options.criteria && { criteria: options.criteria }),
      pairwise: options.pairwise ?? false,
    };
    const keys = openKeys();
    try {
      const { done, tasks } = await labelTasks(client, selection, keys, out, options.review ?? false);
      out.value({ dataset: args[0], labeller, done, tasks });
      sayGoodbye(out, labeller, done, tasks);
    } finally {
      keys.close();
    }
    return exitStatus.ok;
  },
});

function sayGoodbye(out: Output, labeller: string, done: number, tasks: number): void {
  out.line();
  if (tasks === 0) out.line('There is nothing to rank: no prompt has two different responses.');
  else if (done === tasks)
    out.line(
      `${tasks === 1 ? 'The only task is' : `All ${tasks} tasks are`} done by ${labeller}. --review goes through them again.`,
    );
  else out.line(`${done} of ${tasks} tasks are done by ${labeller}. The same command goes on.`);
}

/** A file or folder by its full path, since the daemon has another folder; names stay as they are. */
function datasetReference(word: string): string {
  return existsSync(word) ? resolve(word) : word;
}

function commaList(word: string): string[] {
  return word
    .split(',')
    .map((name) => name.trim())
    .filter((name) => name !== '');
}

function ownName(): string {
  const name = userInfo().username.replace(/[^A-Za-z0-9._-]/g, '_');
  return /^[A-Za-z0-9]/.test(name) ? name : 'me';
}
