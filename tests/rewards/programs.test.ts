/** Rewards that look at a text: what they say, and what becomes of rows that do not have what they need. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { rewardFiles, rewardSettings } from '../../src/rewards/index.ts';
import { extractNumber } from '../../src/rewards/numeric.ts';
import { folder, open, response, scores } from './support.ts';

const ODD = fc.string({ unit: 'binary', maxLength: 60 });

describe('exact_match', () => {
  it('compares with the answers of a field, form aside', async () => {
    const row = { answer: ['Paris', 'City of Light'] };
    const said = ['paris.', 'The Paris', 'It is Paris', ''].map((text) => response(text, row));
    expect(await scores({ type: 'exact_match' }, said)).toEqual([1, 1, 0, 0]);
    expect(await scores({ type: 'exact_match', contains: true }, said)).toEqual([1, 1, 1, 0]);
    expect(await scores({ type: 'exact_match', field: 'n' }, [response('7', { n: 7 })])).toEqual([1]);
  });

  it('names the field that a row lacks, or skips and counts', async () => {
    await expect(scores({ type: 'exact_match' }, [response('x', { other: 1 })])).rejects.toMatchObject({
      code: 'reward_invalid',
      message: expect.stringContaining('field answer'),
      path: 'rewards.exact_match',
    });
    const scorer = await open({ type: 'exact_match', on_error: 'skip' });
    const said = await scorer.score([
      response('x'),
      response('y', { answer: 'y' }),
      response('z', { answer: {} }),
    ]);
    expect(said).toEqual([null, 1, null]);
    expect([...scorer.skipped!.values()]).toEqual([2]);
  });
});

describe('regex', () => {
  it('searches, with fields of the row taken literally', async () => {
    const pattern = '^The answer is {{answer}}\\.$';
    const row = { answer: ['a+b', '(c)'] };
    const said = ['The answer is a+b.', 'The answer is (c).', 'The answer is aab.'].map((t) =>
      response(t, row),
    );
    expect(await scores({ type: 'regex', pattern }, said)).toEqual([1, 1, 0]);
    const shouted = [response('YES')];
    expect(await scores({ type: 'regex', pattern: 'yes' }, shouted)).toEqual([0]);
    expect(await scores({ type: 'regex', pattern: 'yes', ignore_case: true }, shouted)).toEqual([1]);
  });

  it('finds a field in any text that holds it', async () => {
    const scorer = await open({ type: 'regex', pattern: '{{answer}}' });
    await fc.assert(
      fc.asyncProperty(fc.string({ maxLength: 8 }), fc.string({ maxLength: 8 }), async (answer, rest) => {
        expect(await scorer.score([response(`${rest}${answer}${rest}`, { answer })])).toEqual([1]);
      }),
      { numRuns: 50 },
    );
  });

  it('stops a search that would not end', async () => {
    const endless = { type: 'regex', pattern: '^(a+)+$', timeout_seconds: 0.1 };
    const said = [response(`${'a'.repeat(40)}b`), response('aaa')];
    await expect(scores(endless, said)).rejects.toMatchObject({ code: 'reward_invalid' });
    expect(await scores({ ...endless, on_error: 'skip' }, said)).toEqual([null, 1]);
  });
});

describe('numeric', () => {
  it.each([
    ['so it is 42.', 42],
    ['1,234,567.5 dollars', 1234567.5],
    ['$3.50', 3.5],
    ['-7', -7],
    ['x = \u22127', -7],
    ['5-3', 3],
    ['in 2023-11', 11],
    ['6.02e23 atoms', 6.02e23],
    ['3/4', 0.75],
    ['\\frac{3}{4}', 0.75],
    ['first 5, then #### 18\nof 20', 18],
    ['\\boxed{\\frac{1}{2}} or 9', 0.5],
    ['.5', 0.5],
    ['12,34', 34],
    ['1/0', undefined],
    ['none', undefined],
    ['', undefined],
    ['9'.repeat(400), undefined],
  ])('%s is %s', (text, number) => {
    expect(extractNumber(text)).toBe(number);
  });

  it('reads back every number that is printed', () => {
    fc.assert(
      fc.property(fc.double({ noNaN: true, noDefaultInfinity: true }), (value) => {
        expect(extractNumber(`It is ${value} then`)).toBe(value + 0);
      }),
    );
  });

  it('compares within tolerances', async () => {
    const said = ['100', '101', '99.5', 'many'].map((text) => response(text, { answer: '#### 100' }));
    expect(await scores({ type: 'numeric' }, said)).toEqual([1, 0, 0, 0]);
    expect(await scores({ type: 'numeric', tolerance: 0.5 }, said)).toEqual([1, 0, 1, 0]);
    expect(await scores({ type: 'numeric', relative_tolerance: 0.01 }, said)).toEqual([1, 1, 1, 0]);
    await expect(scores({ type: 'numeric' }, [response('1', { answer: 'unknown' })])).rejects.toMatchObject({
      code: 'reward_invalid',
    });
  });
});

describe('length', () => {
  const words = (n: number) => response(Array(n).fill('w').join(' '));
  it('falls with the distance from a target, or from bounds', async () => {
    const said = [0, 2, 4, 5, 8, 20].map(words);
    const at = (settings: Record<string, unknown>) =>
      scores({ type: 'length', unit: 'words', ...settings }, said);
    expect(await at({ target: 4 })).toEqual([0, 0.5, 1, 0.75, 0, 0]);
    expect(await at({ min: 4, max: 5 })).toEqual([0, 0.5, 1, 1, 1 - 3 / 5, 0]);
    expect(await at({ max: 5 })).toEqual([1, 1, 1, 1, 1 - 3 / 5, 0]);
  });

  it('counts characters as people do not count code units, and refuses to count ids that are not there', async () => {
    expect(await scores({ type: 'length', unit: 'characters', target: 2 }, [response('🙂🙂')])).toEqual([1]);
    const foreign = { ...response('text'), ids: new Int32Array(0) };
    await expect(scores({ type: 'length', max: 3 }, [foreign])).rejects.toMatchObject({
      code: 'reward_invalid',
    });
  });
});

describe('json_schema', () => {
  const schema = { type: 'object', required: ['a'], properties: { a: { type: 'integer' } } };
  it('accepts JSON that fits, bare or in a fence', async () => {
    const said = ['{"a":1}', '```json\n{"a": 2}\n```', '{"a":"1"}', '{"a":1} and more', 'no', ''].map((t) =>
      response(t),
    );
    expect(await scores({ type: 'json_schema', schema }, said)).toEqual([1, 1, 0, 0, 0, 0]);
    writeFileSync(join(folder, 'schema.json'), JSON.stringify(schema));
    expect(await scores({ type: 'json_schema', schema: 'schema.json' }, said.slice(0, 3))).toEqual([1, 1, 0]);
  });

  it('refuses what is no schema', async () => {
    await expect(open({ type: 'json_schema', schema: { type: 'nonsense' } })).rejects.toMatchObject({
      code: 'reward_invalid',
    });
    await expect(open({ type: 'json_schema', schema: 'missing.json' })).rejects.toMatchObject({
      code: 'file_not_found',
    });
  });
});

describe('all programs', () => {
  it('say a number from 0 to 1 about any text', async () => {
    const all = rewardSettings.parse([
      { type: 'exact_match' },
      { type: 'regex', pattern: '{{answer}}|\\d+' },
      { type: 'numeric', field: 'number' },
      { type: 'length', unit: 'characters', target: 10 },
      { type: 'json_schema', schema: { type: 'array' } },
    ]);
    const scorers = await Promise.all(all.map((settings) => open(settings)));
    await fc.assert(
      fc.asyncProperty(fc.array(ODD, { maxLength: 4 }), ODD, async (texts, answer) => {
        for (const scorer of scorers) {
          const said = await scorer.score(texts.map((text) => response(text, { answer, number: 3 })));
          expect(said.length).toBe(texts.length);
          for (const score of said) expect(score).toSatisfy((x: number) => x >= 0 && x <= 1);
        }
      }),
      { numRuns: 60 },
    );
  });

  it('have names of their own, and files that count as data', async () => {
    const twice = rewardSettings.safeParse([{ type: 'numeric' }, { type: 'numeric' }]);
    expect(twice.error!.issues[0]!.path).toEqual([1, 'name']);
    const settings = rewardSettings.parse([
      { type: 'json_schema', schema: 'schema.json' },
      { type: 'module', path: 'm.mjs' },
      { type: 'command', command: ['python3', 'schema.json', '--flag'] },
    ]);
    expect(await rewardFiles(settings, folder)).toEqual([join(folder, 'schema.json'), join(folder, 'm.mjs')]);
    for (const bad of [
      [],
      [{ type: 'regex', pattern: '(' }],
      [{ type: 'length' }],
      [{ type: 'length', target: 1, max: 2 }],
      [{ type: 'length', min: 3, max: 2 }],
      [{ type: 'numeric', weight: Number.NaN }],
      [{ type: 'exact_match', nope: 1 }],
    ])
      expect(rewardSettings.safeParse(bad).success).toBe(false);
  });
});
