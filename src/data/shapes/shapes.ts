/**
 * Shapes of rows, found by looking: each is known by the roles that its rows have. A stage says which shapes it
 * takes, in which order it prefers them where a row has several.
 */

import { isShareGpt } from './messages.ts';
import type { FieldMap, Role } from './roles.ts';
import type { FieldRow } from './row.ts';

interface Shape {
  /** A row of the shape has a value for each; of a list of roles for one of them. */
  needs: readonly (Role | readonly Role[])[];
  /** Its name for people. */
  said(row: FieldRow): string;
  /** What a row of it has, for hints. */
  hint: string;
  /** Shapes that are a part of it: what they need is read with it. */
  parts?: readonly string[];
}

/** What is asked, of a shape that has an answer as well. */
const ASKED = ['messages', 'prompt', 'instruction'];

/** In the order in which a row of any shape is looked at: before its parts. */
export const SHAPES = {
  labelled: {
    needs: ['label', ['completion', 'messages', 'output']],
    said: (row) => (isTruth(row.get('label')) ? 'labelled completions (KTO)' : 'completions with a label'),
    hint: '`prompt`, `completion` and `label` (true or false)',
    parts: [...ASKED, 'completion', 'alpaca'],
  },
  messages: {
    needs: ['messages'],
    said: (row) =>
      `${isShareGpt(row.get('messages')) ? 'ShareGPT' : 'messages'}${row.has('tools') ? ' with tools' : ''}`,
    hint: '`messages` with role and content (or `conversations` with from and value)',
  },
  completion: {
    needs: ['prompt', 'completion'],
    said: () => 'prompt and completion',
    hint: '`prompt` and `completion`',
    parts: ['prompt'],
  },
  alpaca: {
    needs: ['instruction', 'output'],
    said: () => 'Alpaca',
    hint: '`instruction` and `output`',
    parts: ['instruction'],
  },
  text: { needs: ['text'], said: () => 'text', hint: '`text`' },
  pair: {
    needs: ['chosen', 'rejected'],
    said: (row) =>
      row.has('prompt') || row.has('messages') || row.has('instruction')
        ? 'preference pairs'
        : 'preference pairs with the prompt in both sides',
    hint: '`chosen` and `rejected`, with `prompt` (or the prompt at the beginning of both)',
    parts: ASKED,
  },
  responses: {
    needs: ['responses'],
    said: (row) => (row.has('ranking') || row.has('scores') ? 'ranked lists' : 'prompts with responses'),
    hint: '`prompt`, `responses` and their `ranking` (or `scores`)',
    parts: ASKED,
  },
  question: {
    needs: [['prompt', 'messages', 'instruction'], 'answer'],
    said: () => 'prompts with answers',
    hint: '`prompt` (or `messages`) and `answer`',
    parts: ASKED,
  },
  prompt: { needs: ['prompt'], said: () => 'prompts', hint: '`prompt` (text, or messages)' },
  instruction: { needs: ['instruction'], said: () => 'instructions', hint: '`instruction`' },
} as const satisfies Record<string, Shape>;
export type ShapeName = keyof typeof SHAPES;

/** Whether a label says good or bad, as text too: tables have text. */
export function isTruth(label: unknown): boolean {
  return /^(true|false)$/i.test(String(label));
}

/**
 * The shapes that a stage takes, in the order in which they are looked for. Where the recipe names the fields of a
 * shape it is that one: a row that lacks them does not fit, whatever else it has.
 */
export class ShapeFinder<Name extends ShapeName> {
  readonly #order: readonly Name[];

  constructor(taken: readonly Name[], map: FieldMap) {
    const named = (name: Name) => needs(name).some((roles) => roles.some((role) => map.names(role)));
    this.#order = taken.some(named) ? taken.filter(named) : taken;
  }

  /** The shape of a row; undefined where it has none of them. */
  find(row: FieldRow): Name | undefined {
    return this.#order.find((name) => fits(row, name));
  }

  /** Further shapes that a row has as well, and that are not looked at. */
  besides(row: FieldRow, taken: Name): Name[] {
    const { parts = [] }: Shape = SHAPES[taken];
    return this.#order.filter((name) => name !== taken && !parts.includes(name) && fits(row, name));
  }

  /** What a row that has none of the shapes lacks of the one that it is nearest to. */
  missing(row: FieldRow): Role {
    const lacking = this.#order.map((name) => {
      const each = needs(name);
      const missing = each.filter((roles) => !roles.some((role) => row.has(role)));
      return { had: each.length - missing.length, role: missing[0]![0]! };
    });
    const most = Math.max(...lacking.map(({ had }) => had));
    return (most === 0 ? lacking.at(-1)! : lacking.find(({ had }) => had === most)!).role;
  }
}

function needs(name: ShapeName): readonly (readonly Role[])[] {
  return SHAPES[name].needs.map((roles) => (typeof roles === 'string' ? [roles] : roles));
}

function fits(row: FieldRow, name: ShapeName): boolean {
  const shape: Shape = SHAPES[name];
  return shape.needs.every((roles) =>
    typeof roles === 'string' ? row.has(roles) : roles.some((role) => row.has(role)),
  );
}

/** A hint that says what rows have. */
export function shapesHint(names: readonly ShapeName[]): string {
  const hints = names.map((name) => SHAPES[name].hint);
  const last = hints.pop()!;
  return `A row has ${hints.length === 0 ? last : `${hints.join('; ')}; or ${last}`}.`;
}

/** How datasets call what a role is, for the hint at `fields`. */
const OTHER_NAMES: Partial<Record<Role, readonly string[]>> = {
  prompt: ['question', 'query', 'problem', 'input', 'user', 'source', 'context', 'text'],
  completion: ['answer', 'response', 'output', 'solution', 'target', 'assistant', 'reply'],
  text: ['content', 'body', 'document', 'article', 'raw_content', 'code', 'markdown', 'passage'],
  messages: ['dialog', 'dialogue', 'chat', 'turns'],
  chosen: ['preferred', 'better', 'win', 'response_a'],
  rejected: ['dispreferred', 'worse', 'lose', 'response_b'],
  label: ['kto_tag', 'is_good', 'thumbs_up', 'desirable'],
  responses: ['completions', 'candidates', 'generations', 'answers'],
  answer: ['solution', 'gold', 'target', 'label', 'output', 'response', 'completion'],
  system: ['system_prompt'],
};

/** How `fields` could fit a row that has none of the shapes; undefined where nothing looks like it. */
export function suggestFields(row: FieldRow, names: readonly ShapeName[]): string | undefined {
  for (const name of names) {
    const found = needs(name).map(([role = 'text']): [Role, string | undefined] => {
      if (row.has(role)) return [role, role];
      const other = OTHER_NAMES[role]?.find((field) => typeof row.fields[field] === 'string');
      return [role, other];
    });
    if (found.every(([, field]) => field !== undefined)) {
      const named = found
        .filter(([role, field]) => role !== field)
        .map(([role, field]) => `${role}: ${field}`);
      if (named.length > 0) return `Name them in the recipe: \`fields: { ${named.join(', ')} }\`.`;
    }
  }
  return undefined;
}

/** Which shapes a dataset turned out to have. */
export class ShapeCounts {
  readonly #counts = new Map<string, number>();
  readonly #besides = new Set<string>();
  #rows = 0;

  add(said: string, besides: readonly ShapeName[]): void {
    this.#rows += 1;
    this.#counts.set(said, (this.#counts.get(said) ?? 0) + 1);
    for (const name of besides) this.#besides.add(name);
  }

  get rows(): number {
    return this.#rows;
  }

  describe(): string {
    return describeShapes(this.#rows, this.#counts, this.#besides);
  }
}

/** `1,000 rows: messages`, `1,000 rows: 990 messages, 10 Alpaca`; `besides`: shapes that rows have as well. */
export function describeShapes(
  rows: number,
  counts: Iterable<[string, number]>,
  besides: Iterable<string>,
): string {
  const parts = [...counts]
    .sort(([, a], [, b]) => b - a)
    .map(([said, count]) => (count === rows ? said : `${number(count)} ${said}`));
  const found = parts.join(', ') || 'none that fits';
  const also = [...besides].join(', ');
  return `${number(rows)} row${rows === 1 ? '' : 's'}: ${found}${also && ` (rows also have ${also}: not read)`}`;
}

function number(value: number): string {
  return value.toLocaleString('en-US');
}
