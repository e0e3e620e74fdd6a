/**
 * A teacher's likeliest tokens at each token of the answers: as the rows bring them, or from the teacher model, once
 * beforehand, kept by content for other runs over the same rows.
 */
import { join } from 'node:path';
import { AnnealError } from '../../proto/errors.ts';
import type { AnswerGroup } from '../data/preference.ts';
import { openModelFolder } from '../models/load.ts';
import type { Architecture, Batch, Session } from '../native/addon.ts';
import { type StageContext, StageStopped } from '../stages/stage.ts';
import type { Tokenizer } from '../tokenizer/tokenizer.ts';
import { batchesOf, type PackOptions, packGroups } from './batch.ts';
import { ContentCache, cacheKey, modelContentHash } from './content_cache.ts';
import { KEPT_BATCH_ROWS, type Provenance } from './reference.ts';
import { keptRoom, openAskedModel } from './reference_model.ts';
import type { PreferenceSettings } from './settings.ts';
import { requireTeacher } from './teacher_session.ts';

/** Log-probabilities of the likeliest tokens of scored rows, [rows * k]. */
interface TopLogProbs {
  ids: Int32Array;
  logProbs: Float32Array;
}

const PACK: PackOptions = { outputs: 'tokens' };

/** The k that all rows have; rows that bring more are cut to it. */
export function storedTeacher(groups: readonly AnswerGroup[], topK: number, stage: string): number {
  const without = groups.find(({ teacher }) => teacher === undefined);
  if (without) {
    throw new AnnealError('data_field', `${without.origin}: the row brings no top_ids and top_log_probs.`, {
      path: `stages.${stage}.teacher`,
      hint: 'Name a teacher model, or store its likeliest tokens in every row.',
    });
  }
  const k = groups.reduce((least, { teacher }) => Math.min(least, teacher!.k), topK);
  for (const group of groups) {
    const { k: own, ids, logProbs } = group.teacher!;
    if (own === k) continue;
    const kept = (_: number, i: number) => i % own < k;
    group.teacher = { k, ids: ids.filter(kept), logProbs: logProbs.filter(kept) };
  }
  return k;
}

/** Gives the rows of a stage their teacher's k likeliest tokens, stored or asked for; returns the k that all have. */
export async function teachRows(
  context: StageContext<PreferenceSettings & { teacher?: string | undefined; teacher_temperature: number }>,
  groups: readonly AnswerGroup[],
  tokenizer: Tokenizer,
  student: Pick<Architecture, 'vocabSize'>,
  k: number,
): Promise<number> {
  const { settings, inputs, name, threads, cacheDir, emit } = context;
  if (!inputs.teacher) return storedTeacher(groups, k, name);
  const { path } = inputs.teacher;
  await requireTeacher(path, student, tokenizer, name);
  let session: Session | undefined;
  try {
    const result = await askTeacher(
      groups,
      { k, temperature: settings.teacher_temperature },
      { model: await modelContentHash(await openModelFolder(path)), threads },
      new ContentCache(join(cacheDir, 'model_outputs')),
      async () => {
        session ??= await openAskedModel(context, path, keptRoom(groups, PACK));
        return session;
      },
      async () => {
        if (context.checkpointRequested()) throw new StageStopped();
      },
    );
    const text = `The teacher's likeliest tokens: ${result.found} rows found, ${result.computed} computed.`;
    emit('notice', { stage: name, level: 'info', text }, `${name}/teacher`);
    return k;
  } finally {
    await session?.close();
  }
}

/** Gives each group what the model says; returns how many rows were found and computed. */
export async function askTeacher(
  groups: readonly AnswerGroup[],
  options: { k: number; temperature: number },
  provenance: Provenance,
  cache: ContentCache,
  model: () => Promise<{ topLogProbs(batch: Batch, k: number): Promise<TopLogProbs> }>,
  between: () => Promise<void>,
): Promise<{ found: number; computed: number }> {
  const { k, temperature } = options;
  const result = { found: 0, computed: 0 };
  for (const batch of batchesOf(groups, PACK, KEPT_BATCH_ROWS)) {
    await between();
    const key = cacheKey({
      kind: 'top_log_probs',
      k,
      temperature,
      ...provenance,
      rows: batch.map(({ prompt, answers }) => [[...prompt], ...answers.map((answer) => [...answer])]),
    });
    const length = k * batch.reduce((sum, { answers }) => sum + answers[0]!.length, 0);
    const [ids, logProbs] = (await cache.read(key)) ?? [];
    let top: TopLogProbs;
    if (ids?.length === 4 * length && logProbs?.length === 4 * length) {
      top = { ids: new Int32Array(ids.buffer), logProbs: new Float32Array(logProbs.buffer) };
      result.found += batch.length;
    } else {
      const packed = packGroups(batch, PACK).batch;
      top = await (await model()).topLogProbs(
        { ...packed, ...(temperature === 1 ? {} : { temperature }) },
        k,
      );
      await cache.write(key, [top.ids, top.logProbs]);
      result.computed += batch.length;
    }
    let at = 0;
    for (const group of batch) {
      const end = at + k * group.answers[0]!.length;
      group.teacher = { k, ids: top.ids.subarray(at, end), logProbs: top.logProbs.subarray(at, end) };
      at = end;
    }
  }
  return result;
}
