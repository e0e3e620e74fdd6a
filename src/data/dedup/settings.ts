/** The `dedup:` and `decontamination:` settings of a `prepare` stage; docs/deduplication.md says what each finds. */
import { z } from 'zod';
import { dataFiles } from '../files.ts';
import { rowSettings } from '../shapes/settings.ts';

const parts = (part: string, least: number) =>
  z.strictObject({
    min_characters: z
      .int()
      .min(1)
      .default(least)
      .describe(`Shorter ${part} are never removed: they repeat for good reasons.`),
    min_documents: z
      .int()
      .min(2)
      .default(2)
      .describe(`Only ${part} that this many documents have are removed.`),
  });

export const nearSettings = z
  .strictObject({
    unit: z.enum(['word', 'character']).default('word').describe('What shingles are runs of.'),
    shingle: z.int().min(1).max(1000).default(5).describe('Words or characters of a shingle.'),
    permutations: z
      .int()
      .min(2)
      .max(4096)
      .default(128)
      .describe('Hashes of a signature: with more of them, similarity is estimated more exactly.'),
    threshold: z
      .number()
      .gt(0)
      .lt(1)
      .default(0.8)
      .describe('Jaccard similarity of the shingles from which documents count as near duplicates.'),
    bands: z
      .int()
      .min(1)
      .optional()
      .describe('Bands of the signature; default: what errs least at the threshold.'),
    rows: z.int().min(1).optional().describe('Hashes of a band; only with `bands`.'),
    scheme: z
      .enum(['multiplicative', 'datasketch', 'datasketch_legacy'])
      .default('multiplicative')
      .describe(
        '`datasketch`: the signatures of that package (`datasketch_legacy`: of its versions before 2.0), slower.',
      ),
    seed: z.int().min(0).max(4_294_967_295).default(1).describe('Of the permutations.'),
    verify: z
      .boolean()
      .default(false)
      .describe(
        'Documents that share a band count only if their signatures agree in `threshold` of their hashes.',
      ),
  })
  .superRefine(({ bands, rows, permutations }, context) => {
    const wrong = (path: string, message: string) =>
      context.addIssue({ code: 'custom', path: [path], message });
    if ((bands === undefined) !== (rows === undefined)) {
      wrong(bands === undefined ? 'bands' : 'rows', 'is needed: bands and rows are given together');
    } else if (bands !== undefined && bands * rows! > permutations) {
      wrong('bands', `times rows is ${bands * rows!}, more than ${permutations} permutations`);
    }
  });
export type NearSettings = z.output<typeof nearSettings>;

/** Where a long preparation has its peak; 64 MiB are no faster than 16 (bench/README.md). */
export const SORTING_BYTES = 1 << 25;

export const dedupSettings = z.strictObject({
  exact: z
    .boolean()
    .default(true)
    .describe('Removes documents whose text, white space aside, equals that of an earlier one.'),
  near: z
    .preprocess((value) => (value === true ? {} : value), nearSettings)
    .optional()
    .describe('Removes near duplicates of earlier documents, by MinHash; `true` for the defaults.'),
  paragraphs: z
    .preprocess((value) => (value === true ? {} : value), parts('paragraphs', 100))
    .optional()
    .describe(
      'Removes paragraphs that an earlier document has; `true` for the defaults. Reads the data twice.',
    ),
  lines: z
    .preprocess((value) => (value === true ? {} : value), parts('lines', 30))
    .optional()
    .describe('Removes lines that an earlier document has; `true` for the defaults. Reads the data twice.'),
  across_sources: z
    .boolean()
    .default(true)
    .describe('Documents are compared with those of all sources; otherwise each source is looked at alone.'),
  memory_bytes: z
    .int()
    .min(1 << 20)
    .default(SORTING_BYTES)
    .describe('Memory for sorting; what does not fit goes to the disk, with the same result.'),
});
export type DedupSettings = z.output<typeof dedupSettings>;

const evaluationSet = rowSettings.extend({
  name: z.string().min(1).optional().describe('As reports name it; default: its first file.'),
  files: dataFiles.describe('Rows as the stage `evaluate` reads them.'),
});

/** What counts as contaminated, and what becomes of it. */
export const decontaminationRules = z.strictObject({
  ngram: z.int().min(1).max(1000).default(13).describe('Words of an n-gram.'),
  min_words: z
    .int()
    .min(1)
    .max(1000)
    .default(8)
    .describe('Rows shorter than an n-gram, but with this many words, count as one n-gram of their length.'),
  threshold: z
    .number()
    .gt(0)
    .max(1)
    .default(0.5)
    .describe('A document is contaminated when it has this share of the n-grams of a row.'),
  action: z
    .enum(['drop', 'cut', 'report'])
    .default('drop')
    .describe(
      'What happens to a contaminated document: it goes, the shared text goes, or it is only reported.',
    ),
  cut_margin: z
    .int()
    .min(0)
    .default(200)
    .describe('`cut`: bytes that go with the shared text on both sides, to the border of a word.'),
  min_piece: z.int().min(1).default(200).describe('`cut`: pieces that remain with fewer bytes go as well.'),
});
export type DecontaminationRules = z.output<typeof decontaminationRules>;

export const decontaminationSettings = z.strictObject({
  sets: z.array(evaluationSet).min(1).describe('Evaluation sets that training must not have seen.'),
  ...decontaminationRules.shape,
});
export type DecontaminationSettings = z.output<typeof decontaminationSettings>;
