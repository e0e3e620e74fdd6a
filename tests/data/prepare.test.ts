/** The stages `tokenizer` and `prepare` on real files, and the dataset that comes out. */
import { cpSync, mkdirSync, readdirSync, readFileSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { openTokenDataset, readManifest, verifyTokenDataset } from '../../src/data/dataset.ts';
import { SplitWriter } from '../../src/data/shards.ts';
import { prepareStage } from '../../src/stages/prepare.ts';
import { StageStopped } from '../../src/stages/stage.ts';
import { tokenizerStage } from '../../src/stages/tokenizer.ts';
import { loadTokenizer, type Tokenizer } from '../../src/tokenizer/tokenizer.ts';
import { generatedText, runStage, temporaryFolder } from './stage_context.ts';

const folder = temporaryFolder();
afterAll(folder.remove);

let tokenizer: Tokenizer;
const documents = Array.from({ length: 300 }, (_, i) => generatedText(i + 1, 30 + (i % 50)));

function emptyDir(name: string): string {
  const path = join(folder.path, name);
  mkdirSync(path);
  return path;
}

function filesOf(dir: string): Record<string, string> {
  const names = readdirSync(dir, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile());
  return Object.fromEntries(
    names.map(({ parentPath, name }) => {
      const path = join(parentPath, name);
      return [path.slice(dir.length), readFileSync(path, 'base64')];
    }),
  );
}

const trainSettings = { files: ['*.jsonl'], vocab_size: 600, special_tokens: ['<|im_start|>', '<|x|>'] };

beforeAll(async () => {
  writeFileSync(
    join(folder.path, 'docs.jsonl'),
    documents.map((text) => JSON.stringify({ text })).join('\n'),
  );
  const run = await runStage(tokenizerStage, trainSettings, {
    outDir: emptyDir('tokenizer'),
    baseDir: folder.path,
  });
  expect(run.logs).toEqual([]);
  expect(run.results).toMatchObject({ vocabulary: 600 });
  expect(run.events.map(({ key }) => key)).toContain('tokenizer/merges');
  tokenizer = await loadTokenizer(join(folder.path, 'tokenizer'), { threads: 2 });
});

function prepare(name: string, settings: object, stop?: () => boolean) {
  return runStage(prepareStage, settings, {
    outDir: emptyDir(name),
    baseDir: folder.path,
    inputs: { tokenizer: join(folder.path, 'tokenizer') },
    ...(stop === undefined ? {} : { stop }),
  });
}

describe('stage tokenizer', () => {
  it('gives the same files on a second run', async () => {
    await runStage(tokenizerStage, trainSettings, { outDir: emptyDir('again'), baseDir: folder.path });
    expect(filesOf(join(folder.path, 'again'))).toEqual(filesOf(join(folder.path, 'tokenizer')));
  });

  it('refuses what cannot be', async () => {
    const run = (settings: object, name: string) =>
      runStage(tokenizerStage, settings, { outDir: emptyDir(name), baseDir: folder.path });
    writeFileSync(join(folder.path, 'nothing.txt'), '\n');
    await expect(run({ files: ['nothing.txt'] }, 'no-1')).rejects.toMatchObject({ code: 'data_empty' });
    await expect(run({ files: ['docs.jsonl'], vocab_size: 257 }, 'no-2')).rejects.toMatchObject({
      code: 'recipe_invalid',
      path: 'vocab_size',
    });
    await expect(run({ files: ['docs.jsonl'], chat_template: '{% if %}' }, 'no-3')).rejects.toMatchObject({
      code: 'template_invalid',
    });
    await expect(run({ ...trainSettings, special_tokens: ['user'] }, 'no-4')).rejects.toMatchObject({
      code: 'recipe_invalid',
      path: 'special_tokens',
    });
  });

  it('says when the text is too small for the vocabulary', async () => {
    writeFileSync(join(folder.path, 'small.txt'), 'aa aa aa');
    const run = await runStage(
      tokenizerStage,
      { files: ['small.txt'] },
      { outDir: emptyDir('small'), baseDir: folder.path },
    );
    expect(run.events).toContainEqual({
      kind: 'notice',
      body: {
        stage: expect.any(String),
        level: 'warning',
        text: expect.stringContaining('the vocabulary has'),
      },
      key: expect.stringMatching(/vocabulary$/),
    });
    expect(run.results).toMatchObject({ merges: 2 });
  });

  it('stops when asked to', async () => {
    const stopped = runStage(tokenizerStage, trainSettings, {
      outDir: emptyDir('stopped'),
      baseDir: folder.path,
      stop: () => true,
    });
    await expect(stopped).rejects.toBeInstanceOf(StageStopped);
  });
});

describe('stage prepare', () => {
  it('writes every document once, with EOS, and says where it came from', async () => {
    const { results, events } = await prepare('plain', { files: ['docs.jsonl'], validation_fraction: 0.1 });
    const dir = join(folder.path, 'plain');
    const train = openTokenDataset(dir, 'train');
    const validation = openTokenDataset(dir, 'validation');
    expect(train.numDocuments + validation.numDocuments).toBe(300);
    expect(validation.numDocuments).toBeGreaterThan(10);
    expect(validation.numDocuments).toBeLessThan(60);
    expect(results).toMatchObject({ train_tokens: train.numTokens, validation_tokens: validation.numTokens });
    expect(train.tokenizerHash).toBe(tokenizer.hash);
    expect(events.findLast(({ kind }) => kind === 'progress')).toMatchObject({
      key: 'prepare/document/300',
      body: { metrics: { documents: 300 } },
    });
    const seen: string[] = [];
    for (const dataset of [train, validation]) {
      for (let i = 0; i < dataset.numDocuments; i++) {
        const ids = dataset.document(i);
        expect(ids.length).toBe(dataset.length(i));
        expect(ids.at(-1)).toBe(tokenizer.eosId);
        const line = Number(dataset.origin(i).replace('docs.jsonl:', ''));
        expect(tokenizer.decode(ids.subarray(0, -1))).toBe(documents[line - 1]);
        expect(dataset.document(i, 1, 2)).toEqual(ids.subarray(1, 3));
        seen.push(dataset.origin(i));
      }
      expect(() => dataset.document(dataset.numDocuments)).toThrow(RangeError);
      expect(() => dataset.document(0, 0, 1e6)).toThrow(RangeError);
      dataset.close();
    }
    expect(new Set(seen).size).toBe(300);
    expect(filesOf(join(dir, 'tokenizer'))).toEqual(filesOf(join(folder.path, 'tokenizer')));
  });

  it('gives the same bits on a second run', async () => {
    await expect(prepare('stopped-1', { files: ['docs.jsonl'] }, () => true)).rejects.toBeInstanceOf(
      StageStopped,
    );
    await prepare('first', { files: ['docs.jsonl'] });
    await prepare('second', { files: ['docs.jsonl'] });
    expect(filesOf(join(folder.path, 'second'))).toEqual(filesOf(join(folder.path, 'first')));
  });

  it('mixes sources by weight and keeps equal documents on one side', async () => {
    writeFileSync(join(folder.path, 'other.txt.gz'), gzipSync(documents.slice(0, 100).join('\n\n')));
    await prepare('mixed', {
      sources: [
        { files: ['docs.jsonl'], weight: 2 },
        { files: ['other.txt.gz'], text_unit: 'paragraph', weight: 0.5 },
      ],
      validation_fraction: 0.2,
    });
    const dir = join(folder.path, 'mixed');
    const manifest = readManifest(dir);
    expect(manifest.sources.map(({ name, files, rates }) => [name, files[0]!.file, rates])).toEqual([
      ['docs.jsonl', 'docs.jsonl', [2]],
      ['other.txt.gz', 'other.txt.gz', [0.5]],
    ]);
    const contents = (split: 'train' | 'validation'): string[] => {
      const dataset = openTokenDataset(dir, split);
      const all = Array.from({ length: dataset.numDocuments }, (_, i) => dataset.document(i).join());
      dataset.close();
      return all;
    };
    const train = contents('train');
    const validation = new Set(contents('validation'));
    expect(train.some((content) => validation.has(content))).toBe(false);
    const fromDocs = openTokenDataset(dir, 'train');
    const origins = Array.from({ length: fromDocs.numDocuments }, (_, i) => fromDocs.origin(i));
    fromDocs.close();
    const count = (name: string): number => origins.filter((origin) => origin.startsWith(name)).length;
    expect(count('docs.jsonl')).toBe(2 * new Set(origins.filter((o) => o.startsWith('docs'))).size);
    expect(count('other')).toBeGreaterThan(10);
  });

  it('renders conversations and joins prompts with completions', async () => {
    const messages = [
      { role: 'user', content: 'hi' },
      { role: 'assistant', content: 'ho' },
    ];
    writeFileSync(
      join(folder.path, 'chat.json'),
      `${JSON.stringify({ messages })}\n${JSON.stringify({ prompt: 'a ', completion: 'b' })}\n`,
    );
    await prepare('chat', { files: ['chat.json'], format: 'jsonl', validation_fraction: 0 });
    const dataset = openTokenDataset(join(folder.path, 'chat'), 'train');
    expect([0, 1].map((i) => tokenizer.decode(dataset.document(i)))).toEqual([
      '<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\nho<|im_end|>',
      'a b<|im_end|>',
    ]);
    dataset.close();
  });

  it('stops at max_documents, and refuses empty data', async () => {
    const { results } = await prepare('few', { files: ['docs.jsonl'], max_documents: 7 });
    expect(results.documents).toBe(7);
    writeFileSync(join(folder.path, 'blank.txt'), ' \n');
    await expect(prepare('none', { files: ['blank.txt'] })).rejects.toMatchObject({ code: 'data_empty' });
    await expect(prepare('both', {})).rejects.toMatchObject({ code: 'recipe_invalid' });
  });
});

describe('token datasets', () => {
  it('spread over shards; damage is found', async () => {
    const dir = emptyDir('shards');
    const ids = (i: number): Int32Array =>
      Int32Array.from({ length: 10 + (i % 7) }, (_, k) => (i * 1000 + k) % 70_000);
    const writer = await SplitWriter.create(dir, 'train', 70_000, 1000);
    const other = await SplitWriter.create(dir, 'validation', 70_000, 1000);
    for (let i = 0; i < 200; i += 4) {
      const four = [i, i + 1, i + 2, i + 3];
      const all = four.map(ids);
      await writer.add({
        bytes: Buffer.concat(all.map(({ buffer }) => Buffer.from(buffer))),
        lengths: Uint32Array.from(all, ({ length }) => length),
        places: Float64Array.from(four, (n) => (n === 57 ? -1 - 2 ** 40 : n + 1)),
        locations: new Uint32Array(4),
      });
    }
    const splits = { train: await writer.finish(), validation: await other.finish() };
    expect(splits.train.shards.length).toBeGreaterThan(5);
    const manifest = {
      format: 'anneal-tokens',
      version: 2,
      content_hash: 'z',
      tokenizer_hash: 'x',
      vocab_size: 70_000,
      token_bytes: 4,
      sources: [],
      locations: ['f'],
      splits,
    };
    writeFileSync(join(dir, 'manifest.json'), JSON.stringify(manifest));
    const dataset = openTokenDataset(dir, 'train');
    for (const i of [199, 0, 57, 120, 121]) {
      expect(dataset.document(i)).toEqual(ids(i));
      expect(dataset.origin(i)).toBe(i === 57 ? 'f:@1099511627776' : `f:${i + 1}`);
    }
    dataset.close();
    expect(openTokenDataset(dir, 'validation').numDocuments).toBe(0);
    await verifyTokenDataset(dir);

    const damaged = join(folder.path, 'damaged');
    cpSync(dir, damaged, { recursive: true });
    const shard = join(damaged, splits.train.shards[2]!.file);
    const bytes = readFileSync(shard);
    bytes[17]! ^= 1;
    writeFileSync(shard, bytes);
    await expect(verifyTokenDataset(damaged)).rejects.toMatchObject({
      code: 'artifact_corrupt',
      path: shard,
    });
    truncateSync(shard, 100);
    expect(() => openTokenDataset(damaged, 'train')).toThrow(
      expect.objectContaining({ code: 'artifact_corrupt' }),
    );
    writeFileSync(join(damaged, 'manifest.json'), '{"format": "other"}');
    expect(() => openTokenDataset(damaged, 'train')).toThrow(
      expect.objectContaining({ code: 'artifact_corrupt' }),
    );
  });
});
