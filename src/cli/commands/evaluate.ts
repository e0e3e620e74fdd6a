/**
 * `anneal evaluate`: a model on a file of questions with answers, or of texts. It is a job like any other, of a
 * recipe with one `evaluate` stage; this prints its report.
 */
import { resolve } from 'node:path';
import { Option } from 'commander';
import { AnnealError, type ErrorBody } from '../../../proto/errors.ts';
import type { Client } from '../../client/client.ts';
import { type CommandContext, defineCommand } from '../command.ts';
import { eventsUntilSettled, withInterrupt } from '../events.ts';
import { jsonObject, modelPath } from '../generation.ts';
import { exitStatus, reportError } from '../output.ts';
import { integer, readTextFile } from '../recipe.ts';
import { renderBlock } from '../view/blocks.ts';
import { watchJob } from '../view/watch.ts';

interface Options {
  maxNewTokens?: number;
  groupBy?: string;
  examples?: number;
  prompting?: 'raw' | 'chat';
  chatTemplateKwargs?: Record<string, unknown>;
}

export default defineCommand<Options>({
  usage: '<model> <file>',
  options: (command) =>
    void command
      .option('-m, --max-new-tokens <n>', 'most tokens of an answer (64)', integer(1))
      .option('--group-by <field>', 'lines of their own for each value of this field of the rows')
      .option('--examples <n>', 'answers to show for each group (5)', integer(0))
      .addOption(
        new Option(
          '--prompting <how>',
          'ask by the chat template, or as plain text (by how it was trained)',
        ).choices(['chat', 'raw']),
      )
      .option('--chat-template-kwargs <json>', 'variables for the chat template, an object', jsonObject),
  examples: [
    ['anneal evaluate quickstart/sft questions.jsonl', 'rows with `prompt` and `answer`: exact match'],
    ['anneal evaluate ./my-model texts.jsonl', 'rows with `text`: perplexity'],
    ['anneal evaluate quickstart/sft questions.jsonl --group-by split', 'a line for each value of `split`'],
    ["anneal evaluate quickstart/sft q.jsonl --json | jq '.rows'", 'the report for a script'],
  ],
  async run(context) {
    const { args, out, connect } = context;
    const client = await connect();
    const recipe = await evaluationRecipe(client, context);
    const { job } = await client.call('job.submit', {
      recipe: JSON.stringify(recipe),
      base_dir: process.cwd(),
      source: `evaluate ${args.join(' ')}`,
      // A result that is reused would bring no report.
      fresh: true,
    });
    if (out.live) return watchJob(client, job, out);
    return withInterrupt(async (signal) => {
      for await (const event of eventsUntilSettled(client, job, { signal })) {
        if (event.kind === 'report') {
          out.value(event.body);
          for (const line of renderBlock(event, { width: out.width(), paint: out.paint, color: false }))
            out.line(line);
        } else if (event.kind === 'state' && event.body.state === 'failed') {
          reportError(AnnealError.fromBody(event.body.error as ErrorBody), out.json);
          return exitStatus.failed;
        } else if (event.kind === 'state' && event.body.state === 'succeeded') return exitStatus.ok;
      }
      return signal.aborted ? exitStatus.interrupted : exitStatus.unfinished;
    });
  },
});

/** JSON is YAML, so this is the text of a recipe. */
async function evaluationRecipe(
  client: Client,
  { args, options }: CommandContext<Options>,
): Promise<unknown> {
  const [model = '', file = ''] = args;
  await readTextFile(file, 'Name a JSONL file with `prompt` and `answer`, or with `text`, in each row.');
  const path = await modelPath(client, model);
  const { maxNewTokens, groupBy, examples, prompting, chatTemplateKwargs } = options;
  return {
    name: 'evaluate',
    stages: {
      evaluate: {
        models: { [model]: path },
        dataset: resolve(file),
        ...(maxNewTokens !== undefined && { max_new_tokens: maxNewTokens }),
        ...(groupBy !== undefined && { group_by: groupBy }),
        ...(examples !== undefined && { examples }),
        ...(prompting !== undefined && { prompting: { [model]: prompting } }),
        ...(chatTemplateKwargs && { chat_template_kwargs: chatTemplateKwargs }),
      },
    },
  };
}
