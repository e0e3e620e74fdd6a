/** Preparation in units: the same bytes however it is shared out, interrupted or damaged; rules over all of them. */
import {
  appendFileSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import { openTokenDataset, readManifest } from '../../src/data/dataset.ts';
import { prepareStage } from '../../src/stages/prepare.ts';
import { StageStopped } from '../../src/stages/stage.ts';
import { loadTokenizer } from '../../src/tokenizer/tokenizer.ts';
import { processSpace } from '../../src/util/processes.ts';
import { filesOf } from './prepare_process.ts';
import { generatedText, type StageRun } from './stage_context.ts';
import { twoSources } from './two_sources.ts';

const { path, prepare, web, sources, settings } = twoSources();

/** Folders of the units in a work folder, in order, with when they were made. */
function unitsOf(workDir: string): Map<string, number> {
  const [key] = readdirSync(workDir).filter((name) => name.startsWith('documents-'));
  const dir = join(workDir, key!, 'units');
  return new Map(
    readdirSync(dir)
      .sort()
      .map((name) => [join(dir, name), statSync(join(dir, name)).mtimeMs]),
  );
}

describe('units', () => {
  let alone: StageRun;
  let expected: Record<string, string>;

  beforeAll(async () => {
    alone = await prepare('alone');
    expected = filesOf(path('alone'));
  });

  it('are many, and their documents say where they begin', () => {
    expect(unitsOf(path('alone.work')).size).toBeGreaterThan(10);
    const text = readFileSync(path('web.jsonl'));
    const dataset = openTokenDataset(path('alone'), 'train');
    const seen = new Set<string>();
    for (let i = 0; i < dataset.numDocuments; i++) {
      const origin = dataset.origin(i);
      seen.add(origin);
      const byte = /^web\.jsonl:@(\d+)$/.exec(origin)?.[1];
      if (byte !== undefined) {
        const start = Number(byte);
        expect(start).toBeGreaterThanOrEqual(settings.unit_bytes);
        expect(text[start - 1]).toBe(0x0a);
      }
    }
    expect(seen.size).toBe(dataset.numDocuments);
    dataset.close();
  });

  it('give the same bytes whatever the number of threads', async () => {
    await prepare('one-thread', {}, { threads: 1 });
    expect(filesOf(path('one-thread'))).toEqual(expected);
  });

  it.each([1, 3, 16])('in %i parts give the dataset of a single run', async (count) => {
    const work = { work_dir: `shared-${count}` };
    // Any order will do.
    for (let i = count; i >= 1; i--) {
      const name = `part-${count}-${i}`;
      const run = await prepare(name, { ...work, part: `${i}/${count}` });
      expect(run.results.part).toBe(`${i}/${count}`);
      expect(() => readManifest(path(name))).toThrow(`is part ${i}/${count} of a dataset`);
    }
    const before = unitsOf(path(`shared-${count}`));
    const merged = await prepare(`merged-${count}`, work);
    expect(unitsOf(path(`shared-${count}`))).toEqual(before);
    expect(merged.results.dataset).toBe(alone.results.dataset);
    expect(filesOf(path(`merged-${count}`))).toEqual(expected);
  });

  it('may be worked on by several at once', async () => {
    const work = { work_dir: 'together' };
    const runs = await Promise.all(['a', 'b', 'c'].map((name) => prepare(`together-${name}`, work)));
    for (const run of runs) expect(run.results.dataset).toBe(alone.results.dataset);
    expect(filesOf(path('together-b'))).toEqual(expected);
  });

  it('that are done are not done again after a stop', async () => {
    let asked = 0;
    const workDir = path('stopped.work');
    const stopped = prepare('stopped', {}, { workDir, stop: () => ++asked > 5 });
    await expect(stopped).rejects.toBeInstanceOf(StageStopped);
    const done = unitsOf(workDir);
    expect(done.size).toBe(5);
    await prepare('went-on', {}, { workDir });
    expect(filesOf(path('went-on'))).toEqual(expected);
    for (const [unit, time] of done) expect(unitsOf(workDir).get(unit)).toBe(time);
  });

  it('are taken over from processes that are gone, with what they have left', async () => {
    const workDir = path('orphaned.work');
    await expect(
      prepare('orphaned', {}, { workDir, stop: () => unitsOf(workDir).size > 3 }),
    ).rejects.toBeInstanceOf(StageStopped);
    const [first] = [...unitsOf(workDir).keys()];
    const key = join(first!, '../..');
    writeFileSync(join(key, 'claims/4'), JSON.stringify({ pid: 2 ** 22 + 1, of: processSpace() }));
    writeFileSync(join(key, 'claims/5'), JSON.stringify({ pid: process.pid, of: processSpace() }));
    mkdirSync(join(key, 'units/000004.abc.partial'));
    writeFileSync(join(key, 'units/000004.abc.partial/ids.bin'), 'half');
    await prepare('adopted', {}, { workDir });
    expect(filesOf(path('adopted'))).toEqual(expected);
    expect(readdirSync(join(key, 'units')).filter((name) => name.includes('partial'))).toEqual([]);
    expect(readdirSync(join(key, 'claims'))).toEqual([]);
  });

  it('that were damaged are found and done again', async () => {
    const workDir = path('damaged.work');
    await prepare('whole', {}, { workDir });
    const [first, second, third] = [...unitsOf(workDir).keys()];
    const bytes = readFileSync(join(first!, 'ids.bin'));
    bytes[3]! ^= 1;
    writeFileSync(join(first!, 'ids.bin'), bytes);
    writeFileSync(join(second!, 'documents.bin'), '');
    rmSync(join(third!, 'ids.bin'));
    await prepare('mended', {}, { workDir });
    expect(filesOf(path('mended'))).toEqual(expected);
  });

  it('are not those of other data or settings', async () => {
    const workDir = path('reused.work');
    await prepare('reuse-1', {}, { workDir });
    await prepare('reuse-2', { append_eos: false }, { workDir });
    expect(readdirSync(workDir)).toHaveLength(2);
    const one = readManifest(path('reuse-1'));
    const two = readManifest(path('reuse-2'));
    const all = one.splits.train.documents + one.splits.validation.documents;
    const tokens = ({ splits }: typeof one) => splits.train.tokens + splits.validation.tokens;
    expect(tokens(one) - tokens(two)).toBe(all);
    // Weights come in when units are merged.
    await prepare('reuse-3', { sources: [{ ...sources[0], weight: 2 }, sources[1]] }, { workDir });
    expect(readdirSync(workDir)).toHaveLength(2);
  });

  it('of other data are told of, as long as there is something to do', async () => {
    const folder = { work_dir: 'changed' };
    const noticeOf = ({ events }: StageRun) =>
      events
        .filter(({ key }) => key === 'prepare/other-inputs')
        .map(({ body }) => (body as { text: string }).text);
    writeFileSync(path('grows.jsonl'), web.map((text) => `${JSON.stringify({ text })}\n`).join(''));
    const growing = { ...folder, sources: [{ name: 'web', files: ['grows.jsonl'] }] };
    expect(noticeOf(await prepare('grows-1', { ...growing, part: '1/2' }))).toEqual([]);
    appendFileSync(path('grows.jsonl'), '{"text": "one more"}\n');
    expect(noticeOf(await prepare('grows-2', { ...growing, part: '2/2' }))).toEqual([
      expect.stringMatching(
        /^changed has units of other inputs \(different: the files, or how they are read\)/,
      ),
    ]);
    const [merging] = noticeOf(await prepare('grows-merged', growing));
    expect(merging).toMatch(/ (\d+) of (?!\1)\d+ units are left to do\.$/);
    expect(noticeOf(await prepare('grows-again', growing))).toEqual([]);
  });

  it('of parts need a folder to meet in, and parts that exist', () => {
    const parse = (more: object) => prepareStage.schema.safeParse({ ...settings, ...more });
    expect(parse({ part: '1/2' }).error?.issues[0]?.message).toContain('needs work_dir');
    for (const part of ['0/2', '3/2', '2', '1/0', 'x/y'])
      expect(parse({ part, work_dir: 'w' }).success).toBe(false);
  });

  it('keep rows aside that do not fit, in order, and refuse too many', async () => {
    const rows = web
      .slice(0, 100)
      .map((text, i) => (i % 20 === 7 ? '{"text": 3}' : JSON.stringify({ text })));
    writeFileSync(path('some-bad.jsonl'), rows.join('\n'));
    const bad = { sources: [{ files: ['some-bad.jsonl'], max_rejected: 0.05 }] };
    await prepare('some-bad', bad);
    const lines = readFileSync(path('some-bad/rejected.jsonl'), 'utf8').trim().split('\n');
    expect(lines).toHaveLength(5);
    expect(JSON.parse(lines[0]!)).toMatchObject({ row: 'some-bad.jsonl:8', field: 'text' });
    expect(readManifest(path('some-bad')).sources[0]).toMatchObject({
      rows: 100,
      rejected: 5,
      documents: 95,
    });
    const strict = { sources: [{ files: ['some-bad.jsonl'], max_rejected: 0.04 }] };
    await expect(prepare('too-bad', strict)).rejects.toMatchObject({ code: 'data_rejected' });
    const none = { sources: [{ files: ['some-bad.jsonl'] }] };
    await expect(prepare('none-bad', none)).rejects.toMatchObject({
      code: 'data_field',
      path: 'some-bad.jsonl:8:text',
    });
  });
});

describe('rules over many documents', () => {
  const line = 'This very line stands at the end of many pages of the site, and nobody reads it.';
  const long = Array.from({ length: 60 }, (_, i) => generatedText(1000 + i, 120));
  const evaluation = generatedText(5000, 40);
  const rules = {
    sources: [{ name: 'pages', files: ['pages.jsonl'], cleaning: { min_document_length: 20 } }],
    unit_bytes: 5_000,
    dedup: { near: true },
    decontamination: { sets: [{ name: 'quiz', files: ['quiz.jsonl'] }] },
  };

  beforeAll(() => {
    const pages = long.flatMap((text, i) => {
      const page = `${text}\n${line}`;
      if (i % 10 === 3) return [page, `${text}\n\n${line}`];
      if (i % 10 === 6) return [page, `${text} and so on\n${line}`];
      if (i % 10 === 8) return [page, 'too short'];
      return i === 50 ? [`${text} ${evaluation} ${text}`] : [page];
    });
    writeFileSync(path('pages.jsonl'), pages.map((text) => `${JSON.stringify({ text })}\n`).join(''));
    writeFileSync(path('quiz.jsonl'), JSON.stringify({ prompt: evaluation, answer: 'yes' }));
  });

  async function textsOf(name: string): Promise<string[]> {
    const tokenizer = await loadTokenizer(path('tokenizer'));
    const texts: string[] = [];
    for (const split of ['train', 'validation'] as const) {
      const dataset = openTokenDataset(path(name), split);
      for (let i = 0; i < dataset.numDocuments; i++) texts.push(tokenizer.decode(dataset.document(i)));
      dataset.close();
    }
    return texts;
  }

  it('drop what they say, count it, and tell it on a page', async () => {
    const run = await prepare('ruled', rules);
    const { sources: entries, decontamination } = readManifest(path('ruled'));
    expect(entries[0]).toMatchObject({
      rows: 78,
      dropped: { min_document_length: 6 },
      contaminated: 1,
      exact_duplicates: 6,
      near_duplicates: 6,
      documents: 59,
    });
    expect(decontamination).toEqual([{ name: 'quiz', rows: 1, contaminated: 0, sharing: 0 }]);
    expect((await textsOf('ruled')).some((text) => text.includes(evaluation))).toBe(false);
    const page = JSON.parse(readFileSync(path('ruled/report.json'), 'utf8')) as {
      sections: { title: string }[];
    };
    expect(page.sections.map(({ title }) => title)).toEqual(
      expect.arrayContaining(['Rows by source', 'Cleaning by rule', 'Duplicates', 'Examples of duplicates']),
    );
    expect(readFileSync(path('ruled/report.html'), 'utf8')).toContain('Examples of contaminated documents');
    expect(run.events).toContainEqual(
      expect.objectContaining({ kind: 'notice', key: 'prepare/pages/shapes' }),
    );
    const kept = run.events.find(({ key }) => key === 'prepare/kept')!;
    expect(kept.body).toMatchObject({
      text: expect.stringMatching(
        /^59 documents \(of the other rows 6 cleaned away, 1 contaminated, 6 equal, 6 near\); [\d,]+ tokens/,
      ) as string,
    });
  });

  it('keep the order of rows through many batches of a unit', async () => {
    // Rows of another kind begin another batch.
    const rows = long.map((text, i) => (i % 2 === 0 ? { text } : { prompt: `${text} `, completion: text }));
    writeFileSync(path('kinds.jsonl'), rows.map((row) => `${JSON.stringify(row)}\n`).join(''));
    const sources = [{ files: ['kinds.jsonl'], cleaning: { min_document_length: 20 } }];
    await prepare('kinds', { sources, unit_bytes: 1 << 20, validation_fraction: 0 });
    const expected = rows.map(({ text, prompt, completion }) => text ?? `${prompt}${completion}`);
    expect(await textsOf('kinds')).toEqual(expected.map((text) => expect.stringContaining(text) as string));
  });

  it('tell shapes that rows have besides, in one unit or another', async () => {
    const rows = Array.from({ length: 40 }, (_, i) => ({
      messages: [{ role: 'user', content: `question ${i}` }],
      ...(i >= 38 && { text: 'not read' }),
    }));
    writeFileSync(path('besides.jsonl'), rows.map((row) => `${JSON.stringify(row)}\n`).join(''));
    const { events } = await prepare('besides', {
      sources: [{ name: 'chats', files: ['besides.jsonl'] }],
      unit_bytes: 1000,
    });
    expect(events.find(({ key }) => key === 'prepare/chats/shapes')?.body).toMatchObject({
      text: 'chats: 40 rows: messages (rows also have text: not read).',
    });
  });

  it('count documents of which nothing is left', async () => {
    const repeated = 'This line stands in two of the documents, and in one of them nothing else does.';
    const lines = [`${long[0]}\n${repeated}`, repeated, long[1]!];
    writeFileSync(path('emptied.jsonl'), lines.map((text) => `${JSON.stringify({ text })}\n`).join(''));
    await prepare('emptied', {
      sources: [{ files: ['emptied.jsonl'] }],
      dedup: { exact: false, lines: true },
      validation_fraction: 0,
    });
    expect(readManifest(path('emptied')).sources[0]).toMatchObject({ rows: 3, emptied: 1, documents: 2 });
  });

  it('make no document of a row without text', async () => {
    const texts = ['', long[0], '', long[1]];
    writeFileSync(path('without.jsonl'), texts.map((text) => `${JSON.stringify({ text })}\n`).join(''));
    await prepare('without', { sources: [{ files: ['without.jsonl'] }], validation_fraction: 0 });
    expect(readManifest(path('without')).sources[0]).toMatchObject({ rows: 4, emptied: 2, documents: 2 });
  });

  it('remove lines but where they stand first', async () => {
    const dedup = { exact: false, lines: { min_characters: 60 } };
    await prepare('lines', { ...rules, dedup });
    expect((await textsOf('lines')).filter((text) => text.includes(line))).toHaveLength(1);
    const boilerplate = [{ ...rules.sources[0], cleaning: { boilerplate_lines: { min_documents: 10 } } }];
    await prepare('boilerplate', { ...rules, dedup: undefined, sources: boilerplate });
    const texts = await textsOf('boilerplate');
    expect(texts.filter((text) => text.includes(line))).toHaveLength(0);
    expect(texts).toHaveLength(77);
  });

  it('give the same whatever the threads and parts', async () => {
    await prepare('ruled-alone', rules, { threads: 1 });
    for (const i of [2, 1])
      await prepare(`ruled-${i}`, { ...rules, work_dir: 'ruled-shared', part: `${i}/2` });
    await prepare('ruled-merged', { ...rules, work_dir: 'ruled-shared' });
    expect(filesOf(path('ruled-alone'))).toEqual(filesOf(path('ruled')));
    expect(filesOf(path('ruled-merged'))).toEqual(filesOf(path('ruled')));
  });
});
