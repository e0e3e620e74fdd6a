/** How rows are read, whatever stage reads them: the sources' settings, and which field is what. */
import { z } from 'zod';
import { chatTemplateKwargs } from '../../../proto/commands.ts';
import { sourceSettings } from '../sources/settings.ts';
import { fieldsSetting } from './roles.ts';
import { whereSetting } from './where.ts';

export const shapeSettings = z.strictObject({
  fields: fieldsSetting
    .optional()
    .describe(
      'Fields by what they are for, where they have other names than usual: `{ prompt: question, completion: answers.0.text }`.',
    ),
  where: whereSetting
    .optional()
    .describe(
      'Rows that are kept: `{ language: en, stars: { min: 10 }, text: { matches: "^#" } }`; of a list of such maps one must hold.',
    ),
  chat_template_kwargs: chatTemplateKwargs
    .optional()
    .describe(
      'Variables for the chat template: `{ enable_thinking: false }`. Those in a field of this name of a row go before them.',
    ),
  max_rejected: z
    .number()
    .min(0)
    .max(1)
    .default(0)
    .describe(
      'Share of the rows that may be set aside because they do not fit (`rejected.jsonl` of the result); 0: the first one is an error.',
    ),
});
export type ShapeSettings = z.output<typeof shapeSettings>;

/** The settings of every stage that reads rows. */
export const rowSettings = z.strictObject({ ...sourceSettings.shape, ...shapeSettings.shape });
export type RowSettings = z.output<typeof rowSettings>;

/** Those of a stage's settings that say how its rows are read. */
export function rowSettingsOf<Settings extends object>(
  settings: Settings,
): Pick<Settings, keyof Settings & keyof RowSettings> {
  const own = Object.entries(settings).filter(([key]) => Object.hasOwn(rowSettings.shape, key));
  return Object.fromEntries(own) as Pick<Settings, keyof Settings & keyof RowSettings>;
}
