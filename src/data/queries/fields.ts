/** A survey of the fields of structured rows: how often each occurs, of what types, how long its text is. */
import type { SectionOf } from '../../../proto/page.ts';

/** Fields that are told apart; rows with more have their names counted as one. */
const MOST_FIELDS = 200;
/** Different values of a field that are counted one by one. */
const MOST_VALUES = 1000;
const SHOWN_CHARACTERS = 40;

interface Field {
  rows: number;
  types: Map<string, number>;
  characters: number;
  texts: number;
  values: Set<string>;
  example: string;
}

export class FieldSurvey {
  readonly #fields = new Map<string, Field>();
  #rows = 0;

  add(fields: Record<string, unknown>): void {
    this.#rows += 1;
    for (const [name, value] of Object.entries(fields)) {
      const field = this.#field(name);
      if (value === undefined || value === null) continue;
      field.rows += 1;
      const type = typeOf(value);
      field.types.set(type, (field.types.get(type) ?? 0) + 1);
      if (typeof value === 'string') {
        field.texts += 1;
        field.characters += value.length;
      }
      if (field.values.size < MOST_VALUES) field.values.add(shown(value));
      field.example ||= shown(value);
    }
  }

  /** undefined where no row had fields. */
  section(): SectionOf<'table'> | undefined {
    if (this.#fields.size === 0) return undefined;
    return {
      kind: 'table',
      title: 'Fields',
      columns: ['field', 'rows', 'type', 'characters', 'different', 'example'],
      rows: [...this.#fields].map(([name, { rows, types, characters, texts, values, example }]) => [
        name,
        rows,
        [...types.keys()].join(' or ') || 'null',
        texts === 0 ? null : Math.round(characters / texts),
        values.size === MOST_VALUES ? `${MOST_VALUES} or more` : values.size,
        example,
      ]),
    };
  }

  get rows(): number {
    return this.#rows;
  }

  #field(name: string): Field {
    const key = this.#fields.size >= MOST_FIELDS && !this.#fields.has(name) ? '(further fields)' : name;
    let field = this.#fields.get(key);
    if (!field) {
      field = { rows: 0, types: new Map(), characters: 0, texts: 0, values: new Set(), example: '' };
      this.#fields.set(key, field);
    }
    return field;
  }
}

function typeOf(value: unknown): string {
  if (Array.isArray(value)) return value.length > 0 ? `list of ${typeOf(value[0])}` : 'list';
  return typeof value === 'string' ? 'text' : typeof value;
}

function shown(value: unknown): string {
  const text = typeof value === 'string' ? value : (JSON.stringify(value) ?? String(value));
  const line = text.replaceAll(/\s+/g, ' ').trim();
  return line.length > SHOWN_CHARACTERS ? `${line.slice(0, SHOWN_CHARACTERS)}…` : line;
}
