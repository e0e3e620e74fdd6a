/** `anneal selftest`: whether this machine computes what a recipe trains rightly; the exit status says so. */

import { defineCommand } from '../command.ts';
import { eventsUntilSettled, withInterrupt } from '../events.ts';
import { exitStatus } from '../output.ts';
import { overrideOption, type RecipeOptions, readRecipe } from '../recipe.ts';
import { watchJob } from '../view/watch.ts';

interface Options extends RecipeOptions {
  stage?: string[];
}

export default defineCommand<Options>({
  usage: '<recipe>',
  options: (command) =>
    void command
      .addOption(overrideOption())
      .option('--stage <name...>', 'these stages; else all that train and whose inputs are there'),
  examples: [
    ['anneal selftest recipe.yaml', 'one step of each training stage, in several splits'],
    ['anneal selftest recipe.yaml --stage sft', 'one stage; the model that it starts from must be there'],
    ['anneal selftest recipe.yaml --json | jq .ok', 'one object with every check'],
  ],
  async run({ args, options, out, connect }) {
    const recipe = await readRecipe(args[0]!, options.set);
    const client = await connect();
    const { job } = await client.call('job.submit', { ...recipe, selftest: options.stage ?? [] });
    if (!out.json) return watchJob(client, job, out);
    const stages: { stage: string; checks: object[] }[] = [];
    await withInterrupt(async (signal) => {
      for await (const { kind, body } of eventsUntilSettled(client, job, { signal })) {
        if (kind !== 'report') continue;
        const checks = body.rows.map(([name, result, difference, bound, typical]) => ({
          name,
          ok: result === 'pass',
          difference,
          bound,
          typical,
        }));
        stages.push({ stage: body.stage, checks });
      }
    });
    const { state, error } = (await client.call('job.get', { job: job.id })).job;
    const ok = state === 'succeeded';
    out.value({ job: job.id, ok, stages, error });
    return ok ? exitStatus.ok : state === 'failed' ? exitStatus.failed : exitStatus.unfinished;
  },
});
