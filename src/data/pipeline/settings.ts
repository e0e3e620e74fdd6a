/** Settings of a `prepare` stage. */
import { z } from 'zod';
import { AnnealError } from '../../../proto/errors.ts';
import { cleaningSettings } from '../cleaning/settings.ts';
import { decontaminationSettings, dedupSettings } from '../dedup/settings.ts';
import { dataFiles, resolveFiles } from '../files.ts';
import { mixingSettings, sourceMixing } from '../mixing_settings.ts';
import { rowSettings, rowSettingsOf } from '../shapes/settings.ts';
import { DEFAULT_UNIT_BYTES } from '../sources/settings.ts';

const sourceSchema = rowSettings.extend({
  name: z
    .string()
    .min(1)
    .optional()
    .describe('As reports and `curriculum` name it; default: its first file.'),
  files: dataFiles.describe('Data files: names or glob patterns.'),
  cleaning: cleaningSettings
    .optional()
    .describe('Rules for the documents of this source, instead of those of the stage.'),
  ...sourceMixing,
});
export type PrepareSource = z.output<typeof sourceSchema> & { name: string };

const PART = /^([1-9]\d{0,5})\/([1-9]\d{0,5})$/;

export const prepareSchema = rowSettings
  .extend({
    tokenizer: z
      .string()
      .default('tokenizer')
      .describe('Stage that made the tokenizer, or a folder with one.'),
    files: dataFiles.optional().describe('The data, when there is one source.'),
    sources: z.array(sourceSchema).min(1).optional().describe('The data, when several are mixed.'),
    cleaning: cleaningSettings.optional().describe('Rules that drop, repair and change documents of text.'),
    dedup: dedupSettings.optional().describe('Removes what earlier documents have already.'),
    decontamination: decontaminationSettings.optional().describe('Compares documents with evaluation sets.'),
    mixing: mixingSettings.prefault({}).describe('How the sources are mixed.'),
    validation_fraction: z
      .number()
      .min(0)
      .max(0.5)
      .default(0.01)
      .describe('Share of the documents, chosen by a hash of their content, that is kept for validation.'),
    append_eos: z.boolean().default(true).describe('Ends every document with the EOS token.'),
    max_documents: z
      .int()
      .min(1)
      .optional()
      .describe('Stop after this many documents that the rules keep, for a quick trial.'),
    unit_bytes: z
      .int()
      .min(1)
      .default(DEFAULT_UNIT_BYTES)
      .describe('Large files are worked on in ranges of this size, each done or not done.'),
    work_dir: z
      .string()
      .min(1)
      .optional()
      .describe(
        'Folder for the units of work that are done, which several daemons may share; without it one of the job.',
      ),
    part: z
      .string()
      .refine((text) => partOf(text) !== undefined, 'must be such as 3/16, the third of sixteen parts')
      .optional()
      .describe('Only this part of the units is worked on, in work_dir; a run without it makes the dataset.'),
  })
  .superRefine((settings, context) => {
    if (settings.part !== undefined && settings.work_dir === undefined) {
      context.addIssue({
        code: 'custom',
        path: ['part'],
        message: 'needs work_dir, where the parts come together',
      });
    }
  });
export type PrepareSettings = z.output<typeof prepareSchema>;

/** The one source that `files` names, or the list of them. */
export function sourcesOf(settings: PrepareSettings): PrepareSource[] {
  const { files, sources, cleaning } = settings;
  if ((files === undefined) === (sources === undefined)) {
    throw new AnnealError('recipe_invalid', 'A prepare stage needs either files or sources.', {
      path: 'sources',
      hint: 'Name files, or a list of sources with files and weight each.',
    });
  }
  if (files) return [{ ...rowSettingsOf(settings), name: files[0]!, files, weight: 1, cleaning }];
  const named = sources!.map((source) => ({
    ...source,
    cleaning: source.cleaning ?? cleaning,
    name: source.name ?? source.files[0]!,
  }));
  const twice = named.find(({ name }, i) => named.findIndex((source) => source.name === name) !== i);
  if (twice) {
    throw new AnnealError('recipe_invalid', `Two sources have the name ${twice.name}.`, {
      path: 'sources',
      hint: 'Give each a name of its own.',
    });
  }
  return named;
}

/** The files of evaluation sets that documents are compared with. */
export async function evaluationFiles(
  { decontamination }: PrepareSettings,
  baseDir: string,
): Promise<string[]> {
  const files: string[] = [];
  for (const set of decontamination?.sets ?? []) files.push(...(await resolveFiles(set.files, baseDir, set)));
  return files;
}

/** `3/16` as index 2 of 16; undefined for what is none. */
export function partOf(text: string): { index: number; count: number } | undefined {
  const match = PART.exec(text);
  if (!match) return undefined;
  const [index, count] = [Number(match[1]) - 1, Number(match[2])];
  return index < count ? { index, count } : undefined;
}
