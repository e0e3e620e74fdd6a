/** Shape parsers on any rows: what comes out is well formed, and what is thrown is an AnnealError with the place. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { AnnealError } from '../../proto/errors.ts';
import { SupervisedShaper } from '../../src/data/shapes/content.ts';
import { RowError } from '../../src/data/shapes/errors.ts';
import { type GroupKind, groupKind } from '../../src/data/shapes/groups.ts';
import { rejectedLine } from '../../src/data/shapes/rejects.ts';
import { ROLES, type Role } from '../../src/data/shapes/roles.ts';
import { Shaper } from '../../src/data/shapes/shaper.ts';
import { RowFilter, whereSetting } from '../../src/data/shapes/where.ts';

const RUNS = { numRuns: 2_000, seed: 1 };

const names = Object.values(ROLES).flat();
const json = fc.json({ maxDepth: 4 }).map((text) => JSON.parse(text) as unknown);
const anything = fc.anything({
  withBigInt: true,
  withDate: true,
  withTypedArray: true,
  withNullPrototype: true,
});
const speaker = fc.constantFrom('human', 'gpt', 'user', 'assistant', 'system', 'tool', '__proto__', '');
const call = fc.record(
  {
    id: fc.string(),
    function: fc.record({ name: fc.string(), arguments: fc.oneof(fc.string(), fc.json(), json) }),
  },
  { requiredKeys: [] },
);
const content = fc.oneof(
  fc.string(),
  fc.constant(null),
  fc.array(fc.oneof(fc.string(), fc.record({ type: fc.constantFrom('text', 'image'), text: fc.string() }))),
);
const message = fc.oneof(
  { weight: 4, arbitrary: fc.record({ role: speaker, content }) },
  fc.record({
    role: speaker,
    content,
    weight: fc.constantFrom(0, 1, 2, null, '1'),
    tool_calls: fc.oneof(fc.array(call), json),
  }),
  fc.record({ from: speaker, value: fc.oneof(fc.string(), fc.json(), json) }),
  json,
);
const value = fc.oneof(
  fc.string(),
  fc.array(message, { minLength: 1, maxLength: 4 }),
  fc.array(fc.array(fc.oneof(fc.string(), fc.nat(3)), { maxLength: 3 }), { maxLength: 3 }),
  fc.array(fc.record({ text: fc.string(), score: fc.oneof(fc.double(), fc.constant(null)) }), {
    maxLength: 4,
  }),
  fc.array(fc.nat(3), { maxLength: 4 }),
  fc.boolean(),
  json,
  anything,
);
const turns = fc.array(
  fc.record({ role: fc.constantFrom('user', 'assistant', 'system'), content: fc.string() }),
  {
    minLength: 1,
    maxLength: 4,
  },
);
const said = fc.array(fc.record({ from: fc.constantFrom('human', 'gpt', 'tool'), value: fc.string() }), {
  minLength: 1,
  maxLength: 3,
});
const lists = fc.array(
  fc.oneof(fc.string(), fc.record({ text: fc.string(), score: fc.double({ noNaN: true }) })),
  {
    minLength: 1,
    maxLength: 3,
  },
);
const GOOD: Record<string, fc.Arbitrary<unknown>> = {
  messages: fc.oneof(turns, fc.array(message, { minLength: 1, maxLength: 3 })),
  conversations: said,
  history: fc.array(fc.tuple(fc.string(), fc.string()), { maxLength: 2 }),
  tools: fc.array(fc.record({ name: fc.string() }), { maxLength: 2 }),
  prompt: fc.oneof(fc.string(), turns),
  completion: fc.oneof(fc.string(), turns),
  chosen: fc.oneof(fc.string(), turns),
  rejected: fc.oneof(fc.string(), turns),
  label: fc.boolean(),
  responses: lists,
  ranking: fc.array(fc.oneof(fc.nat(2), fc.array(fc.nat(2), { maxLength: 2 })), { maxLength: 3 }),
  scores: fc.array(fc.oneof(fc.double({ noNaN: true }), fc.constant(null)), { minLength: 1, maxLength: 3 }),
};
const SHAPES = [
  ['text'],
  ['messages'],
  ['messages', 'tools', 'system'],
  ['conversations', 'system'],
  ['prompt', 'completion'],
  ['prompt', 'completion', 'system'],
  ['instruction', 'input', 'output', 'history'],
  ['prompt', 'chosen', 'rejected'],
  ['chosen', 'rejected'],
  ['prompt', 'completion', 'label'],
  ['prompt', 'responses', 'ranking'],
  ['messages', 'responses', 'scores'],
  ['prompt', 'responses'],
];
/** Rows that have a shape, of the right types more often than not, and further fields. */
const row = fc
  .tuple(
    fc
      .constantFrom(...SHAPES)
      .chain((keys) =>
        fc.record(
          Object.fromEntries(
            keys.map((key): [string, fc.Arbitrary<unknown>] => [
              key,
              fc.oneof({ weight: 6, arbitrary: GOOD[key] ?? fc.string() }, value),
            ]),
          ),
        ),
      ),
    fc.dictionary(fc.oneof(fc.constantFrom(...names), fc.string()), value, { maxKeys: 1 }),
  )
  .map(([shaped, others]): Record<string, unknown> => ({ ...others, ...shaped }));
const fields = fc.oneof(
  { weight: 3, arbitrary: fc.constant(undefined) },
  fc.dictionary(
    fc.constantFrom(...(Object.keys(ROLES) as Role[])),
    fc.constantFrom(...names, 'messages.0', 'a.b'),
    {
      maxKeys: 3,
    },
  ),
);

/** What a parser makes of a row, or undefined where it refuses it as it should. */
function parsed<T>(parse: () => T): T | undefined {
  try {
    return parse();
  } catch (error) {
    expect(error).toBeInstanceOf(AnnealError);
    expect(error).toBeInstanceOf(RowError);
    const refused = error as RowError;
    expect(refused.message.startsWith('f:1')).toBe(true);
    expect(JSON.parse(rejectedLine(refused, {}))).toMatchObject({ row: 'f:1', problem: refused.problem });
    return undefined;
  }
}

describe('any row', () => {
  it('is supervised data of its declared form, or refused by place', () => {
    let read = 0;
    fc.assert(
      fc.property(row, fields, (given, mapping) => {
        const shaper = new SupervisedShaper({ fields: mapping });
        const shaped = parsed(() => shaper.read({ line: 1, end: 0, fields: given }, 'f:1'));
        if (shaped === undefined) return;
        read += 1;
        const { content: made } = shaped;
        if (made.kind === 'text') expect(made.text).toBeInstanceOf(Buffer);
        else if (made.kind === 'completion')
          expect([typeof made.prompt, typeof made.completion]).toEqual(['string', 'string']);
        else {
          expect(made.messages.length).toBeGreaterThan(0);
          for (const each of made.messages) {
            expect(typeof each.role).toBe('string');
            if (each.content === null) expect(each.tool_calls ?? each.function_call).toBeDefined();
            else expect(typeof each.content).toBe('string');
            expect([undefined, 0, 1]).toContain(each.weight);
            expect(Object.values(each).filter((member, i) => i > 1 && member === null)).toEqual([]);
          }
          expect(made.completionFrom ?? 1).toBeLessThan(made.messages.length + 1);
        }
      }),
      RUNS,
    );
    expect(read).toBeGreaterThan(RUNS.numRuns / 4);
  });

  it.each<GroupKind>(['pairs', 'labels', 'rankings', 'completions'])(
    'gives groups of %s, or is refused by place',
    (kind) => {
      let read = 0;
      fc.assert(
        fc.property(row, (given) => {
          const shaper = new Shaper({}, groupKind(kind));
          const groups = parsed(() => shaper.read({ line: 1, end: 0, fields: given }, 'f:1'))?.content ?? [];
          read += groups.length;
          for (const group of groups) {
            expect((group.prompt.text === undefined) !== (group.prompt.messages === undefined)).toBe(true);
            for (const answer of group.answers) expect(typeof answer.text).toBe('string');
            for (const index of group.ranking.flat()) expect(group.answers[index]).toBeDefined();
          }
        }),
        { ...RUNS, numRuns: 1_000 },
      );
      expect(read).toBeGreaterThan(20);
    },
  );

  it('is kept or left out by a filter, whatever its fields hold', () => {
    const test = fc.record(
      {
        is: fc.oneof(fc.string(), fc.double({ noNaN: true }), fc.boolean()),
        min: fc.oneof(fc.double({ noNaN: true }), fc.string({ minLength: 1 })),
        matches: fc.constantFrom('a', '^\\p{L}', '.'),
        contains: fc.string(),
        max_length: fc.nat(5),
        exists: fc.boolean(),
        not: fc.oneof(fc.string(), fc.record({ min_length: fc.nat(3) })),
      },
      { requiredKeys: [] },
    );
    const setting = fc.dictionary(fc.constantFrom(...names, 'text.0', 'a.b'), fc.oneof(fc.string(), test), {
      minKeys: 1,
      maxKeys: 3,
    });
    fc.assert(
      fc.property(row, setting, (given, where) => {
        const checked = whereSetting.safeParse(where);
        if (checked.success) expect(typeof new RowFilter(checked.data).keeps(given)).toBe('boolean');
      }),
      RUNS,
    );
  });
});
