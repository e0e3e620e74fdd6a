/** Rows of every shape and of none, for fuzzing what reads them, and what must hold of whatever is read. */
import assert from 'node:assert/strict';
import fc from 'fast-check';
import { type RowContent, SupervisedShaper } from '../../src/data/shapes/content.ts';
import { RowError } from '../../src/data/shapes/errors.ts';
import { type GroupKind, groupKind } from '../../src/data/shapes/groups.ts';
import { rejectedLine } from '../../src/data/shapes/rejects.ts';
import { ROLES, type Role } from '../../src/data/shapes/roles.ts';
import { Shaper } from '../../src/data/shapes/shaper.ts';
import { RowFilter, whereSetting } from '../../src/data/shapes/where.ts';

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
export const row = fc
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
/** Settings `fields`. */
export const fields = fc.oneof(
  { weight: 3, arbitrary: fc.constant(undefined) },
  fc.dictionary(
    fc.constantFrom(...(Object.keys(ROLES) as Role[])),
    fc.constantFrom(...names, 'messages.0', 'a.b'),
    {
      maxKeys: 3,
    },
  ),
);

const test = fc.oneof(
  fc.string(),
  fc.record({ is: fc.oneof(fc.string(), fc.double({ noNaN: true }), fc.boolean()) }),
  fc.record({ min: fc.oneof(fc.double({ noNaN: true }), fc.string({ minLength: 1 })) }),
  fc.record({ matches: fc.constantFrom('a', '^\\p{L}', '.'), max_length: fc.nat(5) }),
  fc.record({ contains: fc.string() }),
  fc.record({ exists: fc.boolean() }),
  fc.record({ not: fc.oneof(fc.string(), fc.record({ min_length: fc.nat(3) })) }),
);
/** Settings `where`. */
export const where = fc.dictionary(fc.constantFrom(...names, 'messages.0.role', 'responses.1'), test, {
  minKeys: 1,
  maxKeys: 2,
});

type Fields = Record<string, unknown>;

/** What a parser makes of a row, or undefined where it refuses it as it should: with an error of its place. */
function parsed<T>(parse: () => T): T | undefined {
  try {
    return parse();
  } catch (error) {
    if (!(error instanceof RowError)) throw error;
    assert(error.message.startsWith('f:1'), error.message);
    assert.equal((JSON.parse(rejectedLine(error, {})) as { problem: string }).problem, error.problem);
    return undefined;
  }
}

/** Reads a row as supervised data: 1 where it has a shape, and what is read is of its declared form. */
export function supervised(given: Fields, mapping?: Partial<Record<Role, string>>): number {
  const shaper = new SupervisedShaper({ fields: mapping });
  const shaped = parsed(() => shaper.read({ line: 1, end: 0, fields: given }, 'f:1'));
  if (shaped !== undefined) checkContent(shaped.content);
  return shaped === undefined ? 0 : 1;
}

function checkContent(made: RowContent): void {
  if (made.kind === 'text') {
    assert.equal(typeof made.text, 'string');
    return;
  }
  if (made.kind === 'completion') {
    assert.equal(typeof made.prompt + typeof made.completion, 'stringstring');
    return;
  }
  assert(made.messages.length > 0);
  for (const { role, content, ...others } of made.messages) {
    assert.equal(typeof role, 'string');
    if (content === null) assert(others.tool_calls !== undefined || others.function_call !== undefined);
    else assert.equal(typeof content, 'string');
    assert(others.weight === undefined || others.weight === 0 || others.weight === 1);
    assert(!Object.values(others).includes(null));
  }
  assert((made.completionFrom ?? 0) < made.messages.length);
}

/** Reads a row as groups; how many they are. */
export function groups(given: Fields, kind: GroupKind): number {
  const shaper = new Shaper({}, groupKind(kind));
  const made = parsed(() => shaper.read({ line: 1, end: 0, fields: given }, 'f:1'))?.content ?? [];
  for (const { prompt, answers, ranking } of made) {
    assert((prompt.text === undefined) !== (prompt.messages === undefined));
    for (const { text } of answers) assert.equal(typeof text, 'string');
    for (const index of ranking.flat()) assert(answers[index] !== undefined);
  }
  return made.length;
}

/** Filters a row, where the filter is one. */
export function filtered(given: Fields, setting: object): number {
  const checked = whereSetting.safeParse(setting);
  if (!checked.success) return 0;
  return new RowFilter(checked.data).keeps(given) ? 1 : 0;
}

export const GROUP_KINDS: readonly GroupKind[] = ['pairs', 'labels', 'rankings', 'completions'];
