/** Row filters: what each test says of values of every type, and what a filter tells of itself. */
import { describe, expect, it } from 'vitest';
import { RowFilter, whereSetting } from '../../src/data/shapes/where.ts';

const keeps = (where: unknown, fields: Record<string, unknown>): boolean =>
  new RowFilter(whereSetting.parse(where)).keeps(fields);

const row = {
  language: 'en',
  stars: 12,
  text: 'über 🙂',
  tags: ['a', 'b'],
  open: true,
  none: null,
  date: '2024-05-01',
  meta: { license: 'mit', scores: [0.25, 0.5] },
  'a.b': 1,
  count: 7n,
};

describe('where', () => {
  it.each<[unknown, boolean]>([
    [{ language: 'en' }, true],
    [{ language: 'de' }, false],
    [{ language: 'en', stars: { min: 10 } }, true],
    [{ language: 'en', stars: { min: 13 } }, false],
    [[{ language: 'de' }, { stars: 12 }], true],
    [{ stars: { min: 12, max: 12 } }, true],
    [{ count: { min: 7, max: 7 } }, true],
    [{ date: { min: '2024-01-01', max: '2024-12-31' } }, true],
    [{ 'meta.license': { in: ['mit', 'apache-2.0'] } }, true],
    [{ 'meta.scores.1': { max: 0.4 } }, false],
    [{ 'a.b': 1 }, true],
    [{ text: { matches: '^[\\p{L}]+ .$' } }, true],
    [{ text: { min_length: 6, max_length: 6 } }, true],
    [{ tags: { contains: 'b', min_length: 2 } }, true],
    [{ text: { contains: 'ber' } }, true],
    [{ open: true }, true],
    [{ open: { not: false } }, true],
    [{ language: { not: { in: ['en', 'de'] } } }, false],
    [{ none: { exists: false } }, true],
    [{ absent: { exists: true } }, false],
    [{ absent: { not: 'x' } }, true],
    [{ absent: { min: 0 } }, false],
    [{ absent: { max_length: 5 } }, false],
    [{ 'language.length': 2 }, false],
    [{ __proto__x: { exists: true } }, false],
    [{ 'meta.constructor': { exists: true } }, false],
  ])('%j: %j', (where, kept) => {
    expect(keeps(where, row)).toBe(kept);
  });

  it('reads texts of formats without types as what the recipe gives', () => {
    const table = { stars: '12', open: 'True', id: 12 };
    expect(keeps({ stars: { min: 9 } }, table)).toBe(true);
    expect(keeps({ stars: 12, open: true, id: '12' }, table)).toBe(true);
    expect(keeps({ stars: { min: 9 } }, { stars: 'many' })).toBe(false);
  });

  it.each([
    [{}],
    [[]],
    [{ a: {} }],
    [{ a: { mn: 1 } }],
    [{ a: { matches: '(' } }],
    [{ a: null }],
    ['language == "en"'],
    [{ a: { in: [] } }],
  ])('refuses %j', (where) => {
    expect(whereSetting.safeParse(where).success).toBe(false);
  });

  it('counts, and names fields that no row has', () => {
    const filter = new RowFilter(whereSetting.parse({ language: 'en', langauge: 'en' }));
    for (let i = 0; i < 3; i++) filter.keeps(row);
    expect(filter.leftOut).toBe(3);
    expect(filter.describe()).toBe('where keeps 0 of 3 rows; no row has langauge');
    expect(new RowFilter(undefined).describe()).toBeUndefined();
  });
});
