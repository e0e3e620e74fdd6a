/** Rows of preference data as groups: as they are read, encoded, and as text again. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll } from 'vitest';
import { type AnswerGroup, encodeGroup, fitGroups, type Skips } from '../../src/data/preference.ts';
import type { RawGroup } from '../../src/data/shapes/answers.ts';
import { type GroupKind, readGroups } from '../../src/data/shapes/groups.ts';
import { plainRows } from '../../src/data/shapes/read.ts';
import type { Tokenizer } from '../../src/tokenizer/tokenizer.ts';
import { temporaryFolder } from '../data/stage_context.ts';
import { trainTokenizer } from '../tokenizer/fixture.ts';

export const turn = (role: string, content: string) => ({ role, content });

interface EncodeOptions {
  takeIds?: boolean;
  maxLength?: number;
  tooLong?: 'drop' | 'truncate';
}

/** Trains a tokenizer before the tests of the file that calls it, and removes its folder after. */
export function groupEncoder() {
  const folder = temporaryFolder();
  afterAll(folder.remove);
  let tokenizer: Tokenizer;
  beforeAll(async () => {
    tokenizer = await trainTokenizer(join(folder.path, 'tokenizer'), 'gpt2');
  });

  let files = 0;
  async function raw(kind: GroupKind, ...rows: unknown[]): Promise<RawGroup[]> {
    const path = join(folder.path, `rows-${files++}.jsonl`);
    writeFileSync(path, `${rows.map((row) => JSON.stringify(row)).join('\n')}\n`);
    const groups: RawGroup[] = [];
    for await (const { content } of readGroups(plainRows([path]), kind)) groups.push(...content);
    return groups;
  }

  async function encoded(
    kind: GroupKind,
    rows: unknown[],
    options: EncodeOptions = {},
  ): Promise<{ groups: AnswerGroup[]; skips: Skips }> {
    const skips: Skips = new Map();
    const { takeIds = false, maxLength = 1000, tooLong = 'truncate' } = options;
    const all = (await raw(kind, ...rows)).map((row) =>
      encodeGroup(row, tokenizer, { kind, takeIds }, skips),
    );
    const groups = all.filter((group) => group !== undefined);
    return { groups: fitGroups(groups, { kind, maxLength, tooLong }, skips), skips };
  }

  const decode = (ids: Int32Array): string => tokenizer.decode(ids);
  const tokensOf = (text: string): number => tokenizer.encodeWithSpecials(text).length;
  /** A group as text, special tokens shown. */
  const shown = ({ prompt, answers }: AnswerGroup): string[] => [prompt, ...answers].map(decode);
  return { folder, raw, encoded, shown, decode, tokensOf };
}
