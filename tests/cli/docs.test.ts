import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Command } from 'commander';
import { expect, test } from 'vitest';
import { buildProgram } from '../../src/cli/program.ts';
import { painter } from '../../src/cli/text.ts';
import { renderBars } from '../../src/cli/view/bars.ts';
import { renderBlock } from '../../src/cli/view/blocks.ts';
import { emptyView, reduce } from '../../src/cli/view/model.ts';
import { story, timeAt } from './story.ts';

const path = fileURLToPath(new URL('../../docs/cli.md', import.meta.url));

test('docs/cli.md has the view and the help of each command as they are (`vitest -u` renews them)', async () => {
  let text = readFileSync(path, 'utf8');
  text = replaceSection(text, 'view', `\n\`\`\`\n${viewText()}\n\`\`\`\n`);
  text = replaceSection(text, 'reference', await referenceText());
  await expect(text).toMatchFileSnapshot(path);
});

test('the paths that docs/tour.md and docs/stages.md name are there', () => {
  const root = fileURLToPath(new URL('../../', import.meta.url));
  for (const page of ['tour.md', 'stages.md']) {
    const text = readFileSync(new URL(`../../docs/${page}`, import.meta.url), 'utf8');
    const named = [...text.matchAll(/`((?:src|native|proto|recipes|examples|tests)\/[\w./-]*)`/g)].map(
      ([, name]) => name!,
    );
    const linked = [...text.matchAll(/\]\((?!https?:)([^)#]+)\)/g)].map(([, name]) => join('docs', name!));
    expect(named.length + linked.length).toBeGreaterThan(2);
    for (const name of [...named, ...linked])
      expect(existsSync(join(root, name)), `${page}: ${name}`).toBe(true);
  }
});

function replaceSection(text: string, name: string, body: string): string {
  const section = new RegExp(`(<!-- ${name} -->\n)[^]*(<!-- /${name} -->)`);
  expect(text).toMatch(section);
  return text.replace(section, (_, open, close) => open + body + close);
}

function viewText(): string {
  const options = { width: 100, paint: painter(false), color: false };
  const lines = story().flatMap((event) => renderBlock(event, options));
  const view = story().reduce(reduce, emptyView('j1', 'quickstart'));
  return [...lines, ...renderBars(view, { ...options, height: 20, now: timeAt(60) })].join('\n');
}

async function referenceText(): Promise<string> {
  const program = await buildProgram([], async () => {}, true);
  return program.commands.map(commandText).join('\n');
}

function commandText(command: Command): string {
  let help = '';
  command
    .configureOutput({ writeOut: (text) => (help += text), getOutHelpWidth: () => 100 })
    .configureHelp({
      visibleOptions: (each) => each.options.filter(({ long, hidden }) => !hidden && !common.has(long)),
    })
    .outputHelp();
  return `### anneal ${command.name()}\n\n\`\`\`\n${help.trim()}\n\`\`\`\n`;
}

const common = new Set<string | undefined>(['--json', '--home']);
