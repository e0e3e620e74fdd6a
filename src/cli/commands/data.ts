/**
 * `anneal data`: looks at data, raw or prepared, and prepares them. A worker of the daemon reads them; this prints the
 * page that it makes.
 */
import { resolve } from 'node:path';
import { Argument } from 'commander';
import type { CommandInput } from '../../../proto/commands.ts';
import { AnnealError } from '../../../proto/errors.ts';
import { type CommandContext, defineCommand } from '../command.ts';
import { exitStatus } from '../output.ts';
import { type Preparation, prepareFiles } from '../prepare.ts';
import { integer } from '../recipe.ts';
import { collect, settingsOf } from '../settings.ts';
import { renderPage } from '../view/page.ts';

interface Options {
  model?: string;
  set?: string[];
  limit?: number;
  ignoreCase?: boolean;
  seed?: number;
  maxRows?: number;
  html?: string;
  tokenizer?: string;
  name?: string;
  part?: string;
  workDir?: string;
}

type Ask = CommandInput<'data.query'>['ask'];

const ACTIONS = ['inspect', 'prepare', 'stats', 'grep', 'sample', 'trace', 'diff'] as const;
type Action = Exclude<(typeof ACTIONS)[number], 'prepare'>;

export default defineCommand<Options>({
  options: (command) =>
    void command
      .addArgument(new Argument('<action>', 'what to do').choices(ACTIONS))
      .argument('<arguments...>', 'files, patterns, or a prepared dataset; for grep the pattern first')
      .option('--model <model>', 'inspect: show examples as this model would be trained on them')
      .option(
        '--set <key=value>',
        'inspect, prepare: a setting of a recipe, such as format or fields',
        collect,
      )
      .option('--max-rows <n>', 'inspect: rows to read at most (100,000)', integer(1))
      .option('-n, --limit <n>', 'rows to show', integer(0))
      .option('-i, --ignore-case', 'grep: whatever the case')
      .option('--seed <n>', 'sample: another draw', integer(0))
      .option('--tokenizer <model>', 'prepare: the one of this model or folder (one is trained on the files)')
      .option('--name <name>', 'prepare: the dataset is <name>/prepare (data)')
      .option(
        '--part <k/n>',
        'prepare: only this part of the work, such as 3/16; a run without it makes the dataset',
      )
      .option('--work-dir <folder>', 'prepare: where parts come together')
      .option('--html <file>', 'write the page to a file for the browser as well'),
  examples: [
    ['anneal data inspect chats.jsonl', 'shape, fields, lengths, languages, duplicates, examples'],
    [
      'anneal data inspect chats.jsonl --model quickstart/sft',
      'as the model is trained on them, scored text marked',
    ],
    [
      "anneal data prepare 'web/*.jsonl.zst' --tokenizer quickstart/sft",
      'a dataset for pre-training, data/prepare',
    ],
    [
      "anneal data prepare 'web/*.jsonl.zst' --part 3/16 --work-dir /shared/web",
      'a part of it, on one of many machines',
    ],
    ['anneal data stats quickstart/prepare --html page.html', 'a prepared dataset, and as a page with plots'],
    ["anneal data grep -i 'as an ai' 'data/*.jsonl.gz'", 'rows that match a regular expression'],
    ['anneal data sample quickstart/prepare -n 3', 'documents drawn at random'],
    ['anneal data trace facts.jsonl:12 quickstart/prepare', 'where a row is, and which jobs trained on it'],
    ['anneal data diff old/prepare new/prepare', 'which documents one has and the other has not'],
  ],
  async run(context) {
    const { args, options, out, connect } = context;
    if (args[0] === 'prepare')
      return prepareFiles(await connect(), preparationOf(args.slice(1), options), out);
    const ask = askOf(context);
    const client = await connect();
    const { page } = await client.call('data.query', {
      base_dir: process.cwd(),
      ask,
      ...(options.html === undefined ? {} : { html: resolve(options.html) }),
    });
    out.value(page);
    for (const line of renderPage(page, { width: out.width(), paint: out.paint, color: out.color }))
      out.line(line);
    if (options.html !== undefined) out.line(`The page is in ${options.html}.`);
    return exitStatus.ok;
  },
});

function preparationOf(files: string[], options: Options): Preparation {
  return {
    files,
    name: options.name ?? 'data',
    tokenizer: options.tokenizer,
    part: options.part,
    workDir: options.workDir,
    settings: settingsOf(options.set ?? [], 'data'),
  };
}

function askOf({ args, options }: CommandContext<Options>): Ask {
  const [action, ...rest] = args as [Action, ...string[]];
  const limit = options.limit;
  switch (action) {
    case 'inspect':
      return {
        query: action,
        in: rest,
        settings: settingsOf(options.set ?? [], 'data'),
        ...(options.model === undefined ? {} : { model: options.model }),
        ...(options.maxRows === undefined ? {} : { max_rows: options.maxRows }),
        ...(limit === undefined ? {} : { examples: limit }),
      };
    case 'stats':
      return { query: action, in: rest };
    case 'grep':
      return {
        query: action,
        pattern: rest[0]!,
        in: needed(rest.slice(1), 'grep needs a pattern and then files or a dataset'),
        ignore_case: options.ignoreCase ?? false,
        ...(limit === undefined ? {} : { limit }),
      };
    case 'sample':
      return {
        query: action,
        in: rest,
        ...(limit === undefined ? {} : { count: limit }),
        ...(options.seed === undefined ? {} : { seed: options.seed }),
      };
    case 'trace':
      return { query: action, row: rest[0]!, ...(rest.length > 1 ? { in: rest.slice(1) } : {}) };
    case 'diff': {
      const [a, b] = rest;
      if (rest.length !== 2) throw usage('diff compares two datasets or files');
      return { query: action, a: a!, b: b!, ...(limit === undefined ? {} : { examples: limit }) };
    }
  }
}

function needed(list: string[], message: string): string[] {
  if (list.length === 0) throw usage(message);
  return list;
}

function usage(message: string): AnnealError {
  return new AnnealError('bad_request', `anneal data: ${message}.`, { hint: 'See: anneal data --help' });
}
