/** `json_schema`: 1 where the response is JSON (bare, or in one code fence) that a schema accepts, else 0. */
import { readFile } from 'node:fs/promises';
import { resolve } from 'node:path';
import { Ajv2020 } from 'ajv/dist/2020.js';
import { z } from 'zod';
import { AnnealError } from '../../proto/errors.ts';
import { asFileError } from '../util/files.ts';
import { commonFields, defineReward, eachResponse, rewardName, Skips } from './reward.ts';

const schema = z.strictObject({
  type: z.literal('json_schema'),
  ...commonFields,
  schema: z
    .union([z.string().min(1), z.record(z.string(), z.unknown())])
    .describe('JSON Schema (2020-12), or the name of a file with it.'),
});

const FENCE = /^\s*```(?:json)?[^\S\n]*\n([\s\S]*?)\n\s*```\s*$/i;

export const jsonSchema = defineReward({
  doc: '1 where the response is JSON (bare, or in one code fence) that a schema accepts, else 0.',
  schema,

  async files(settings, baseDir) {
    return typeof settings.schema === 'string' ? [resolve(baseDir, settings.schema)] : [];
  },

  async open(settings, baseDir) {
    const accepts = await compile(settings.schema, baseDir, rewardName(settings));
    return eachResponse(settings, new Skips(settings), ({ text }) => {
      try {
        return accepts(JSON.parse(FENCE.exec(text)?.[1] ?? text)) ? 1 : 0;
      } catch {
        return 0;
      }
    });
  },
});

async function compile(
  source: string | Record<string, unknown>,
  baseDir: string,
  name: string,
): Promise<(value: unknown) => boolean> {
  const path = typeof source === 'string' ? resolve(baseDir, source) : `rewards.${name}.schema`;
  let text = '';
  if (typeof source === 'string') {
    text = await readFile(path, 'utf8').catch((error: unknown) => {
      throw asFileError(error, path);
    });
  }
  try {
    const value = (typeof source === 'string' ? JSON.parse(text) : source) as object;
    // Lenient about keywords of other drafts, as most validators are; a `format` is an annotation (2020-12's default).
    const validate = new Ajv2020({ strict: false, validateFormats: false, logger: false }).compile(value);
    return (candidate) => validate(candidate) === true;
  } catch (cause) {
    throw new AnnealError('reward_invalid', `${path} is not a JSON Schema: ${(cause as Error).message}.`, {
      path,
      hint: 'Give a schema of the 2020-12 draft.',
      cause,
    });
  }
}
