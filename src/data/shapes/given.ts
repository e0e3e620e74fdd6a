/** Settings of rows that a command brings (`anneal data inspect --set`, `anneal rank --set`), checked as a recipe's are. */
import { recipeError } from '../../recipe/errors.ts';
import { type RowSettings, rowSettings } from './settings.ts';

/** The settings with their defaults; what cannot be one is `recipe_invalid`, with its path and the nearest known key. */
export function givenSettings(settings: Readonly<Record<string, unknown>>): RowSettings {
  const parsed = rowSettings.safeParse(settings);
  if (parsed.success) return parsed.data;
  throw recipeError(parsed.error, rowSettings, settings, [], () => 'settings');
}
