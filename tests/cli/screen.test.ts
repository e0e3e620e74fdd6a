import { EventEmitter } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import { expect, test } from 'vitest';
import { openScreen, type Terminal } from '../../src/cli/view/screen.ts';

/** A terminal that understands what the screen sends: line ends, cursor up, erase below. Counts the writes. */
class TestTerminal extends EventEmitter implements Terminal {
  columns = 20;
  rows = 10;
  writes = 0;
  lines: string[] = [''];
  private row = 0;

  /** Wraps what is on the screen, as terminals do, and moves the cursor along. */
  resize(columns: number): void {
    this.columns = columns;
    this.lines = this.lines.flatMap((line) => line.match(new RegExp(`.{1,${columns}}`, 'g')) ?? ['']);
    this.row = this.lines.length - 1;
    this.emit('resize');
  }

  write(data: string): void {
    this.writes++;
    // biome-ignore lint/suspicious/noControlCharactersInRegex: escape sequences are what a terminal reads
    for (const [token] of data.matchAll(/\x1b\[\??(\d*)([A-Za-z])|[^\x1b]/g)) {
      if (token === '\n') {
        this.row++;
        this.lines[this.row] ??= '';
      } else if (token.endsWith('A') && token.length > 1) this.row -= Number(token.slice(2, -1));
      else if (token === '\x1b[J') this.lines = [...this.lines.slice(0, this.row), ''];
      else if (!token.startsWith('\x1b') && token !== '\r') this.lines[this.row] += token;
    }
  }
}

test('scrollback grows above, the bars stay below, and the last state is shown', async () => {
  const terminal = new TestTerminal();
  let step = 0;
  const screen = openScreen(terminal, () => [`step ${step}`, 'second line']);
  for (step = 1; step <= 3; step++) {
    screen.print([`notice ${step}`]);
    await sleep(120);
  }
  step = 99;
  screen.close();
  expect(terminal.lines).toEqual(['notice 1', 'notice 2', 'notice 3', 'step 99', 'second line', '']);
});

test('draws at most ten times a second, however often it is told to', async () => {
  const terminal = new TestTerminal();
  const screen = openScreen(terminal, () => ['bar']);
  const before = terminal.writes;
  for (let i = 0; i < 250; i++) {
    screen.refresh();
    await sleep(2);
  }
  const draws = terminal.writes - before;
  screen.close();
  expect(draws).toBeGreaterThan(2);
  expect(draws).toBeLessThanOrEqual(11);
});

test('a narrower window: lines that wrapped are erased whole', async () => {
  const terminal = new TestTerminal();
  const screen = openScreen(terminal, (width) => ['x'.repeat(width)]);
  screen.refresh();
  await sleep(120);
  expect(terminal.lines).toEqual(['x'.repeat(20), '']);
  terminal.resize(10);
  screen.close();
  expect(terminal.lines).toEqual(['x'.repeat(10), '']);
});
