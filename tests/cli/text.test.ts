import { describe, expect, test } from 'vitest';
import {
  formatBytes,
  formatCompact,
  formatCount,
  formatDuration,
  formatMetric,
  formatShare,
} from '../../src/cli/format.ts';
import { renderTable } from '../../src/cli/table.ts';
import { clean, createCleaner, displayWidth, pad, painter, truncate, wrap } from '../../src/cli/text.ts';

const plain = painter(false);
const colored = painter(true);

describe('numbers', () => {
  test.each([
    [0, '0'],
    [999, '999'],
    [1234567, '1,234,567'],
    [-1234, '-1,234'],
    [1234.567, '1,234.57'],
  ])('count %d', (value, text) => expect(formatCount(value)).toBe(text));

  test.each([
    [7, '7'],
    [999.6, '1.00k'],
    [12_345, '12.3k'],
    [999_499, '999k'],
    [110e6, '110M'],
  ])('compact %d', (value, text) => expect(formatCompact(value)).toBe(text));

  test.each([
    [null, '-'],
    [512, '512 B'],
    [1.21e9, '1.21 GB'],
    [64e9, '64.0 GB'],
  ])('bytes %s', (value, text) => expect(formatBytes(value)).toBe(text));

  test.each([
    [null, '-'],
    [0.25, '0.3s'],
    [59.6, '1m 00s'],
    [220, '3m 40s'],
    [3_720, '1h 02m'],
    [90_000, '1d 01h'],
  ])('duration %s', (value, text) => expect(formatDuration(value)).toBe(text));

  test.each([
    [3.03812, '3.038'],
    [12.3456, '12.35'],
    [3e-4, '3.00e-4'],
    [0, '0'],
    [1500.04, '1,500'],
    [Number.NaN, 'NaN'],
  ])('metric %d', (value, text) => expect(formatMetric(value)).toBe(text));

  test('a share below a tenth keeps a decimal', () => {
    expect([0, 0.004, 0.613, 1].map(formatShare)).toEqual(['0%', '0.4%', '61%', '100%']);
  });
});

describe('columns of a terminal', () => {
  test.each([
    ['plain', 5],
    ['鯨捕り', 6],
    ['e\u0301', 1],
    ['👩‍🚀', 2],
    ['한글', 4],
    [colored('red', 'red'), 3],
  ])('%j', (text, width) => expect(displayWidth(text)).toBe(width));

  test('truncate never exceeds the width, at any width, and closes styles', () => {
    const text = `ab ${colored('鯨捕り 👩‍🚀 wide', 'red')} end`;
    for (let width = 0; width <= 24; width++) {
      const cut = truncate(text, width);
      expect(displayWidth(cut)).toBeLessThanOrEqual(width);
      expect(cut.split('\x1b[0m').length).toBeGreaterThanOrEqual(cut.split('\x1b[31m').length);
    }
    expect(truncate('abcdef', 4)).toBe('abc…');
    expect(truncate('鯨捕り', 4)).toBe('鯨…');
  });

  test('wrap breaks at spaces, cuts what has none, and keeps every word', () => {
    const text = 'the whale 鯨捕り was-seen-by-all-the-men of  the\nship';
    for (let width = 2; width <= 30; width++) {
      const lines = wrap(text, width);
      for (const line of lines) expect(displayWidth(line)).toBeLessThanOrEqual(width);
      expect(lines.join('').replaceAll(/\s/g, '')).toBe(text.replaceAll(/\s/g, ''));
    }
  });

  test('pad counts columns, not characters', () => {
    expect(pad('鯨', 4)).toBe('鯨  ');
    expect(pad('12', 4, true)).toBe('  12');
  });
});

test('text of a model cannot steer the terminal', () => {
  expect(clean('a\x1b[2Jb\x1b]0;title\x07c\x00d\u202ee')).toBe('abc\ufffdd\ufffde');
  const show = createCleaner(true);
  expect(show('x\x1b') + show('[2Jy\n')).toBe('x\ufffd[2Jy\n');
  expect(createCleaner(false)('\x1b[31m')).toBe('\x1b[31m');
});

test('tables align numbers to the right and never exceed the width', () => {
  const rows = [
    ['base', 3, null],
    ['鯨 assistant', 120, 0.5],
  ];
  expect(renderTable(['model', 'n', 'share'], rows, 80, plain)).toEqual([
    'model           n  share',
    'base            3      -',
    '鯨 assistant  120  0.500',
  ]);
  expect(renderTable(['model', 'n of all', 'share'], rows, 26, plain).slice(0, 2)).toEqual([
    '                n',
    '               of',
  ]);
  for (const line of renderTable(['model', 'n', 'share'], rows, 18, plain)) {
    expect(displayWidth(line)).toBeLessThanOrEqual(18);
  }
});
