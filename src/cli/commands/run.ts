/** `anneal run`: submits a recipe, then follows the job; the exit status is the job's outcome. */
import { defineCommand } from '../command.ts';
import { integer, overrideOption, type RecipeOptions, readRecipe } from '../recipe.ts';
import { watchJob } from '../view/watch.ts';

interface Options extends RecipeOptions {
  detach?: true;
  fresh?: true;
  priority: number;
}

export default defineCommand<Options>({
  usage: '<recipe>',
  options: (command) =>
    void command
      .addOption(overrideOption())
      .option('-d, --detach', 'return once the job is queued')
      .option('--fresh', 'make everything anew, even where the same inputs gave a result before')
      .option('--priority <n>', 'higher runs first', integer(), 0),
  examples: [
    ['anneal run recipe.yaml', 'train, and watch it; Ctrl-C leaves the job running'],
    ['anneal run recipe.yaml --set stages.pretrain.learning_rate=1e-3', 'override a setting'],
    ['anneal run recipe.yaml --detach --priority 5', 'queue it before others'],
    ['anneal run recipe.yaml --json | jq -r .kind', 'events, one JSON object a line'],
  ],
  async run({ args, options, out, connect }) {
    const recipe = await readRecipe(args[0]!, options.set);
    const client = await connect();
    const { fresh = false, priority } = options;
    const { job } = await client.call('job.submit', { ...recipe, fresh, priority });
    if (!options.detach) return watchJob(client, job, out);
    out.value({ job });
    out.line(`${job.id} is queued. Watch it with: anneal watch ${job.id}`);
    return undefined;
  },
});
