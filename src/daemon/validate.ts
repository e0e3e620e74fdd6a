/** Requests as the schemas have them: what does not fit is refused with the field and the nearest known name. */
import type { z } from 'zod';
import { COMMANDS, type CommandName, requestBodySchema } from '../../proto/commands.ts';
import { AnnealError } from '../../proto/errors.ts';
import { nearest } from '../util/nearest.ts';

export interface ParsedRequest {
  command: CommandName;
  request: unknown;
}

/** The command and its request with defaults filled in, or a typed error. */
export function parseRequest(body: Record<string, unknown>): ParsedRequest {
  if (typeof body.command !== 'string') {
    throw new AnnealError('bad_request', 'The body has no `command`.', {
      hint: 'Name the command in the field `command`, as text.',
      path: 'command',
    });
  }
  const { command, ...fields } = requestBodySchema.parse(body);
  if (!Object.hasOwn(COMMANDS, command)) {
    const near = nearest(command, Object.keys(COMMANDS));
    throw new AnnealError('unknown_command', `There is no command '${command.slice(0, 100)}'.`, {
      hint: near ? `Did you mean '${near}'?` : `Commands: ${Object.keys(COMMANDS).join(', ')}.`,
      path: 'command',
    });
  }
  const name = command as CommandName;
  const schema: z.ZodType = COMMANDS[name].request;
  const result = schema.safeParse(fields);
  if (!result.success) throw requestError(name, result.error.issues);
  return { command: name, request: result.data };
}

function requestError(command: CommandName, issues: z.core.$ZodIssue[]): AnnealError {
  // An unknown field explains a missing one (a misspelt name), so it is what we speak of.
  const issue = issues.find(({ code }) => code === 'unrecognized_keys') ?? issues[0]!;
  const path = issue.path.map(String);
  if (issue.code === 'unrecognized_keys') {
    const key = issue.keys[0]!;
    const near = nearest(key, knownKeys(command, issue.path));
    return new AnnealError('bad_request', `${command} has no field '${key.slice(0, 100)}'.`, {
      hint: near ? `Did you mean '${near}'?` : 'See docs/protocol.md for its fields.',
      path: [...path, key].join('.'),
    });
  }
  return new AnnealError('bad_request', `${command}: ${path.join('.') || 'the request'}: ${issue.message}.`, {
    hint: 'See docs/protocol.md for its fields.',
    path: path.join('.'),
  });
}

/** Field names of the object at `path` inside the request of a command. */
function knownKeys(command: CommandName, path: PropertyKey[]): string[] {
  let schema: z.core.$ZodType = COMMANDS[command].request;
  for (const step of path) {
    schema = unwrap(schema);
    const definition = schema._zod.def as {
      shape?: Record<string, z.core.$ZodType>;
      element?: z.core.$ZodType;
    };
    const next = definition.shape?.[String(step)] ?? definition.element;
    if (!next) return [];
    schema = next;
  }
  const { shape } = unwrap(schema)._zod.def as { shape?: Record<string, unknown> };
  return Object.keys(shape ?? {});
}

/** Without the wrappers of defaults and options. */
function unwrap(schema: z.core.$ZodType): z.core.$ZodType {
  const inner = (schema._zod.def as { innerType?: z.core.$ZodType }).innerType;
  return inner ? unwrap(inner) : schema;
}
