import { mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import { ANNEAL_VERSION } from '../../proto/version.ts';
import { buildProgram } from '../../src/cli/program.ts';
import { registry } from '../../src/cli/registry.ts';
import { anneal } from './process.ts';

const home = mkdtempSync(join(tmpdir(), 'anneal-cli-'));
afterAll(() => rmSync(home, { recursive: true, force: true }));
const run = (...args: string[]) => anneal(args, { home });

test('each file of commands/ is registered, under its name', () => {
  const files = readdirSync(new URL('../../src/cli/commands', import.meta.url));
  expect(registry.map(({ name }) => `${name}.ts`).sort()).toEqual(files.sort());
});

test('each command has a help with examples that call it', async () => {
  const program = await buildProgram([], async () => {}, true);
  for (const command of program.commands) {
    let help = '';
    command.configureOutput({ writeOut: (text) => (help += text) }).outputHelp();
    const examples = help.split('Examples:\n')[1]?.trim().split('\n') ?? [];
    expect(examples.length, command.name()).toBeGreaterThanOrEqual(2);
    for (const example of examples) expect(example).toContain(`anneal ${command.name()}`);
    expect(help).toContain('--json');
  }
});

test('--version', async () => {
  expect(await run('--version')).toEqual({ status: 0, stdout: `${ANNEAL_VERSION}\n`, stderr: '' });
});

describe('bad usage: exit status 2, and what to do', () => {
  test.each([
    [['rn'], /unknown command 'rn'/, /Did you mean run\?/],
    [['run'], /missing required argument 'recipe'/, /anneal run --help/],
    [['run', 'a.yaml', '--detch'], /unknown option '--detch'/, /Did you mean --detach\?/],
    [['run', 'a.yaml', '--set', 'seed'], /must be KEY=VALUE/, /anneal run --help/],
    [['run', 'a.yaml', '--priority', 'high'], /must be a whole number/, /anneal run --help/],
    [['generate', 'm', 'x', '-t', '-1'], /must be at least 0/, /anneal generate --help/],
    [['jobs', '--state', 'sleeping'], /'sleeping' is invalid/, /anneal jobs --help/],
    [['completion', 'tcsh'], /no script for 'tcsh'/, /anneal completion --help/],
    [['pause', 'j1', 'j2'], /too many arguments/, /anneal pause --help/],
  ])('%j', async (args, what, how) => {
    const { status, stdout, stderr } = await run(...args);
    expect(status).toBe(2);
    expect(stdout).toBe('');
    expect(stderr).toMatch(what);
    expect(stderr).toMatch(how);
  });

  test('with --json the error is an object on standard output', async () => {
    const { status, stdout, stderr } = await run('run', '--json');
    expect(status).toBe(2);
    expect(stderr).toBe('');
    expect(JSON.parse(stdout)).toMatchObject({ error: { code: 'bad_request' } });
  });
});

test('no command at all prints the help, as an error', async () => {
  const { status, stderr } = await run();
  expect(status).toBe(2);
  expect(stderr).toContain('Jobs:');
});

test('a recipe that is not there: what, where, how', async () => {
  const path = join(home, 'none.yaml');
  const { status, stderr } = await run('run', path);
  expect(status).toBe(4);
  expect(stderr.split('\n')).toEqual([
    `error: There is no file ${path}. (file_not_found)`,
    `   at: ${path}`,
    expect.stringMatching(/^ {2}fix: /),
    '',
  ]);
});

test.each(
  registry.filter(({ name }) => !['up', 'completion', 'keys'].includes(name)).map(({ name }) => name),
)('%s without a daemon: exit status 3 and how to start one', async (name) => {
  const recipe = join(home, 'recipe.yaml');
  writeFileSync(recipe, 'stages: {}\n');
  const args: Record<string, string[]> = {
    run: [recipe],
    plan: [recipe],
    generate: ['model', 'prompt'],
    chat: ['model'],
    evaluate: ['model', recipe],
    merge: ['model', '--out', join(home, 'merged')],
    rank: ['job/generate'],
    data: ['inspect', recipe],
    selftest: [recipe],
    logs: ['j1'],
    pause: ['j1'],
    resume: ['j1'],
    cancel: ['j1'],
  };
  const { status, stdout } = await run(name, ...(args[name] ?? []), '--json');
  expect(JSON.parse(stdout)).toMatchObject({
    error: { code: 'daemon_not_running', hint: expect.stringContaining('anneal up') },
  });
  expect(status).toBe(3);
});
