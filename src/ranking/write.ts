/** The artifact of a `rank` stage: rankings, the pairs that they make, and whose tokens they hold. */
import { join } from 'node:path';
import type { StageContext } from '../stages/stage.ts';
import { writeFileAtomic } from '../util/files.ts';
import type { Labelled } from './labelled.ts';
import { makePairs, rankingOf } from './order.ts';
import { DATASET_FILE, type DatasetFile, inputFields, RANKINGS_FILE, type ResponseRow } from './responses.ts';
import type { RankSettings } from './settings.ts';

type Context = StageContext<RankSettings>;

/** Writes rankings, pairs and dataset.json; returns how many pairs there are. */
export async function writeRankings(
  { settings, outDir, name, emit }: Context,
  rows: readonly ResponseRow[],
  { rows: labels }: Labelled,
  dataset: DatasetFile | undefined,
): Promise<number> {
  const rankings: string[] = [];
  const pairs: string[] = [];
  for (const [i, row] of rows.entries()) {
    const { scores } = labels[i]!;
    const { id, prompt, messages, promptIds, fields, responses } = row;
    const asked = {
      ...(messages ? { messages } : { prompt }),
      ...(messages && inputFields(row)),
      ...(promptIds ? { prompt_ids: promptIds } : {}),
    };
    rankings.push(
      JSON.stringify({
        id,
        ...asked,
        fields,
        responses: responses.map((response, r) => ({ ...response, score: scores[r] })),
        ranking: rankingOf(scores),
      }),
    );
    const texts = responses.map(({ text }) => text);
    for (const { chosen, rejected, margin } of makePairs(
      texts,
      scores,
      settings.pairs,
      settings.min_margin,
    )) {
      const [better, worse] = [responses[chosen]!, responses[rejected]!];
      pairs.push(
        JSON.stringify({
          ...asked,
          chosen: better.text,
          rejected: worse.text,
          ...(better.ids && worse.ids ? { chosen_ids: better.ids, rejected_ids: worse.ids } : {}),
          margin,
          origin: `${id}#${chosen}>${rejected}`,
        }),
      );
    }
  }
  if (pairs.length === 0) {
    const text = 'No pairs: no response is better than another to the same prompt (by min_margin at least).';
    emit('notice', { stage: name, level: 'warning', text }, `${name}/no-pairs`);
  }
  const lines = (of: string[]) => of.map((line) => `${line}\n`).join('');
  await writeFileAtomic(join(outDir, RANKINGS_FILE), lines(rankings));
  await writeFileAtomic(join(outDir, 'pairs.jsonl'), lines(pairs));
  const made: DatasetFile = {
    format: 1,
    kind: 'rankings',
    tokenizer_hash: dataset?.tokenizer_hash ?? 'unknown',
    chat_template_hash: dataset?.chat_template_hash ?? null,
    rows: rows.length,
  };
  await writeFileAtomic(join(outDir, DATASET_FILE), `${JSON.stringify(made, null, 2)}\n`);
  return pairs.length;
}
