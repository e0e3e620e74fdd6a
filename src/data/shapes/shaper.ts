/** One record to what a stage reads of it: filtered, its fields by role, its shape found, parsed. */
import type { TemplateKwargs } from '../../tokenizer/chat_template.ts';
import type { RawRecord } from '../sources/unit.ts';
import { RowError } from './errors.ts';
import { FieldMap } from './roles.ts';
import { FieldRow } from './row.ts';
import type { ShapeSettings } from './settings.ts';
import { SHAPES, ShapeFinder, type ShapeName, shapesHint, suggestFields } from './shapes.ts';
import { RowFilter } from './where.ts';

/** What a stage reads. */
export interface RowKind<Name extends ShapeName, T> {
  /** The shapes that it takes; of a row that has several, the first. */
  takes: readonly Name[];
  /** What is read of a row of a shape; throws with the row's `fail`. */
  parse(row: FieldRow, shape: Name): T;
  /** The error of a row that has none of the shapes, where it can say more than that. */
  missing?(row: FieldRow): RowError | undefined;
}

export interface ShapedRow<T> {
  content: T;
  /** What the row's shape is called. */
  shape: string;
  /** Shapes that it has as well, and that are not read. */
  besides: ShapeName[];
}

/** The settings that decide what is read of a record. */
export type ReadingSettings = Pick<ShapeSettings, 'fields' | 'where' | 'chat_template_kwargs'>;

export class Shaper<Name extends ShapeName, T> {
  readonly filter: RowFilter;
  readonly #kind: RowKind<Name, T>;
  readonly #map: FieldMap;
  readonly #templateKwargs: TemplateKwargs | undefined;
  readonly #finder: ShapeFinder<Name>;
  readonly #hint: string;
  readonly #hints: ReadonlyMap<Name, string>;

  constructor(settings: ReadingSettings, kind: RowKind<Name, T>) {
    this.filter = new RowFilter(settings.where);
    this.#kind = kind;
    this.#map = new FieldMap(settings.fields);
    this.#templateKwargs = settings.chat_template_kwargs;
    this.#finder = new ShapeFinder(kind.takes, this.#map);
    this.#hint = shapesHint(kind.takes);
    this.#hints = new Map(kind.takes.map((shape) => [shape, shapesHint([shape])]));
  }

  /** A record read; undefined where `where` leaves it out. What does not fit is a RowError. */
  read(record: RawRecord, origin: string): ShapedRow<T> | undefined {
    const { bad } = record;
    if (bad) throw new RowError(bad.code, origin, bad.field, bad.message, { hint: bad.hint });
    const fields = fieldsOf(record);
    if (!this.filter.keeps(fields)) return undefined;
    const row = new FieldRow(fields, origin, this.#map, this.#hint, this.#templateKwargs);
    const shape = this.#finder.find(row);
    if (shape === undefined) throw this.#kind.missing?.(row) ?? this.#unknown(row);
    row.hint = this.#hints.get(shape)!;
    return {
      content: this.#kind.parse(row, shape),
      shape: SHAPES[shape].said(row),
      besides: this.#finder.besides(row, shape),
    };
  }

  #unknown(row: FieldRow): RowError {
    // A field that the recipe names and the row lacks is what is wrong, whatever else there is.
    const role = this.#map.named.find((each) => !row.has(each)) ?? this.#finder.missing(row);
    const names = Object.keys(row.fields).slice(0, 8).join(', ');
    const problem = this.#map.isNull(row.fields, role)
      ? 'is null'
      : `is missing (the row has ${names || 'no fields'})`;
    const hint = suggestFields(row, this.#kind.takes) ?? this.#hint;
    return new RowError('data_field', row.origin, row.field(role), problem, { hint });
  }
}

/** The fields of a record; the text of a text format is one of them, made a string when it is asked for. */
function fieldsOf({ text, fields = {} }: RawRecord): Record<string, unknown> {
  if (text === undefined) return fields;
  return {
    ...fields,
    get text() {
      return text.toString();
    },
  };
}
