/** `anneal models`: the models of this home. */
import { defineCommand } from '../command.ts';
import { formatCompact, formatTime } from '../format.ts';
import { renderTable } from '../table.ts';

export default defineCommand({
  examples: [
    ['anneal models', 'names to use with chat, generate and evaluate'],
    ["anneal models --json | jq -r '.models[0].path'", 'the folder of the newest, for other tools'],
  ],
  async run({ out, connect }) {
    const client = await connect();
    const reply = await client.call('model.list', {});
    out.value(reply);
    if (reply.models.length === 0) out.line('No models yet. Train one with: anneal run RECIPE');
    else {
      const rows = reply.models.map((model) => [
        model.name,
        model.stage_type,
        formatCompact(model.parameters),
        formatTime(model.created_at),
        model.job,
        model.path,
      ]);
      const heads = ['name', 'type', 'parameters', 'created', 'job', 'path'];
      for (const line of renderTable(heads, rows, out.width(), out.paint)) out.line(line);
    }
    return undefined;
  },
});
