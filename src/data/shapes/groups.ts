/**
 * Rows of preference data: TRL's pairs (the prompt explicit or the common beginning of both sides; text or
 * conversation), its unpaired rows with a label, ranked lists, completions with a teacher's stored
 * log-probabilities, and what the `rank` stage writes. What a row may lack is decided here once, for all stages.
 */
import {
  answerOf,
  checkedIds,
  commonPrompt,
  numberIfAny,
  promptOf,
  type RawAnswer,
  type RawGroup,
  type RawPrompt,
  type Side,
  sideOf,
  truthOf,
} from './answers.ts';
import { describe, isRecord } from './errors.ts';
import { parsedJson } from './messages.ts';
import { type ReadRow, type RowSource, readRows } from './read.ts';
import type { FieldRow } from './row.ts';
import type { RowKind } from './shaper.ts';
import type { ShapeName } from './shapes.ts';
import { teacherOf } from './teacher.ts';

/** What a stage trains on. */
export type GroupKind = 'pairs' | 'labels' | 'rankings' | 'completions';

const TAKES: Record<GroupKind, readonly ShapeName[]> = {
  pairs: ['responses', 'pair'],
  labels: ['labelled', 'pair', 'responses'],
  rankings: ['responses', 'pair'],
  completions: ['responses', 'completion', 'messages', 'alpaca'],
};

/** Reads rows, in order, as what a stage trains on; a row may give several groups (or none). */
export function readGroups(source: RowSource, kind: GroupKind): AsyncGenerator<ReadRow<RawGroup[]>> {
  return readRows(source, groupKind(kind));
}

/** How a kind of groups is read. */
export function groupKind(kind: GroupKind): RowKind<ShapeName, RawGroup[]> {
  return {
    takes: TAKES[kind],
    parse(row, shape) {
      switch (kind) {
        case 'completions':
          return shape === 'responses' ? responseGroups(row) : [completion(row, shape)];
        case 'labels':
          if (shape === 'labelled') return [labelled(row)];
          return (shape === 'pair' ? [pair(row)] : rankedPairs(row)).flatMap(unpaired);
        case 'pairs':
          return shape === 'pair' ? [pair(row)] : rankedPairs(row);
        case 'rankings':
          return [shape === 'pair' ? pair(row) : ranked(row)];
      }
    },
  };
}

function pair(row: FieldRow): RawGroup {
  const [chosen, rejected] = [sideOf(row, 'chosen'), sideOf(row, 'rejected')];
  if (typeof chosen !== typeof rejected)
    throw row.failRole('rejected', 'must be of the kind that chosen is: both text, or both messages');
  const { prompt, answers } = hasPromptApart(row, chosen)
    ? {
        prompt: promptOf(row),
        answers: [
          answerOf(row, 'chosen', chosen, 'chosen_ids'),
          answerOf(row, 'rejected', rejected, 'rejected_ids'),
        ],
      }
    : commonPrompt(row, chosen, rejected);
  return { ...group(row, prompt, answers, [[0], [1]]), margin: numberIfAny(row, 'margin') };
}

/** Whether the answers stand apart from the prompt: beside a prompt in text, conversations contain it. */
function hasPromptApart(row: FieldRow, chosen: Side): boolean {
  if (row.has('prompt')) return typeof row.get('prompt') !== 'string' || typeof chosen === 'string';
  return row.has('messages') || row.has('instruction');
}

function labelled(row: FieldRow): RawGroup {
  const { prompt, answer } = answered(row);
  return { ...group(row, prompt, [answer], [[0]]), desirable: truthOf(row, 'label') };
}

function completion(row: FieldRow, shape: ShapeName): RawGroup {
  const { prompt, answer } = shape === 'messages' ? lastTurn(row) : answered(row);
  // A teacher is asked about every token of an answer.
  if ((answer.messages?.length ?? 1) > 1)
    throw row.failRole('completion', 'must be one message of the assistant');
  return { ...group(row, prompt, [answer], [[0]]), teacher: teacherOf(row) };
}

/** A prompt with one answer: a completion, Alpaca's output, or the last turn of a conversation. */
function answered(row: FieldRow): { prompt: RawPrompt; answer: RawAnswer } {
  const role = row.has('completion') ? 'completion' : 'output';
  if (!row.has(role)) return lastTurn(row);
  const side = sideOf(row, role);
  const prompt = promptOf(row, typeof side !== 'string');
  return { prompt, answer: answerOf(row, role, side, 'completion_ids') };
}

function lastTurn(row: FieldRow): { prompt: RawPrompt; answer: RawAnswer } {
  const prompt = promptOf(row);
  const messages = prompt.messages!;
  if (messages.length < 2) throw row.failRole('messages', 'has nothing before the answer');
  return {
    prompt: { ...prompt, messages: messages.slice(0, -1) },
    answer: answerOf(row, 'messages', messages.slice(-1), 'completion_ids'),
  };
}

function ranked(row: FieldRow): RawGroup {
  const whole = unranked(row);
  return { ...whole, ranking: rankingOf(row, whole.answers.length) };
}

function unranked(row: FieldRow): RawGroup {
  const responses = responsesOf(row);
  if (responses.length === 0) throw row.failRole('responses', 'must be a list of answers, is an empty list');
  const answers = responses.map((response, i): RawAnswer => {
    if (typeof response === 'string') return { text: response, ids: undefined };
    const field = `${row.field('responses')}.${i}`;
    if (!isRecord(response))
      throw row.fail(field, `must be text or an object with text, is ${describe(response)}`);
    const { text, ids } = response;
    if (typeof text !== 'string') throw row.fail(`${field}.text`, `must be text, is ${describe(text)}`);
    return { text, ids: checkedIds(ids, `${field}.ids`, row.fail) };
  });
  return group(row, promptOf(row), answers, []);
}

function responsesOf(row: FieldRow): readonly unknown[] {
  const responses = parsedJson(row.get('responses'));
  if (Array.isArray(responses)) return responses;
  throw row.failRole('responses', `must be a list of answers, is ${describe(responses)}`);
}

/** Each response of a `generate` stage as a completion. */
function responseGroups(row: FieldRow): RawGroup[] {
  const whole = unranked(row);
  return whole.answers.map((answer, i) => ({
    ...whole,
    origin: `${whole.origin}#${i}`,
    answers: [answer],
    ranking: [[0]],
  }));
}

/** `ranking` as lists or numbers, or what `scores` (of the row, or `score` of each response) make of it. */
function rankingOf(row: FieldRow, count: number): number[][] {
  const ranking = parsedJson(row.get('ranking'));
  if (ranking === undefined) {
    const given =
      parsedJson(row.get('scores')) ??
      responsesOf(row).map((each) => (isRecord(each) ? each.score : undefined));
    if (!Array.isArray(given) || given.length !== count)
      throw row.failRole('ranking', 'is missing, and there is no list of scores with one for each response');
    return tiersOf(
      given.map((score: unknown, i) => {
        if (score === null || (typeof score === 'number' && Number.isFinite(score))) return score;
        throw row.failRole('scores', `must be a number or null, is ${describe(score)}`, `.${i}`);
      }),
    );
  }
  if (!Array.isArray(ranking)) throw row.failRole('ranking', `must be a list, is ${describe(ranking)}`);
  const seen = new Set<number>();
  return ranking.map((tier: unknown, t) =>
    (Array.isArray(tier) ? tier : [tier]).map((index: unknown) => {
      if (typeof index !== 'number' || !Number.isInteger(index) || index < 0 || index >= count)
        throw row.failRole('ranking', `must name responses by number, from 0 to ${count - 1}`, `.${t}`);
      if (seen.has(index)) throw row.failRole('ranking', `names response ${index} a second time`, `.${t}`);
      seen.add(index);
      return index;
    }),
  );
}

/** The pairs of a ranking: each answer with every worse one. */
function rankedPairs(row: FieldRow): RawGroup[] {
  const whole = ranked(row);
  return whole.ranking.flatMap((tier, t) =>
    whole.ranking.slice(t + 1).flatMap((lower) =>
      tier.flatMap((better) =>
        lower.map((worse) => ({
          ...whole,
          origin: `${whole.origin}#${better}>${worse}`,
          answers: [whole.answers[better]!, whole.answers[worse]!],
          ranking: [[0], [1]],
        })),
      ),
    ),
  );
}

function group(row: FieldRow, prompt: RawPrompt, answers: RawAnswer[], ranking: number[][]): RawGroup {
  return {
    origin: row.origin,
    prompt,
    answers,
    ranking,
    margin: undefined,
    desirable: undefined,
    teacher: undefined,
  };
}

/** Two labelled answers of a pair. */
function unpaired(of: RawGroup): RawGroup[] {
  return of.answers.map((answer, i) => ({
    ...of,
    origin: `${of.origin}#${i === 0 ? 'chosen' : 'rejected'}`,
    answers: [answer],
    ranking: [[0]],
    desirable: i === 0,
  }));
}

/** Indices by falling score, equal scores together; null is left out. */
function tiersOf(scores: readonly (number | null)[]): number[][] {
  const levels = [...new Set(scores.filter((score) => score !== null))].sort((a, b) => b - a);
  return levels.map((level) => [...scores.keys()].filter((i) => scores[i] === level));
}
