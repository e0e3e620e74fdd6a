/** A Zod schema as a nested Markdown list of its fields: name, type, default, description. */
import { z } from 'zod';

export interface Schema {
  $ref?: string;
  $defs?: Record<string, Schema>;
  type?: string | string[];
  description?: string;
  enum?: unknown[];
  const?: unknown;
  default?: unknown;
  properties?: Record<string, Schema>;
  required?: string[];
  items?: Schema;
  anyOf?: Schema[];
  oneOf?: Schema[];
  additionalProperties?: Schema | boolean;
  minimum?: number;
  maximum?: number;
}

/** The JSON Schema of what goes in (defaults may be left out) or of what comes out. */
export function schemaOf(schema: z.ZodType, io: 'input' | 'output'): Schema {
  return z.toJSONSchema(schema, { io }) as Schema;
}

/** The fields of an object as a nested list. */
export function fieldList(schema: Schema, side: 'request' | 'reply', depth = 0): string {
  const entries = Object.entries(schema.properties ?? {});
  if (entries.length === 0) return depth === 0 ? ' nothing.' : '';
  const indent = '  '.repeat(depth);
  const lines = entries.map(([name, field]) => {
    const optional = schema.required?.includes(name) ? '' : ', optional';
    const preset = side === 'reply' ? '' : defaultText(field);
    const text = field.description ? `: ${field.description}` : '';
    const nested = [field, field.items, ...(field.anyOf ?? [])].find((inner) => inner?.properties);
    const inner = nested ? `\n${fieldList(nested, side, depth + 1)}` : '';
    return `${indent}- \`${name}\` (${typeName(field)}${optional}${preset})${text}${inner}`;
  });
  return depth === 0 ? `\n\n${lines.join('\n')}` : lines.join('\n');
}

/** Long defaults (a chat template) are left to the source. */
function defaultText(field: Schema): string {
  if (field.default === undefined) return '';
  const text = JSON.stringify(field.default);
  return text.length > 80 ? ', has a default' : `, default \`${text}\``;
}

function typeName(schema: Schema): string {
  if (schema.enum) return schema.enum.map((value) => `\`${value}\``).join(', ');
  const choices = schema.anyOf ?? schema.oneOf;
  if (choices) return [...new Set(choices.map(typeName))].join(' or ');
  if (Array.isArray(schema.type)) return schema.type.map((type) => WORDS[type]).join(' or ');
  if (schema.type === 'array') return `list of ${schema.items ? typeName(schema.items) : 'anything'}`;
  if (schema.type === 'object' && !schema.properties) {
    const values = schema.additionalProperties;
    return typeof values === 'object' && values.type !== undefined ? `map to ${typeName(values)}` : 'map';
  }
  return WORDS[schema.type ?? ''] ?? 'anything';
}

/** JSON Schema's names of types in the words of MessagePack. */
const WORDS: Record<string, string> = {
  object: 'map',
  string: 'text',
  null: 'nil',
  number: 'number',
  integer: 'integer',
  boolean: 'boolean',
};
