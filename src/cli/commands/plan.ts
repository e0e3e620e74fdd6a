/** `anneal plan`: what a recipe will need, by the engine's own sizing. Exit status 1 if it does not fit. */
import type { CommandReply } from '../../../proto/commands.ts';
import { defineCommand } from '../command.ts';
import { formatBytes, formatCompact, formatDuration } from '../format.ts';
import { exitStatus } from '../output.ts';
import { overrideOption, type RecipeOptions, readRecipe } from '../recipe.ts';
import { renderTable } from '../table.ts';
import { wrap } from '../text.ts';

const INDENT = '  ';

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
    const rows = plan.stages.map(({ stage, type, reused, memory_bytes, disk_bytes, seconds }) => [
      stage,
      type,
      reused ? 'reused' : formatBytes(memory_bytes),
      reused ? '-' : formatBytes(disk_bytes),
      reused ? '-' : formatDuration(seconds),
    ]);
    const heads = ['stage', 'type', 'memory', 'disk', 'time'];
    const [head = '', ...lines] = renderTable(heads, rows, out.width(), out.paint);
    out.line(head);
    for (const [i, line] of lines.entries()) {
      out.line(line);
      for (const detail of wrap(detailText(plan.stages[i]!.detail), out.width() - INDENT.length)) {
        if (detail !== '') out.line(INDENT + out.paint(detail, 'dim'));
      }
    }
    out.line();
    out.line(
      `memory  ${formatBytes(plan.memory_bytes)} of ${formatBytes(plan.memory_available_bytes)} available`,
    );
    out.line(
      `disk    ${formatBytes(plan.disk_bytes)} of ${formatBytes(plan.disk_available_bytes)} available`,
    );
    out.line(
      `time    ${plan.seconds === null ? 'known once data are fetched and earlier stages have run' : formatDuration(plan.seconds)}`,
    );
    if (plan.fits) return exitStatus.ok;
    out.line(out.paint('It does not fit on this machine.', 'red'));
    return exitStatus.failed;
  },
});

/** `parameters 132k, weights 530 kB`: sizes in bytes by their names, what is not known yet left out. */
function detailText(detail: CommandReply<'job.plan'>['stages'][number]['detail']): string {
  const facts = Object.entries(detail).filter(([, value]) => value !== null);
  return facts
    .map(([key, value]) => {
      const name = key.replace(/_?bytes$/, '').replaceAll('_', ' ') || 'size';
      if (typeof value !== 'number') return `${name} ${value}`;
      return `${name} ${key.endsWith('bytes') ? formatBytes(value) : formatCompact(value)}`;
    })
    .join(', ');
}
