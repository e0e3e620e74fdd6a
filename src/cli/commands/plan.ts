/** `anneal plan`: what a recipe will need, by the engine's own sizing. Exit status 1 if it does not fit. */
import { defineCommand } from '../command.ts';
import { formatBytes, formatDuration } from '../format.ts';
import { exitStatus } from '../output.ts';
import { overrideOption, type RecipeOptions, readRecipe } from '../recipe.ts';
import { renderTable } from '../table.ts';

export default defineCommand<RecipeOptions>({
  usage: '<recipe>',
  options: (command) => void command.addOption(overrideOption()),
  examples: [
    ['anneal plan recipe.yaml', 'will it fit, and how long will it take?'],
    ['anneal plan recipe.yaml --set stages.pretrain.hidden_size=768', 'with another size'],
    ['anneal plan recipe.yaml --json | jq .memory_bytes', 'for a script'],
  ],
  async run({ args, options, out, connect }) {
    const recipe = await readRecipe(args[0]!, options.set);
    const client = await connect();
    const plan = await client.call('job.plan', recipe);
    out.value(plan);
    const rows = plan.stages.map((stage) => [
      stage.stage,
      stage.type,
      stage.reused ? 'reused' : formatBytes(stage.memory_bytes),
      stage.reused ? '-' : formatBytes(stage.disk_bytes),
      stage.reused ? '-' : formatDuration(stage.seconds),
      Object.entries(stage.detail)
        .map(([key, value]) => `${key.replaceAll('_', ' ')} ${value}`)
        .join(', '),
    ]);
    const heads = ['stage', 'type', 'memory', 'disk', 'time', 'detail'];
    for (const line of renderTable(heads, rows, out.width(), out.paint)) out.line(line);
    out.line();
    out.line(
      `memory  ${formatBytes(plan.memory_bytes)} of ${formatBytes(plan.memory_available_bytes)} available`,
    );
    out.line(
      `disk    ${formatBytes(plan.disk_bytes)} of ${formatBytes(plan.disk_available_bytes)} available`,
    );
    out.line(
      `time    ${plan.seconds === null ? 'known once earlier stages have run' : formatDuration(plan.seconds)}`,
    );
    if (plan.fits) return exitStatus.ok;
    out.line(out.paint('It does not fit on this machine.', 'red'));
    return exitStatus.failed;
  },
});
