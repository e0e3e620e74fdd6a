import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { COMMANDS } from '../../proto/commands.ts';
import { ERRORS } from '../../proto/errors.ts';
import { ANNEAL_VERSION } from '../../proto/version.ts';
import { generatedFiles } from '../../scripts/generate-docs.ts';
import { HANDLERS } from '../../src/daemon/handlers/index.ts';

const ROOT = join(import.meta.dirname, '../..');

/** Text of every TypeScript file below the folders, but for the one given. */
function sources(folders: string[], except: string): string {
  return folders
    .flatMap((folder) =>
      readdirSync(join(ROOT, folder), { recursive: true }).map((name) => join(folder, `${name}`)),
    )
    .filter((name) => name.endsWith('.ts') && name !== except)
    .map((name) => readFileSync(join(ROOT, name), 'utf8'))
    .join('\n');
}

it('what is generated from the protocol is what is checked in (node scripts/generate-docs.ts)', () => {
  const files = generatedFiles();
  for (const [path, text] of files) expect(readFileSync(join(ROOT, path), 'utf8'), path).toBe(text);
  const schemas = readdirSync(join(ROOT, 'proto/schema')).map((name) => `proto/schema/${name}`);
  expect(schemas.filter((path) => !files.has(path))).toEqual([]);
});

it('every command has a handler of its own', () => {
  expect(Object.keys(HANDLERS).sort()).toEqual(Object.keys(COMMANDS).sort());
  const files = readdirSync(join(ROOT, 'src/daemon/handlers')).filter(
    (name) => !/^(index|handler)\.ts$/.test(name),
  );
  expect(files.sort()).toEqual(
    Object.keys(COMMANDS)
      .map((name) => `${name.replace('.', '-')}.ts`)
      .sort(),
  );
});

it('every error code of the catalogue is raised somewhere', () => {
  const text = sources(['src', 'proto', 'scripts'], 'proto/errors.ts');
  expect(Object.keys(ERRORS).filter((code) => !text.includes(`'${code}'`))).toEqual([]);
});

it('the version of the program is that of the package', () => {
  const manifest = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8')) as { version: string };
  expect(ANNEAL_VERSION).toBe(manifest.version);
});

it('the tour names files that are there, and every folder of the source', () => {
  const tour = readFileSync(join(ROOT, 'docs/tour.md'), 'utf8');
  const folders = (under: string) =>
    readdirSync(join(ROOT, under), { withFileTypes: true })
      .filter((entry) => entry.isDirectory())
      .map(({ name }) => join(under, name));
  const tops = ['bench', 'examples', 'native', 'proto', 'recipes', 'scripts', 'src', 'tests'];
  const named = [...tour.matchAll(/`([\w-]+\/[\w./-]*)`/g)]
    .map(([, path]) => path!)
    .filter((path) => tops.includes(path.split('/')[0]!));
  expect(named.filter((path) => !existsSync(join(ROOT, path)))).toEqual([]);
  const source = [...tops, ...['src', 'src/data', 'native', 'scripts'].flatMap(folders)];
  expect(source.filter((folder) => !named.some((path) => `${path}/`.startsWith(`${folder}/`)))).toEqual([]);
});
