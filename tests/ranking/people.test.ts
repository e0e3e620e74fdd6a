/** People at work through the real command line and daemon: keys, back and skip, files, kills, a job that trains. */
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, it } from 'vitest';
import type { Label } from '../../proto/ranking.ts';
import { DataRandom } from '../../src/data/random.ts';
import { anneal } from '../cli/process.ts';
import { startDaemon, type TestDaemon, temporaryFolder, tinyRecipe, untilState } from '../daemon/harness.ts';
import { RANK, RankProcess } from './cli.ts';

const TEXTS = ['one', 'two', 'three'];
const EVIL = 'Red\x1b[31m \x1b]0;title\x07\r\x9b2J\u202e';

function responsesFile(rows: number, name = 'responses.jsonl'): string {
  const file = join(temporaryFolder(), name);
  const lines = Array.from({ length: rows }, (_, i) =>
    JSON.stringify({
      id: `row${i}`,
      prompt: `Question ${i}?`,
      responses: TEXTS.map((text) => ({ text: `${text} ${i}`, model: `m${text}` })),
    }),
  );
  writeFileSync(file, `${lines.join('\n')}\n`);
  return file;
}

/** Labels on disk, as the files have them. */
function onDisk(home: string): Label[] {
  const root = join(home, 'labels');
  if (!existsSync(root)) return [];
  return readdirSync(root).flatMap((dataset) =>
    readdirSync(join(root, dataset)).flatMap((file) => {
      const text = readFileSync(join(root, dataset, file), 'utf8');
      const whole = text.slice(0, text.lastIndexOf('\n') + 1);
      return whole
        .split('\n')
        .filter((line) => line !== '')
        .map((line) => JSON.parse(line) as Label);
    }),
  );
}

const X = ['--criteria', 'x', '--as', 'ida'];

describe('anneal rank', () => {
  it('takes keys from a pipe: best to worst, ties, undo, skip, back, help, and goes on after leaving', async () => {
    const { home } = await startDaemon();
    const file = responsesFile(5);
    const rank = (input: string, ...more: string[]) => anneal(['rank', file, ...X, ...more], { home, input });
    // 2 > 1 > 3; undo, then 3 = 1 > 2; all equal; skip; back to the skipped one: 1 > 2 = 3; leave.
    const first = await rank('21 2u3=1\ne?sb1eq');
    expect(first.stderr).toBe('');
    expect(first.status).toBe(0);
    expect(first.stdout).toContain('1 of 5 · x');
    expect(first.stdout).toContain('2 > 1 > 3');
    expect(first.stdout).toContain('3 = 1 > 2');
    expect(first.stdout).toContain('1 = 2 = 3');
    expect(first.stdout).toContain('Skipped so far.');
    expect(first.stdout).toContain('take the last pick back');
    expect(first.stdout).toContain('4 of 5 tasks are done by ida');
    // Nothing gives the model away.
    expect(first.stdout).not.toMatch(/mone|mtwo|mthree/);
    const labels = onDisk(home);
    expect(labels.map(({ ranking }) => ranking?.map((tier) => tier.length) ?? null)).toEqual([
      [1, 1, 1],
      [2, 1],
      [3],
      null,
      [1, 2],
    ]);
    const second = await rank('12');
    expect(second.stdout).toContain('5 of 5 · x');
    expect(second.stdout).toContain('All 5 tasks are done');
    const third = await rank('');
    expect(third.stdout).toContain('All 5 tasks are done');
    const review = await rank('nn', '--review');
    expect(review.stdout).toContain('So far: 3 = 1 > 2');
    expect(onDisk(home).length).toBe(6);
  });

  it('shows what a labeller picked in the place where it stands, whoever wrote it', async () => {
    const { home } = await startDaemon();
    const file = responsesFile(6);
    const process = new RankProcess(home, [file, ...X, '--json']);
    for (let task = 0; task < 6; task++) {
      const shown = (await process.line(task * 2))!;
      const responses = shown.responses as string[];
      // The longest text is the best here, wherever it is shown.
      const best = responses.findIndex((text) => text.startsWith('three'));
      process.press(`${best + 1}e`);
      await process.line(task * 2 + 1);
    }
    expect(await process.done).toBe(0);
    expect(onDisk(home).map(({ ranking }) => ranking![0])).toEqual(Array(6).fill([2]));
    expect(process.lines().at(-1)).toMatchObject({ labeller: 'ida', done: 6, tasks: 6 });
  });

  it('asks about the rows that a recipe reads, by its names of fields, and its stage takes the labels', async () => {
    const daemon = await startDaemon();
    const client = await daemon.client();
    const file = join(temporaryFolder(), 'own.jsonl');
    const row = (i: number) => ({
      question: `Question ${i}?`,
      answers: [`good ${i}`, `bad ${i}`],
      language: i % 2 === 0 ? 'en' : 'de',
    });
    writeFileSync(file, Array.from({ length: 6 }, (_, i) => `${JSON.stringify(row(i))}\n`).join(''));
    const recipe = `name: own
stages:
  rank:
    dataset: own.jsonl
    labels: people
    criteria: [x]
    fields: { prompt: question, responses: answers }
    where: { language: en }
`;
    const source = { base_dir: dirname(file), source: 'own.yaml', recipe };
    const { job } = await client.call('job.submit', source);
    const { error } = await untilState(client, job.id, 'failed');
    expect(error).toMatchObject({
      code: 'labels_missing',
      message: expect.stringContaining('0 of 3 prompts'),
    });
    const [, command] = /`anneal (.*?)`/.exec(error!.hint!)!;
    const sets = `--set 'fields={"prompt":"question","responses":"answers"}' --set 'where={"language":"en"}'`;
    expect(command).toBe(`rank ${file} ${sets} --criteria x`);
    // Those who label see the rows that count, and put the good answer first, wherever it is shown.
    const options = sets
      .replaceAll("'", '')
      .replaceAll('--set ', '--set\n')
      .split(/\n| (?=--)/);
    const process = new RankProcess(daemon.home, [file, ...options, ...X, '--json']);
    for (let task = 0; task < 3; task++) {
      const { responses } = (await process.line(task * 2)) as { responses: string[] };
      process.press(`${responses.findIndex((text) => text.startsWith('good')) + 1}`);
      await process.line(task * 2 + 1);
    }
    expect(await process.done).toBe(0);
    expect(process.lines().at(-1)).toMatchObject({ done: 3, tasks: 3 });
    // A row is the same one whichever others are left out.
    expect(new Set(onDisk(daemon.home).map((label) => label.row))).toEqual(new Set(['0', '2', '4']));
    const all = await anneal(['rank', file, ...options.slice(0, 2), ...X], { home: daemon.home, input: '' });
    expect(all.stdout).toContain('3 of 6 tasks are done by ida');
    await client.call('job.resume', { job: job.id });
    await untilState(client, job.id, 'succeeded');
    const pairs = readFileSync(join(daemon.home, 'datasets/own/rank/pairs.jsonl'), 'utf8').trim().split('\n');
    expect(pairs.map((line) => JSON.parse(line) as object)).toMatchObject(
      [0, 2, 4].map((i) => ({ prompt: `Question ${i}?`, chosen: `good ${i}`, rejected: `bad ${i}` })),
    );
    // Another reading of the file has labels of its own, and what cannot be read so is told by its key.
    const other = ['--set', 'fields={"prompt":"question","responses":"answers","id":"question"}'];
    const anew = await anneal(['rank', file, ...other, ...X], { home: daemon.home, input: '' });
    expect(anew.stdout).toContain('0 of 6 tasks are done by ida');
    const wrong = await anneal(['rank', file, '--set', 'wher={}', ...X], { home: daemon.home, input: '' });
    expect(wrong.stderr).toMatch(/wher is not a known key[\s\S]*Did you mean where\?/);
  });

  it('makes control characters harmless, in every view', async () => {
    const { home } = await startDaemon();
    const file = join(temporaryFolder(), 'evil.jsonl');
    writeFileSync(
      file,
      JSON.stringify({ id: EVIL, prompt: `Q ${EVIL}`, responses: ['', EVIL, '\u0000', '日本語 👩‍👩‍👧'] }),
    );
    const shown = await anneal(['rank', file, ...X], { home, input: '\x1b[A\u0000z12' });
    expect(shown.status).toBe(0);
    expect(shown.stdout).toContain('(empty)');
    expect(shown.stdout).toContain('日本語 👩‍👩‍👧');
    // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what must not be there
    expect(shown.stdout.replaceAll('\n', '')).not.toMatch(/[\x00-\x1f\x7f-\x9f\u202e]/);
  });

  it('draws on a terminal as keys are pressed, and gives the terminal back', async () => {
    const { home } = await startDaemon();
    const file = responsesFile(3);
    const line = `${RANK.join(' ')} ${file} --as ida --criteria x; stty -a | grep -o -e '-\\?icanon'`;
    const terminal = new RankProcess(home, [], ['script', '-qec', line, '/dev/null']);
    await until(terminal, 'best first');
    terminal.press('2');
    await until(terminal, '2 > _');
    terminal.press('=');
    await until(terminal, '2 = _');
    terminal.press('1');
    await until(terminal, '2 of 3');
    terminal.press('\r');
    await until(terminal, '3 of 3');
    terminal.press('b');
    await until(terminal, 'So far: 1 = 2 = 3');
    terminal.press('q');
    await terminal.done;
    expect(terminal.stdout).toContain('2 of 3 tasks are done by ida');
    expect(terminal.stdout.trimEnd().endsWith('icanon')).toBe(true);
    expect(terminal.stdout.trimEnd().endsWith('-icanon')).toBe(false);
    expect(onDisk(home).map(({ ranking }) => ranking!.map((tier) => tier.length))).toEqual([[2, 1], [3]]);
  });

  it('pairwise asks for each two, and several labellers do not disturb each other', async () => {
    const { home } = await startDaemon();
    const file = responsesFile(2);
    const ida = await anneal(['rank', file, ...X, '--pairwise', '--json'], { home, input: '12=12=' });
    const ben = await anneal(['rank', file, '--criteria', 'x', '--as', 'ben', '--json'], {
      home,
      input: '1e',
    });
    expect([ida.status, ben.status]).toEqual([0, 0]);
    const labels = onDisk(home);
    expect(labels.filter(({ labeller }) => labeller === 'ida').map(({ of }) => of.length)).toEqual(
      Array(6).fill(2),
    );
    expect(labels.filter(({ labeller }) => labeller === 'ben').length).toBe(1);
  });

  it('refuses what does not exist with how to mend it', async () => {
    const { home } = await startDaemon();
    const missing = await anneal(['rank', 'no/such', '--json'], { home });
    expect(missing.status).toBe(4);
    expect(JSON.parse(missing.stdout)).toMatchObject({ error: { code: 'file_not_found', path: 'dataset' } });
    const file = responsesFile(1);
    const name = await anneal(['rank', file, '--as', '../up', '--json'], { home });
    expect(JSON.parse(name.stdout)).toMatchObject({ error: { code: 'bad_request', path: 'labeller' } });
  });
});

describe('labels as files', () => {
  it.each(['jsonl', 'csv'])('come back from %s as they went', async (kind) => {
    const one = await startDaemon();
    const file = responsesFile(4);
    await anneal(['rank', file, ...X], { home: one.home, input: '1es2=1' });
    await anneal(['rank', file, '--criteria', 'y', '--as', 'ben', '--pairwise'], {
      home: one.home,
      input: '1=2',
    });
    const labels = join(temporaryFolder(), `labels.${kind}`);
    const written = await anneal(['rank', file, '--export', labels], { home: one.home });
    expect(written.stdout).toContain('6 labels written');
    const two = await startDaemon();
    const read = await anneal(['rank', file, '--import', labels], { home: two.home });
    expect(read.stdout).toContain('6 labels added');
    const plain = (home: string) =>
      onDisk(home)
        .map(({ time: _, ranking, ...label }) =>
          JSON.stringify({ ...label, ranking: ranking?.map((tier) => [...tier].sort()) }),
        )
        .sort();
    expect(plain(two.home)).toEqual(plain(one.home));
  });

  it('a spreadsheet can be filled in; what does not fit is refused by line', async () => {
    const { home } = await startDaemon();
    const file = join(temporaryFolder(), 'sheet.jsonl');
    writeFileSync(file, JSON.stringify({ id: 'a', prompt: '=1+1', responses: ['=cmd()', 'a "b",\nc'] }));
    const sheet = join(temporaryFolder(), 'sheet.csv');
    await anneal(['rank', file, '--export', sheet], { home });
    const blank = readFileSync(sheet, 'utf8');
    // No cell of a model's is a formula.
    expect(blank).toContain("'=cmd()");
    const filled = blank.replace('a,,,,0,,', 'a,,,,0,2,').replace('a,,,,1,,', 'a,,,,1,1,');
    writeFileSync(sheet, filled);
    const nameless = await anneal(['rank', file, '--import', sheet, '--json'], { home });
    expect(JSON.parse(nameless.stdout)).toMatchObject({ error: { code: 'bad_request' } });
    const read = await anneal(['rank', file, '--import', sheet, ...X], { home });
    expect(read.stdout).toContain('1 label added');
    expect(onDisk(home)[0]).toMatchObject({ row: 'a', labeller: 'ida', criterion: 'x', ranking: [[1], [0]] });
    for (const [from, to, message] of [
      ['a,,,,0,2,', 'a,,,,0,two,', /sheet\.csv, line 2: rank: "two" is not a whole number/],
      [/a,,,/g, 'b,,,', /sheet\.csv, line 2: the dataset has no row b/],
      ['a,,,,0,2,', 'b,,,,0,2,', /sheet\.csv, line 2: it is the only response of its label/],
      ['a,,,,0,2,', 'a,,,,7,2,', /sheet\.csv, line 2: row a has 2 responses/],
      ['row,', 'line,', /its first line names no column row/],
      [/^.*\n/, '', /its first line names no column row/],
    ] as const) {
      writeFileSync(sheet, filled.replace(from, to));
      const refused = await anneal(['rank', file, '--import', sheet, ...X, '--json'], { home });
      expect(refused.status).toBe(4);
      const { error } = JSON.parse(refused.stdout) as { error: { message: string } };
      expect(error.message).toMatch(message);
    }
    expect(onDisk(home).length).toBe(1);
  });

  it('a spreadsheet may write semicolons, a byte-order mark, and numbers with a point', async () => {
    const { home } = await startDaemon();
    const file = responsesFile(1);
    const sheet = join(temporaryFolder(), 'sheet.csv');
    const lines = ['row;response;rank', 'row0;0;2.0', 'row0;1;1,00', 'row0;2;2'];
    writeFileSync(sheet, `\uFEFF${lines.join('\r\n')}\r\n`);
    const read = await anneal(['rank', file, '--import', sheet, ...X], { home });
    expect(read.stdout).toContain('1 label added');
    expect(onDisk(home)[0]).toMatchObject({ labeller: 'ida', ranking: [[1], [0, 2]] });
  });
});

describe('crashes', () => {
  it('of command line and daemon between any keys lose nothing that was said to be kept', async () => {
    const rows = 12;
    const random = new DataRandom('kills', 1);
    const file = responsesFile(rows);
    let daemon: TestDaemon = await startDaemon();
    const { home } = daemon;
    const kept = new Map<string, unknown>();
    const pressed = new Map<string, Set<string>>();
    let kills = 0;
    for (let finished = false; !finished; ) {
      const process = new RankProcess(home, [file, ...X, '--json']);
      let at = 0;
      for (;;) {
        const shown = await process.line(at);
        if (shown?.task === undefined) {
          finished = shown?.done === rows;
          break;
        }
        const row = shown.row as string;
        expect(kept.has(row)).toBe(false);
        const kill = random.below(6);
        if (kill === 0) break;
        const best = 1 + random.below(3);
        process.press(String(best));
        if (kill === 1) break;
        pressed.set(row, (pressed.get(row) ?? new Set()).add((shown.responses as string[])[best - 1]!));
        process.press('e');
        if (kill === 2) break;
        if (kill === 3) {
          // The daemon dies with the label on its way; the command line asks again.
          await sleep(random.below(20));
          await daemon.kill('SIGKILL');
          daemon = await startDaemon({ home });
          kills += 1;
        }
        const said = await process.line(at + 1);
        expect(said).toMatchObject({ row });
        kept.set(
          row,
          (said!.ranking as number[][])[0]!.map((place) => (shown.responses as string[])[place]),
        );
        at += 2;
      }
      if (!finished) {
        await sleep(random.below(10));
        process.child.kill('SIGKILL');
        kills += 1;
      }
      await process.done;
      // All that the command line was told is on disk, whatever came after.
      const disk = new Map(onDisk(home).map((label) => [label.row, label]));
      for (const [row, best] of kept)
        expect(disk.get(row)!.ranking![0]!.map((i) => `${TEXTS[i]} ${row.slice(3)}`)).toEqual(best);
      for (const [row, label] of disk) {
        const text = `${TEXTS[label.ranking![0]![0]!]} ${row.slice(3)}`;
        expect(pressed.get(row)).toContain(text);
        kept.set(row, [text]);
      }
    }
    expect(kept.size).toBe(rows);
    expect(kills).toBeGreaterThan(5);
  });
});

describe('labelling while a job trains', () => {
  it('needs no worker', async () => {
    const daemon = await startDaemon();
    const folder = join(temporaryFolder(), 'job');
    mkdirSync(folder);
    const client = await daemon.client();
    const { job } = await client.call('job.submit', tinyRecipe(folder, { steps: 20_000 }));
    await untilState(client, job.id, 'running');
    const file = responsesFile(3);
    const ranked = await anneal(['rank', file, ...X], { home: daemon.home, input: '1e2e3e' });
    expect(ranked.stdout).toContain('All 3 tasks are done');
    expect((await client.call('job.get', { job: job.id })).job.state).toBe('running');
    await client.call('job.cancel', { job: job.id });
    await untilState(client, job.id, 'cancelled');
  });
});

async function until(process: RankProcess, text: string): Promise<void> {
  await expect.poll(() => process.stdout, { timeout: 60_000, message: text }).toContain(text);
}
