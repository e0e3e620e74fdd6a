/**
 * Roles: what the fields of a row are for, by the names that TRL and the field's datasets use. A row is asked for a
 * role, never for a field: the recipe's `fields` says which field has it, else its usual names are looked for.
 */
import { z } from 'zod';
import { isRecord } from './errors.ts';

/** Each role with the fields that have it where the recipe does not say otherwise; the first that is there counts. */
export const ROLES = {
  text: ['text'],
  messages: ['messages', 'conversations', 'conversation'],
  system: ['system'],
  tools: ['tools', 'functions'],
  chat_template_kwargs: ['chat_template_kwargs'],
  prompt: ['prompt'],
  completion: ['completion'],
  instruction: ['instruction'],
  input: ['input'],
  output: ['output'],
  history: ['history'],
  chosen: ['chosen'],
  rejected: ['rejected'],
  margin: ['margin'],
  label: ['label'],
  responses: ['responses'],
  ranking: ['ranking'],
  scores: ['scores'],
  answer: ['answer'],
  id: ['id'],
  fields: ['fields'],
  prompt_ids: ['prompt_ids'],
  completion_ids: ['completion_ids'],
  chosen_ids: ['chosen_ids'],
  rejected_ids: ['rejected_ids'],
  top_ids: ['top_ids'],
  top_log_probs: ['top_log_probs'],
} as const satisfies Record<string, readonly string[]>;
export type Role = keyof typeof ROLES;

/** Roles whose value may be text; of the others an empty text, as tables of text have it, is no value. */
const TEXTS: ReadonlySet<Role> = new Set<Role>([
  ...([
    'text',
    'system',
    'prompt',
    'completion',
    'instruction',
    'input',
    'output',
    'chosen',
    'rejected',
  ] as const),
  ...(['answer', 'id'] as const),
]);

const path = z
  .string()
  .min(1)
  .refine(
    (text) => text.split('.').every((part) => part !== ''),
    'has an empty part: parts are joined by dots',
  );

/** The setting `fields`: by role the field that has it; a path with dots leads into objects and lists. */
export const fieldsSetting = z.partialRecord(z.enum(Object.keys(ROLES) as [Role, ...Role[]]), path);
export type FieldsSetting = z.output<typeof fieldsSetting>;

/** Where a value stands in a row: the name of a field, or its parts from the outermost. */
export type FieldPath = { name: string; parts: readonly string[] };

export function fieldPath(name: string): FieldPath {
  return { name, parts: name.split('.') };
}

/** The value at a path, undefined where there is none. A field whose very name has dots goes before the path. */
export function valueAt(fields: Record<string, unknown>, { name, parts }: FieldPath): unknown {
  if (Object.hasOwn(fields, name)) return fields[name];
  let value: unknown = fields;
  for (const part of parts) {
    if (Array.isArray(value)) value = /^\d+$/.test(part) ? value[Number(part)] : undefined;
    else value = isRecord(value) && Object.hasOwn(value, part) ? value[part] : undefined;
  }
  return value;
}

function present(value: unknown, role: Role): unknown {
  return value === null || (value === '' && !TEXTS.has(role)) ? undefined : value;
}

/** Which field has which role. */
export class FieldMap {
  readonly #given: ReadonlyMap<Role, FieldPath>;

  constructor(setting: FieldsSetting | undefined) {
    const given = Object.entries(setting ?? {}).filter(([, name]) => name !== undefined);
    this.#given = new Map(given.map(([role, name]) => [role as Role, fieldPath(name)]));
  }

  /** Whether the recipe names the field of a role. */
  names(role: Role): boolean {
    return this.#given.has(role);
  }

  /** Roles that the recipe names fields of. */
  get named(): Role[] {
    return [...this.#given.keys()];
  }

  /** The value that a row has for a role. Null is what columns have where there is nothing: it counts as missing. */
  value(fields: Record<string, unknown>, role: Role): unknown {
    const given = this.#given.get(role);
    if (given) return present(valueAt(fields, given), role);
    for (const name of ROLES[role]) {
      const value = Object.hasOwn(fields, name) ? present(fields[name], role) : undefined;
      if (value !== undefined) return value;
    }
    return undefined;
  }

  /** Whether a row has a role's field, with nothing in it. */
  isNull(fields: Record<string, unknown>, role: Role): boolean {
    const given = this.#given.get(role);
    return given
      ? valueAt(fields, given) === null
      : ROLES[role].some((name) => Object.hasOwn(fields, name) && fields[name] === null);
  }

  /** The field that a role is looked for in, for messages; `fields` decides between several usual names. */
  field(role: Role, fields?: Record<string, unknown>): string {
    const given = this.#given.get(role);
    if (given) return given.name;
    const names: readonly string[] = ROLES[role];
    return names.find((name) => fields !== undefined && Object.hasOwn(fields, name)) ?? names[0]!;
  }
}
