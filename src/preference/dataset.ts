/**
 * A preference stage's rows: from files or from the artifact of a `rank` or `generate` stage to groups of ids, audited,
 * what is left out counted and told.
 */
import { dirname, join } from 'node:path';
import { z } from 'zod';
import { AnnealError } from '../../proto/errors.ts';
import type { EventBody } from '../../proto/events.ts';
import { type AnswerGroup, encodeGroup, fitGroups, type Skips } from '../data/preference.ts';
import { type GroupKind, readGroups } from '../data/shapes/groups.ts';
import { type RowSource, stageRows } from '../data/shapes/read.ts';
import type { RowSettings } from '../data/shapes/settings.ts';
import { type Artifact, type StageContext, StageStopped } from '../stages/stage.ts';
import type { Tokenizer } from '../tokenizer/tokenizer.ts';
import { type AuditedRow, auditRows } from '../training/audit.ts';
import { exists, readJson } from '../util/files.ts';
import { sha256 } from '../util/hash.ts';

export const TOO_LONG = ['truncate', 'drop'] as const;

/** How a stage reads its rows. */
export interface DatasetRules {
  kind: GroupKind;
  maxLength: number;
  tooLong: (typeof TOO_LONG)[number] | undefined;
  /** What the objective looks at: the answers' tokens, those of prompts too, or the last token of each answer. */
  scored: 'answers' | 'all' | 'last';
}

type Context = Pick<
  StageContext<RowSettings>,
  'name' | 'baseDir' | 'outDir' | 'settings' | 'emit' | 'checkpointRequested'
>;

export interface PreferenceData {
  groups: AnswerGroup[];
  /** EOS, and the special tokens that close answers. */
  closingIds: Set<number>;
}

/** The file of a `rank` or `generate` artifact that a kind of rows is read from. */
export const ARTIFACT_FILES: Record<GroupKind, string[]> = {
  pairs: ['pairs.jsonl'],
  labels: ['pairs.jsonl'],
  rankings: ['rankings.jsonl'],
  completions: ['responses.jsonl', 'rankings.jsonl'],
};

/** Reads, audits and fits the training rows; emits the audit and the notices. */
export async function readTrainingRows(
  context: Context,
  dataset: readonly string[],
  artifact: Artifact | undefined,
  tokenizer: Tokenizer,
  rules: DatasetRules,
): Promise<PreferenceData> {
  const skips: Skips = new Map();
  const files = artifact ? [await artifactFile(artifact, rules.kind, context.name)] : dataset;
  const groups = await readRows(context, stageRows(context, files), tokenizer, rules, skips);
  const closingIds = closingTokens(groups, tokenizer);
  const { name } = context;
  if (groups.length === 0 && skips.size > 0) throw nothingLeft(name, skips);
  const audit = auditRows(auditedRows(groups, rules), tokenizer, {
    stage: name,
    maxLength: rules.maxLength,
    tooLong: rules.tooLong,
    tooLongChoices: TOO_LONG,
    endIds: closingIds,
  });
  const fitted = fitGroups(groups, { ...rules, tooLong: rules.tooLong ?? 'truncate' }, skips);
  if (fitted.length === 0) throw nothingLeft(name, skips);
  const skipped = Object.fromEntries([...skips].map(([reason, { count }]) => [reason, count]));
  const body: EventBody<'audit'> = { ...audit, rows: groups.length };
  context.emit('audit', skips.size === 0 ? body : { ...body, skipped }, `${name}/audit`);
  for (const [reason, { count, first }] of skips) {
    const text = `${count} of the rows left out: ${reason} (the first is ${first}).`;
    context.emit('notice', { stage: name, level: 'warning', text }, `${name}/skipped/${reason}`);
  }
  return { groups: fitted, closingIds };
}

/** Reads and fits the validation rows. */
export async function readValidationRows(
  context: Context,
  files: readonly string[],
  tokenizer: Tokenizer,
  rules: DatasetRules,
): Promise<AnswerGroup[]> {
  const skips: Skips = new Map();
  const groups = await readRows(context, stageRows(context, files, 'eval_dataset'), tokenizer, rules, skips);
  const fitted = fitGroups(groups, { ...rules, tooLong: rules.tooLong ?? 'truncate' }, skips);
  if (fitted.length > 0) return fitted;
  throw new AnnealError('data_empty', `${context.name}: the rows to validate on teach nothing.`, {
    path: `stages.${context.name}.eval_dataset`,
  });
}

async function readRows(
  context: Context,
  source: RowSource,
  tokenizer: Tokenizer,
  { kind }: DatasetRules,
  skips: Skips,
): Promise<AnswerGroup[]> {
  const groups: AnswerGroup[] = [];
  /** By folder, whether its ids are the tokenizer's; and the files whose ids were not used. */
  const folders = new Map<string, Origin>();
  const encodedAnew = new Map<string, Origin>();
  for await (const row of readGroups(source, kind)) {
    const { unit } = row;
    const folder = dirname(unit.path);
    const origin = folders.get(folder) ?? (await sampledWith(folder, tokenizer));
    folders.set(folder, origin);
    const encoded = row.attempt((content) =>
      content.flatMap((group) => {
        const ids = group.answers.some((answer) => answer.ids !== undefined);
        if (group.teacher && origin === 'another') throw otherTeacher(group.origin);
        // A teacher's tokens are ids of the student's vocabulary, or they could not be compared at all.
        const takeIds = origin === 'same' || (group.teacher !== undefined && ids);
        if (ids && !takeIds) encodedAnew.set(unit.location, origin);
        return encodeGroup(group, tokenizer, { kind, takeIds }, skips) ?? [];
      }),
    );
    for (const group of encoded ?? []) groups.push(checked(group, tokenizer));
    if (groups.length % 1_000 === 999 && context.checkpointRequested()) throw new StageStopped();
  }
  for (const [file, origin] of encodedAnew) {
    const why =
      origin === 'unknown'
        ? 'no dataset.json beside it names their tokenizer'
        : 'they are of another tokenizer';
    const text = `${file}: the ids of its answers are not used (${why}); the texts are encoded anew.`;
    context.emit(
      'notice',
      { stage: context.name, level: 'warning', text },
      `${context.name}/encoded/${file}`,
    );
  }
  return groups;
}

type Origin = 'same' | 'another' | 'unknown';

const datasetSchema = z.looseObject({
  tokenizer_hash: z.string(),
  chat_template_hash: z.string().nullish(),
});

/** Whether what lies in a folder was sampled with this tokenizer and template; unknown where nothing says so. */
async function sampledWith(dir: string, tokenizer: Tokenizer): Promise<Origin> {
  const path = join(dir, 'dataset.json');
  if (!(await exists(path))) return 'unknown';
  const parsed = datasetSchema.safeParse(await readJson(path, 'artifact_corrupt'));
  if (!parsed.success) return 'unknown';
  const { tokenizer_hash, chat_template_hash } = parsed.data;
  const template = tokenizer.chatTemplate === undefined ? undefined : sha256(tokenizer.chatTemplate);
  const sameTemplate =
    chat_template_hash === null || chat_template_hash === undefined || chat_template_hash === template;
  return tokenizer_hash === tokenizer.hash && sameTemplate ? 'same' : 'another';
}

async function artifactFile(artifact: Artifact, kind: GroupKind, stage: string): Promise<string> {
  for (const name of ARTIFACT_FILES[kind]) {
    const path = join(artifact.path, name);
    if (await exists(path)) return path;
  }
  throw new AnnealError('file_not_found', `${artifact.path} has no ${ARTIFACT_FILES[kind].join(' or ')}.`, {
    path: `stages.${stage}.dataset`,
    hint: 'Name a rank stage, the folder of its result, or data files.',
  });
}

/** A group whose ids are all of the vocabulary. */
function checked(group: AnswerGroup, { vocabSize }: Tokenizer): AnswerGroup {
  const unknown = [group.prompt, ...group.answers, ...(group.teacher ? [group.teacher.ids] : [])]
    .map((ids) => ids.find((id) => id >= vocabSize))
    .find((id) => id !== undefined);
  if (unknown === undefined) return group;
  throw new AnnealError(
    'data_field',
    `${group.origin}: token id ${unknown} is not in the vocabulary of ${vocabSize} tokens.`,
    { path: group.origin, hint: 'The ids belong to another tokenizer.' },
  );
}

function otherTeacher(origin: string): AnnealError {
  return new AnnealError('tokenizer_invalid', `${origin}: the teacher's tokens are of another tokenizer.`, {
    path: origin,
    hint: 'Distillation from log-probabilities needs one vocabulary; sample texts from the teacher and use sft.',
  });
}

function nothingLeft(stage: string, skips: Skips): AnnealError {
  const reasons = [...skips].map(([reason, { count, first }]) => `${count}: ${reason} (${first})`);
  return new AnnealError('data_empty', `${stage}: no row is left to train on. ${reasons.join('; ')}.`, {
    path: `stages.${stage}.dataset`,
    hint: 'Look at the rows that are named.',
  });
}

/** Each prompt with each of its answers, as the audit reads it. */
function* auditedRows(groups: readonly AnswerGroup[], { kind, scored }: DatasetRules): Generator<AuditedRow> {
  for (const { prompt, answers, scored: counts, origin } of groups) {
    for (const [i, answer] of answers.entries()) {
      const ids = new Int32Array(prompt.length + answer.length);
      ids.set(prompt);
      ids.set(answer, prompt.length);
      const marks = new Uint8Array(ids.length);
      if (scored === 'last') marks[ids.length - 1] = 1;
      else marks.fill(1, scored === 'all' && i === 0 ? 1 : prompt.length);
      if (counts && scored !== 'last') marks.set(counts[i]!, prompt.length);
      const side =
        kind === 'pairs' ? [' chosen', ' rejected'][i] : answers.length > 1 ? ` answer ${i + 1}` : '';
      yield { ids, scored: marks, origin: `${origin}${side}` };
    }
  }
}

function closingTokens(groups: readonly AnswerGroup[], tokenizer: Tokenizer): Set<number> {
  const special = new Set(tokenizer.specials.values());
  const closing = new Set(tokenizer.eosId === undefined ? [] : [tokenizer.eosId]);
  for (const { answers } of groups) {
    for (const answer of answers) if (special.has(answer.at(-1)!)) closing.add(answer.at(-1)!);
  }
  return closing;
}
