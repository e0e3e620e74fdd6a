/** Labels on disk: the last counts, half a line is none, and what was added is there. */
import { appendFileSync, mkdtempSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import type { Label } from '../../proto/ranking.ts';
import { plainRows } from '../../src/data/shapes/read.ts';
import { LabelLog, labelFiles, readLabels } from '../../src/ranking/labels.ts';
import { peopleLabels } from '../../src/ranking/people.ts';
import { readResponses } from '../../src/ranking/responses.ts';
import { RowLog } from '../../src/ranking/row_log.ts';

const root = mkdtempSync(join(tmpdir(), 'anneal-labels-'));
afterAll(() => rmSync(root, { recursive: true, force: true }));

let folders = 0;
function folder(): string {
  folders += 1;
  return join(root, 'labels', String(folders));
}

function label(row: string, ranking: number[][] | null, more: Partial<Label> = {}): Label {
  return { row, labeller: 'ida', criterion: 'x', of: [0, 1, 2], ranking, time: 1, ...more };
}

describe('labels', () => {
  it('are found again; of several for one thing the last counts', async () => {
    const dir = folder();
    const log = await LabelLog.open(dir, 'ida');
    await log.add([label('a', [[0], [1], [2]])]);
    await log.add([label('b', null), label('a', [[2], [1, 0]])]);
    expect(log.get(label('a', null))!.ranking).toEqual([[2], [1, 0]]);
    const again = await LabelLog.open(dir, 'ida');
    expect(again.get({ row: 'a', criterion: 'x', of: [2, 1, 0] })!.ranking).toEqual([[2], [1, 0]]);
    expect(again.get({ row: 'a', criterion: 'y', of: [0, 1, 2] })).toBeUndefined();
    expect(await labelFiles(dir)).toEqual([join(dir, 'ida.jsonl')]);
    expect(await labelFiles(folder())).toEqual([]);
  });

  it('survive a kill at any byte of the last one', async () => {
    const dir = folder();
    await (await LabelLog.open(dir, 'ida')).add([label('a', [[0], [1], [2]]), label('b', [[1], [0], [2]])]);
    const file = join(dir, 'ida.jsonl');
    const whole = readFileSync(file);
    const first = whole.indexOf('\n') + 1;
    for (let end = first; end < whole.length; end += 7) {
      writeFileSync(file, whole);
      truncateSync(file, end);
      const log = await LabelLog.open(dir, 'ida');
      expect([log.get(label('a', null)), log.get(label('b', null))].map(Boolean)).toEqual([true, false]);
      await log.add([label('b', [[2], [1], [0]])]);
      expect([...(await readLabels(file)).values()].map(({ ranking }) => ranking![0])).toEqual([[0], [2]]);
    }
  });

  it('that were damaged are named by file and line', async () => {
    const dir = folder();
    await (await LabelLog.open(dir, 'ida')).add([label('a', null)]);
    appendFileSync(join(dir, 'ida.jsonl'), '{"row":1}\n');
    await expect(LabelLog.open(dir, 'ida')).rejects.toMatchObject({
      code: 'data_syntax',
      path: `${join(dir, 'ida.jsonl')}:2`,
    });
  });
});

describe('work that is kept as it is done', () => {
  it('goes on behind the whole lines', async () => {
    const path = join(root, 'log.jsonl');
    const log = await RowLog.open<number>(path);
    await log.append(1);
    await log.append(2);
    await log.close();
    appendFileSync(path, '[3');
    const again = await RowLog.open<number>(path);
    expect(again.pieces).toEqual([1, 2]);
    await again.append(4);
    await again.close();
    expect(readFileSync(path, 'utf8')).toBe('1\n2\n4\n');
  });
});

describe("people's labels as scores", () => {
  const file = join(root, 'responses.jsonl');
  const options = {
    criteria: undefined,
    minLabellers: 1,
    minShare: 1,
    stage: 'rank',
    reference: 'demo/generate',
  };

  async function rows() {
    writeFileSync(
      file,
      [
        { id: 'a', prompt: 'p', responses: ['one', 'two', 'one'] },
        { id: 'b', prompt: 'p', responses: ['x', 'y'] },
        { id: 'c', prompt: 'p', responses: ['same', 'same'] },
      ]
        .map((row) => JSON.stringify(row))
        .join('\n'),
    );
    return readResponses(plainRows([file]));
  }

  it('weigh criteria and people, and give equal texts an equal place', async () => {
    const dir = folder();
    const ida = await LabelLog.open(dir, 'ida');
    await ida.add([label('a', [[1], [0]], { of: [0, 1] }), label('b', [[0], [1]], { of: [0, 1] })]);
    const ben = await LabelLog.open(dir, 'ben');
    await ben.add([
      label('b', [[1], [0]], { of: [0, 1], labeller: 'ben', criterion: 'y' }),
      label('a', null, { labeller: 'ben', criterion: 'y', of: [0, 1] }),
    ]);
    const said = await peopleLabels(await rows(), { ...options, folder: dir });
    expect(said.rows.map(({ scores }) => scores)).toEqual([
      [0.25, 1, 0.25],
      [0.5, 0.5],
      [null, null],
    ]);
    const weighted = await peopleLabels(await rows(), { ...options, folder: dir, criteria: { x: 1, y: 3 } });
    expect(weighted.rows[1]!.scores).toEqual([0.25, 0.75]);
    const one = await peopleLabels(await rows(), { ...options, folder: dir, criteria: { x: 1 } });
    expect(one.rows[1]!.scores).toEqual([1, 0]);
  });

  it('that are too few say which command gives more', async () => {
    const dir = folder();
    await (await LabelLog.open(dir, 'ida')).add([label('a', null, { of: [0, 1] })]);
    const all = await rows();
    await expect(peopleLabels(all, { ...options, folder: dir, criteria: { x: 1 } })).rejects.toMatchObject({
      code: 'labels_missing',
      message: expect.stringContaining('1 of 2 prompts'),
      hint: expect.stringContaining('anneal rank demo/generate --criteria x'),
    });
    await expect(
      peopleLabels(all, { ...options, folder: dir, minLabellers: 2, minShare: 0.5 }),
    ).rejects.toMatchObject({
      code: 'labels_missing',
    });
    const half = await peopleLabels(all, { ...options, folder: dir, minShare: 0.5 });
    expect(half.rows.map(({ voices }) => voices.length)).toEqual([0, 0, 0]);
  });
});

describe('files of responses', () => {
  it.each([
    ['{', 'data_syntax', ':1'],
    ['{"prompt":"p"}', 'data_field', ':1:responses'],
    ['{"responses":["a"]}', 'data_field', ':1:prompt'],
    ['{"prompt":"p","responses":[]}', 'data_field', ':1:responses'],
    ['{"prompt":"p","responses":[1]}', 'data_field', ':1:responses.0'],
    [
      '{"id":"a","prompt":"p","responses":["a"]}\n{"id":"a","prompt":"p","responses":["a"]}',
      'data_field',
      ':2:id',
    ],
    ['\n', 'data_empty', ''],
  ])('%s is refused with its place', async (text, code, place) => {
    const file = join(root, 'bad.jsonl');
    writeFileSync(file, text);
    await expect(readResponses(plainRows([file]))).rejects.toMatchObject({ code, path: `${file}${place}` });
  });
});
