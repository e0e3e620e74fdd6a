import { execFileSync, spawnSync } from 'node:child_process';
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, describe, expect, test } from 'vitest';
import { complete } from '../../src/cli/complete.ts';
import { buildProgram } from '../../src/cli/program.ts';
import { anneal } from './process.ts';

const folder = mkdtempSync(join(tmpdir(), 'anneal-completion-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

// The shells call the program by its name.
const main = fileURLToPath(new URL('../../src/cli/main.ts', import.meta.url));
writeFileSync(join(folder, 'anneal'), `#!/bin/sh\nexec '${process.execPath}' '${main}' "$@"\n`);
chmodSync(join(folder, 'anneal'), 0o755);
writeFileSync(join(folder, 'recipe one.yaml'), '');
const env = { ...process.env, PATH: `${folder}:${process.env.PATH}`, ANNEAL_HOME: folder };
const has = (shell: string) => spawnSync(shell, ['-c', 'true']).status === 0;

async function offered(...words: string[]) {
  const program = await buildProgram(words, async () => {});
  const none = () => Promise.reject(new Error('no daemon'));
  const { candidates, files } = await complete(program, words, none);
  return { words: candidates.map(({ word }) => word), files };
}

test('commands, options, choices, files', async () => {
  expect((await offered('')).words).toContain('evaluate');
  expect(await offered('do')).toEqual({ words: ['down', 'doctor'], files: false });
  expect(await offered('run', '--de')).toEqual({ words: ['--detach'], files: false });
  expect(await offered('run', '')).toEqual({ words: [], files: true });
  expect(await offered('run', '--priority', '3', '')).toEqual({ words: [], files: true });
  expect(await offered('run', 'recipe.yaml', '')).toEqual({ words: [], files: false });
  expect(await offered('jobs', '--state', 'run')).toEqual({ words: ['running'], files: false });
  expect(await offered('keys', '')).toMatchObject({
    words: ['list', 'make', 'authorise', 'revoke', 'trust'],
  });
  expect(await offered('completion', 'z')).toMatchObject({ words: ['zsh'] });
  expect(await offered('pause', '')).toEqual({ words: [], files: false });
});

async function scriptFor(shell: string): Promise<string> {
  const path = join(folder, `completion.${shell}`);
  const { stdout } = await anneal(['completion', shell], { home: folder });
  writeFileSync(path, stdout);
  return path;
}

describe('the shells themselves', () => {
  test('bash', async () => {
    const script = await scriptFor('bash');
    const ask = (...words: string[]) =>
      execFileSync(
        'bash',
        [
          '-c',
          `source '${script}'; COMP_WORDS=(anneal "$@"); COMP_CWORD=$#; compopt() { :; }; _anneal; printf '%s\\n' "\${COMPREPLY[@]}"`,
          'bash',
          ...words,
        ],
        { env, cwd: folder, encoding: 'utf8' },
      )
        .trim()
        .split('\n');
    expect(ask('pa')).toEqual(['pause']);
    expect(ask('run', '--de')).toEqual(['--detach']);
    expect(ask('run', 'recipe')).toEqual(['recipe one.yaml']);
  });

  test.skipIf(!has('zsh'))('zsh', async () => {
    const script = await scriptFor('zsh');
    // _describe wants a whole editor: what it is given is what matters.
    const code = `compdef() { :; }; _describe() { print -l -- "\${(@P)2}"; }; _files() { print files; }
      source '${script}'; words=(anneal "$@"); CURRENT=$(( $# + 1 )); _anneal`;
    const ask = (...words: string[]) =>
      execFileSync('zsh', ['-f', '-c', code, 'zsh', ...words], { env, encoding: 'utf8' }).trim();
    expect(ask('pa')).toBe('pause:checkpoint a job and free the machine');
    expect(ask('run', '')).toBe('files');
  });

  test.skipIf(!has('fish'))('fish', async () => {
    const script = await scriptFor('fish');
    const ask = (line: string) =>
      execFileSync('fish', ['--no-config', '-c', `source '${script}'; complete -C '${line}'`], {
        env,
        cwd: folder,
        encoding: 'utf8',
      }).trim();
    expect(ask('anneal pa')).toBe('pause\tcheckpoint a job and free the machine');
    expect(ask('anneal run --de')).toContain('--detach');
    expect(ask('anneal run rec')).toContain('recipe one.yaml');
  });
});
