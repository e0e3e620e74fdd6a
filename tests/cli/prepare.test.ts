/** The recipe that `anneal data prepare` submits. */
import { expect, test } from 'vitest';
import { preparationRecipe } from '../../src/cli/prepare.ts';
import type { Client } from '../../src/client/client.ts';

test('a tokenizer that is trained on the files reads them as the dataset does', async () => {
  const reading = { format: 'csv', fields: { text: 'body' }, where: { lang: 'en' }, max_rejected: 0.1 };
  const preparation = {
    files: ['a.txt'],
    name: 'data',
    tokenizer: undefined,
    part: undefined,
    workDir: undefined,
    settings: { ...reading, cleaning: { c4: true } },
  };
  expect(await preparationRecipe({} as Client, preparation)).toEqual({
    name: 'data',
    stages: {
      tokenizer: { ...reading, files: ['a.txt'] },
      prepare: { ...reading, cleaning: { c4: true }, tokenizer: 'tokenizer', files: ['a.txt'] },
    },
  });
});
