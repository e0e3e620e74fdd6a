/**
 * What an answer must match, as a request says it, and the automaton that holds generation to it. Automata are kept:
 * a server is asked for the same few formats again and again.
 */
import { AnnealError } from '../../proto/errors.ts';
import type { Constraint, Session } from '../native/addon.ts';
import type { Tokenizer } from '../tokenizer/tokenizer.ts';
import { compile } from './automaton.ts';
import { schemaTree } from './json_schema.ts';
import { parseRegex } from './regex.ts';

/** At most one of the two, by the names of the protocol. */
export interface Format {
  regex?: string | undefined;
  json_schema?: Record<string, unknown> | undefined;
}

const MOST_KEPT = 16;
const kept = new Map<string, Constraint>();

/** The automaton of a format; undefined without one. Throws `constraint_invalid`, which says where. */
export function constraintOf(format: Format): Constraint | undefined {
  const { regex, json_schema: schema } = format;
  if (regex === undefined && schema === undefined) return undefined;
  if (regex !== undefined && schema !== undefined) {
    throw new AnnealError('constraint_invalid', 'A request has a regular expression and a JSON Schema.', {
      path: 'sampling',
      hint: 'Give one of `regex` and `json_schema`.',
    });
  }
  const key = regex === undefined ? `schema ${JSON.stringify(schema)}` : `regex ${regex}`;
  let constraint = kept.get(key);
  if (constraint === undefined) {
    constraint = compile(regex === undefined ? schemaTree(schema) : parseRegex(regex).node);
  } else {
    kept.delete(key);
  }
  // The one used last is the last to go.
  kept.set(key, constraint);
  if (kept.size > MOST_KEPT) kept.delete(kept.keys().next().value!);
  return constraint;
}

/** Hash of the tokenizer whose vocabulary a session has; models over one base may have several. */
const known = new WeakMap<Session['generations'], string>();

/** Makes a session know the bytes of its tokens; throws if it could not write all that a constraint allows. */
export function prepareVocabulary(session: Session, tokenizer: Tokenizer, constraint: Constraint): void {
  const vocabulary = tokenizer.vocabularyBytes();
  requireBytes(vocabulary, constraint);
  if (known.get(session.generations) === tokenizer.hash) return;
  session.setVocabulary(vocabulary);
  known.set(session.generations, tokenizer.hash);
}

/** With a token for every byte that may come next there is always one that goes on. */
function requireBytes(
  { bytes, ends }: { bytes: Uint8Array; ends: Int32Array },
  constraint: Constraint,
): void {
  const single = new Uint8Array(256);
  for (let id = 0; id < ends.length; id++) {
    const start = id === 0 ? 0 : ends[id - 1]!;
    if (ends[id]! - start === 1) single[bytes[start]!] = 1;
  }
  const missing = constraint.transitions.findIndex((to, index) => to >= 0 && single[index % 256] === 0);
  if (missing < 0) return;
  throw new AnnealError(
    'constraint_invalid',
    `The model's tokenizer has no token for the byte 0x${(missing % 256).toString(16).padStart(2, '0')} alone, which the constraint allows.`,
    { hint: 'Use a byte-level tokenizer, or a constraint without this character.' },
  );
}
