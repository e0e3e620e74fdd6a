/** The option `--set key=value`: settings as a recipe has them. */
import { AnnealError } from '../../proto/errors.ts';

/** Collects the values of an option that may be repeated. */
export function collect(value: string, before: string[] = []): string[] {
  return [...before, value];
}

/** `key=value` as settings; a value is YAML's plain text, a number, true or false, or JSON. */
export function settingsOf(pairs: readonly string[], command: string): Record<string, unknown> {
  return Object.fromEntries(
    pairs.map((pair) => {
      const at = pair.indexOf('=');
      if (at >= 1) return [pair.slice(0, at), settingOf(pair.slice(at + 1))];
      throw new AnnealError('bad_request', `anneal ${command}: --set takes key=value, not '${pair}'.`, {
        hint: `See: anneal ${command} --help`,
      });
    }),
  );
}

function settingOf(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}
