/** `anneal run`: submits a recipe, then follows the job; the exit status is the job's outcome. */
import { InvalidArgumentError } from 'commander';
import { parseWindow, WINDOW_RULE } from '../../../proto/window.ts';
import { defineCommand } from '../command.ts';
import { integer, overrideOption, type RecipeOptions, readRecipe } from '../recipe.ts';
import { watchJob } from '../view/watch.ts';

interface Options extends RecipeOptions {
  detach?: true;
  fresh?: true;
  priority: number;
  preempt?: true;
  between?: string;
}

export default defineCommand<Options>({
  usage: '<recipe>',
  options: (command) =>
    void command
      .addOption(overrideOption())
      .option('-d, --detach', 'return once the job is queued')
      .option('--fresh', 'make everything anew, even where the same inputs gave a result before')
      .option('--priority <n>', 'higher runs first', integer(), 0)
      .option('--preempt', 'checkpoint a running job of lower priority; it goes on afterwards')
      .option('--between <times>', 'run in these hours of the day only, such as 22:00-07:00', windowText),
  examples: [
    ['anneal run recipe.yaml', 'train, and watch it; Ctrl-C leaves the job running'],
    ['anneal run recipe.yaml --set stages.pretrain.learning_rate=1e-3', 'override a setting'],
    ['anneal run recipe.yaml --detach --priority 5', 'queue it before others'],
    ['anneal run urgent.yaml --priority 5 --preempt', 'now; the running job goes on after it'],
    ['anneal run recipe.yaml --detach --between 22:00-07:00', 'at night; by day it waits, checkpointed'],
    ['anneal run recipe.yaml --json | jq -r .kind', 'events, one JSON object a line'],
  ],
  async run({ args, options, out, connect }) {
    const recipe = await readRecipe(args[0]!, options.set);
    const client = await connect();
    const { fresh = false, priority, preempt = false, between } = options;
    const { job } = await client.call('job.submit', {
      ...recipe,
      fresh,
      priority,
      preempt,
      ...(between === undefined ? {} : { window: between }),
    });
    if (!options.detach) return watchJob(client, job, out);
    out.value({ job });
    const what = job.waiting === null ? 'is queued' : job.waiting.text;
    out.line(`${job.id} ${what}. Watch it with: anneal watch ${job.id}`);
    return undefined;
  },
});

function windowText(word: string): string {
  if (parseWindow(word)) return word;
  throw new InvalidArgumentError(`It is not a window: ${WINDOW_RULE}.`);
}
