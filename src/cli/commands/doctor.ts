/** `anneal doctor`: checks of this machine. Exit status 1 if one of them fails. */
import { defineCommand } from '../command.ts';
import { exitStatus } from '../output.ts';
import { clean, wrap } from '../text.ts';

export default defineCommand({
  examples: [
    ['anneal doctor', 'processor, matrix speed, memory, disk, versions'],
    ["anneal doctor --json | jq '.checks[] | select(.ok | not)'", 'what fails'],
  ],
  async run({ out, connect }) {
    const client = await connect();
    const { checks } = await client.call('doctor', {});
    out.value({ checks });
    const { paint } = out;
    const width = Math.max(...checks.map(({ name }) => name.length));
    for (const { name, ok, value, hint } of checks) {
      const indent = ' '.repeat(width + 4);
      const text = wrap(clean(value), out.width() - indent.length).join(`\n${indent}`);
      out.line(`${ok ? paint('✓', 'green') : paint('✗', 'red')} ${name.padEnd(width)}  ${text}`);
      if (!ok && hint !== undefined) out.line(`${indent}${paint('fix:', 'green')} ${hint}`);
    }
    return checks.every(({ ok }) => ok) ? exitStatus.ok : exitStatus.failed;
  },
});
