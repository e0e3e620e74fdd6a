/** The YAML text of a recipe with `--set` overrides applied, and where each key stands in it. */
import { type Document, isCollection, isMap, isNode, LineCounter, parse, parseDocument } from 'yaml';
import { AnnealError } from '../../proto/errors.ts';
import type { RecipeSource } from '../../proto/worker.ts';
import type { Locate } from './errors.ts';

export interface RecipeDocument {
  value: unknown;
  locate: Locate;
}

/** Parses the text and applies the overrides; syntax errors carry line and column. */
export function readDocument(source: RecipeSource): RecipeDocument {
  const lines = new LineCounter();
  /** Where a place is; a text of one line, as commands make for their options, is a place itself. */
  const placeOf = (offset: number): string =>
    lines.lineStarts.length < 2 ? source.source : `${source.source}:${lines.linePos(offset).line}`;
  const document = parseDocument(source.text, { lineCounter: lines, prettyErrors: false });
  const [error] = document.errors;
  if (error) {
    const { line, col } = lines.linePos(error.pos[0]);
    throw new AnnealError('recipe_syntax', `${source.source}:${line}:${col}: ${error.message}`, {
      path: `${source.source}:${line}:${col}`,
      hint: 'A recipe is YAML: check indentation, colons and quotes near this place.',
    });
  }
  if (!isMap(document.contents)) {
    throw new AnnealError('recipe_syntax', `${source.source} is not a map of keys.`, {
      path: source.source,
      hint: 'A recipe begins with keys such as `name:` and `stages:`.',
    });
  }
  for (const { key, value } of source.set) override(document, key, value);
  const locate: Locate = (path) => {
    for (let length = path.length; length > 0; length--) {
      const part = path.slice(0, length).map(String);
      const node = keyNode(document, part);
      // A key that an override made has no place in the text.
      const override = source.set.find(
        ({ key }) => key === part.join('.') || (!node?.range && key.startsWith(`${part.join('.')}.`)),
      );
      if (override) return `--set ${override.key}`;
      if (node?.range) return placeOf(node.range[0]);
    }
    return source.source;
  };
  try {
    return { value: document.toJS(), locate };
  } catch (cause) {
    // Unresolved or too many aliases.
    throw new AnnealError('recipe_syntax', `${source.source}: ${(cause as Error).message}`, {
      path: source.source,
      hint: 'Check the anchors (&) and aliases (*) of the recipe.',
      cause,
    });
  }
}

function override(document: Document, key: string, text: string): void {
  const path = key.split('.');
  const fail = (message: string, hint: string) => {
    throw new AnnealError('recipe_invalid', `--set ${key}: ${message}`, { path: key, hint });
  };
  if (path.some((part) => part === ''))
    fail('the key has an empty part.', 'Write it as stages.NAME.KEY=VALUE.');
  for (let length = 1; length < path.length; length++) {
    const node: unknown = document.getIn(path.slice(0, length), true);
    if (node === undefined || node === null) break;
    if (isNode(node) && !isCollection(node)) {
      const parent = path.slice(0, length).join('.');
      fail(`${parent} is a value, not a map of keys.`, `Set ${parent} itself.`);
    }
  }
  let value: unknown;
  try {
    value = parse(text);
  } catch (error) {
    fail(`the value is not YAML: ${(error as Error).message}`, 'Quote the value.');
  }
  document.setIn(path, document.createNode(value));
}

/** The node of the key at the end of a path (its value's node in a list). */
function keyNode(
  document: Document,
  path: string[],
): { range?: [number, number, number] | null } | undefined {
  const parent: unknown = path.length === 1 ? document.contents : document.getIn(path.slice(0, -1), true);
  if (isMap(parent)) {
    const pair = parent.items.find((item) => isNode(item.key) && String(item.key) === path.at(-1));
    return isNode(pair?.key) ? pair.key : undefined;
  }
  const node: unknown = document.getIn(path, true);
  return isNode(node) ? node : undefined;
}
