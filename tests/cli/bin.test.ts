/** The entry points as they lie in `bin/`, in a tree of their own with a program that says what it was given. */
import { spawnSync } from 'node:child_process';
import { copyFileSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, describe, expect, test } from 'vitest';

const folder = mkdtempSync(join(tmpdir(), 'anneal-bin-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

function makeTree(name: string, program: string, root: string, node: string): string {
  const script = join(root, 'bin', name);
  const main = join(root, 'dist/src', program, 'main.js');
  for (const path of [script, main, node]) mkdirSync(dirname(path), { recursive: true });
  copyFileSync(fileURLToPath(new URL(`../../bin/${name}`, import.meta.url)), script);
  symlinkSync(process.execPath, node);
  writeFileSync(main, 'console.log(JSON.stringify(process.argv.slice(2))); process.exitCode = 7;');
  return script;
}

describe.each([
  ['anneal', 'cli'],
  ['anneald', 'daemon'],
])('bin/%s', (name, program) => {
  test('runs the built program through any chain of links, arguments and exit status untouched', () => {
    const root = join(folder, `${name} tree`);
    const script = makeTree(name, program, root, join(root, 'node_modules/node/bin/node'));
    const link = join(folder, `${name}-link`);
    const relative = join(folder, `${name}-relative`);
    symlinkSync(script, link);
    symlinkSync(`./${name}-link`, relative);
    for (const path of [script, link, relative]) {
      const { status, stdout } = spawnSync(path, ['run', 'a b', '--set', 'x=$HOME'], {
        cwd: '/',
        encoding: 'utf8',
      });
      expect(JSON.parse(stdout)).toEqual(['run', 'a b', '--set', 'x=$HOME']);
      expect(status).toBe(7);
    }
  });

  test('finds the Node beside the package when it is installed as a dependency', () => {
    const modules = join(folder, name, 'node_modules');
    const script = makeTree(name, program, join(modules, 'anneal'), join(modules, 'node/bin/node'));
    expect(spawnSync(script, ['x'], { encoding: 'utf8' }).stdout).toBe('["x"]\n');
  });

  test('says how to build what is not built', () => {
    const root = join(folder, `${name}-bare`);
    const script = makeTree(name, program, root, join(root, 'node_modules/node/bin/node'));
    rmSync(join(root, 'dist'), { recursive: true });
    const { status, stderr } = spawnSync(script, [], { encoding: 'utf8' });
    expect(status).toBe(70);
    expect(stderr).toContain(`${name}: not built yet`);
    expect(stderr).toContain('bash scripts/setup');
  });
});
