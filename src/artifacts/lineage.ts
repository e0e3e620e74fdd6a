/** What `artifact.json` holds: all that made an artifact, by hash, and the checksums of its files. */
import { z } from 'zod';

export const LINEAGE_FILE = 'artifact.json';

export const lineageSchema = z.strictObject({
  format: z.literal(1),
  /** Address: hash of type, settings, seed, inputs, data files and code version. */
  hash: z.string(),
  type: z.string(),
  /** Name of the stage in the recipe. */
  stage: z.string(),
  job: z.string().nullable(),
  job_name: z.string(),
  /** Unix seconds. */
  created_at: z.number(),
  /** How long the stage ran, over all its attempts that this worker knows of. */
  seconds: z.number(),
  code_version: z.string(),
  /** Hash of the program as it ran: the scripts and the addon. */
  code_hash: z.string(),
  seed: z.int(),
  threads: z.int(),
  settings: z.record(z.string(), z.unknown()),
  /** Hash of each input, by settings key. */
  inputs: z.record(z.string(), z.string()),
  data_files: z.array(z.strictObject({ path: z.string(), bytes: z.int(), sha256: z.string() })),
  /** The recipe as it was submitted. */
  recipe: z.strictObject({
    text: z.string(),
    base_dir: z.string(),
    source: z.string(),
    set: z.array(z.strictObject({ key: z.string(), value: z.string() })),
  }),
  /** Figures that the stage recorded. */
  results: z.record(z.string(), z.union([z.string(), z.number()])),
  files: z.array(z.strictObject({ name: z.string(), bytes: z.int(), sha256: z.string() })),
});
export type Lineage = z.infer<typeof lineageSchema>;
