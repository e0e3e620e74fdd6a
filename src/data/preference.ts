/**
 * Preference data as ids: prompts with their answers, each answer closed by what ends it. Prompt and answer are
 * encoded apart; what was sampled is taken as the very ids.
 */
import { AnnealError } from '../../proto/errors.ts';
import { chatPrompt, rawPrompt } from '../models/complete.ts';
import { encodeChat, unknownAnswer } from '../tokenizer/chat.ts';
import { checkAnswers } from '../tokenizer/chat_check.ts';
import { templateInputs } from '../tokenizer/chat_template.ts';
import type { Tokenizer } from '../tokenizer/tokenizer.ts';
import type { RawAnswer, RawGroup, RawPrompt, TopLogProbs } from './shapes/answers.ts';
import type { GroupKind } from './shapes/groups.ts';

/** A prompt and its answers. */
export interface AnswerGroup {
  origin: string;
  prompt: Int32Array;
  /** Each with the token that closes it. */
  answers: Int32Array[];
  /** Where answers have several messages, 1 where the assistant writes, for each of them; absent: everywhere. */
  scored?: Uint8Array[];
  /** Indices of answers, best first, equally good ones together. */
  ranking: number[][];
  margin: number | undefined;
  desirable: boolean | undefined;
  /** k ids and log-probabilities for each token of the first answer, [length * k]. */
  teacher: { k: number; ids: Int32Array; logProbs: Float32Array } | undefined;
}

/** Tokens of an answer that count. */
export function scoredTokens(
  { answers, scored }: Pick<AnswerGroup, 'answers' | 'scored'>,
  i: number,
): number {
  return scored ? scored[i]!.reduce((sum, each) => sum + each, 0) : answers[i]!.length;
}

export interface EncodeOptions {
  kind: GroupKind;
  /** Take the ids that rows bring: their tokenizer is this one. */
  takeIds: boolean;
}

/** Why rows are left out: how many, and the first of them. */
export type Skips = Map<string, { count: number; first: string }>;

/** Notes that a row is left out. */
export function skipRow(skips: Skips, reason: string, origin: string): void {
  const entry = skips.get(reason);
  if (entry) entry.count += 1;
  else skips.set(reason, { count: 1, first: origin });
}

/**
 * Encodes a row; one with nothing to learn from is counted in `skips` instead: an empty side, equal answers, answers
 * of which none is better than another.
 */
export function encodeGroup(
  row: RawGroup,
  tokenizer: Tokenizer,
  options: EncodeOptions,
  skips: Skips,
): AnswerGroup | undefined {
  const group = encode(row, tokenizer, options);
  if (typeof group !== 'string') return group;
  skipRow(skips, group, row.origin);
  return undefined;
}

/**
 * Groups of at most `maxLength` tokens, a prompt with its longest answer: longer ones are dropped, or their answers
 * cut; then a prompt that leaves no room and answers that differ beyond the cut only are left out. All is counted.
 */
export function fitGroups(
  groups: readonly AnswerGroup[],
  rules: { kind: GroupKind; maxLength: number; tooLong: 'drop' | 'truncate' },
  skips: Skips,
): AnswerGroup[] {
  const { kind, maxLength, tooLong } = rules;
  return groups.filter((group) => {
    const room = maxLength - group.prompt.length;
    if (group.answers.every(({ length }) => length <= room)) return true;
    if (tooLong === 'drop') {
      skipRow(skips, 'longer than max_length', group.origin);
      return false;
    }
    if (room <= 0) {
      skipRow(skips, 'the prompt alone fills max_length', group.origin);
      return false;
    }
    cutAnswers(group, room);
    if (group.answers.some(({ length }) => length === 0)) {
      skipRow(skips, 'nothing that the assistant writes fits in max_length', group.origin);
      return false;
    }
    if (group.teacher) group.teacher = cutTeacher(group.teacher, group.answers[0]!.length);
    if (kind === 'pairs' && equalIds(group.answers[0]!, group.answers[1]!)) {
      skipRow(skips, 'chosen and rejected are equal', group.origin);
      return false;
    }
    return true;
  });
}

/** Cuts answers to `room` tokens, and to the last one in it that counts. */
export function cutAnswers(group: Pick<AnswerGroup, 'answers' | 'scored'>, room: number): void {
  group.answers = group.answers.map((answer, i) => {
    const scored = group.scored?.[i];
    return answer.subarray(0, scored ? scored.subarray(0, room).lastIndexOf(1) + 1 : room);
  });
  const { answers, scored } = group;
  if (scored) group.scored = scored.map((marks, i) => marks.subarray(0, answers[i]!.length));
}

/** Ids of one row, or why it is left out. */
function encode(row: RawGroup, tokenizer: Tokenizer, options: EncodeOptions): AnswerGroup | string {
  const { kind, takeIds } = options;
  if (kind === 'rankings' && row.ranking.filter((tier) => tier.length > 0).length < 2)
    return 'no answer is better than another';
  // Answers without a rank are not computed.
  const used = row.ranking.flat();
  const place = new Map(used.map((index, i) => [index, i]));
  const texts = used.map((index) => row.answers[index]!);
  if (texts.some(({ text, ids }) => text.trim() === '' && !(takeIds && ids && ids.length > 0)))
    return 'an answer is empty';
  if (kind === 'pairs' && texts[0]!.text === texts[1]!.text) return 'chosen and rejected are equal';
  const prompt = encodePrompt(row.prompt, tokenizer, takeIds);
  if (prompt.length === 0) return 'the prompt is empty';
  const encoded = texts.map((answer) => encodeMarked(row.prompt, prompt, answer, tokenizer, takeIds));
  const answers = encoded.map(({ ids }) => ids);
  if (kind === 'pairs' && equalIds(answers[0]!, answers[1]!)) return 'chosen and rejected are equal';
  return {
    origin: row.origin,
    prompt,
    answers,
    ...(encoded.some(({ scored }) => scored.includes(0)) && { scored: encoded.map(({ scored }) => scored) }),
    ranking: row.ranking.filter((tier) => tier.length > 0).map((tier) => tier.map((i) => place.get(i)!)),
    margin: row.margin,
    desirable: row.desirable,
    teacher: row.teacher && encodeTeacher(row.teacher, answers[0]!.length, row.origin),
  };
}

/** Ids of a prompt up to where the answer begins. */
export function encodePrompt(prompt: RawPrompt, tokenizer: Tokenizer, takeIds: boolean): Int32Array {
  if (takeIds && prompt.ids) return Int32Array.from(prompt.ids);
  return prompt.messages
    ? chatPrompt(tokenizer, prompt.messages, prompt)
    : rawPrompt(tokenizer, prompt.text ?? '');
}

/** Ids of an answer with what ends it: as sampled, or encoded apart from its prompt. */
export function encodeAnswer(
  prompt: RawPrompt,
  promptIds: Int32Array,
  answer: RawAnswer,
  tokenizer: Tokenizer,
  takeIds: boolean,
): Int32Array {
  return encodeMarked(prompt, promptIds, answer, tokenizer, takeIds).ids;
}

/** The same, with 1 where the assistant writes: of several messages not everywhere. */
function encodeMarked(
  prompt: RawPrompt,
  promptIds: Int32Array,
  answer: RawAnswer,
  tokenizer: Tokenizer,
  takeIds: boolean,
): { ids: Int32Array; scored: Uint8Array } {
  const whole = (ids: Int32Array) => ({ ids, scored: new Uint8Array(ids.length).fill(1) });
  if (takeIds && answer.ids && answer.ids.length > 0) return whole(Int32Array.from(answer.ids));
  if (!prompt.messages) {
    const ids = tokenizer.encode(answer.text);
    return whole(tokenizer.eosId === undefined ? ids : Int32Array.from([...ids, tokenizer.eosId]));
  }
  const turns = answer.messages ?? [{ role: 'assistant', content: answer.text }];
  const messages = [...prompt.messages, ...turns];
  const chat = encodeChat(tokenizer, messages, templateInputs(prompt));
  const { ids, scored } = chat;
  const end = scored.lastIndexOf(1) + 1;
  const joined = promptIds.every((id, i) => ids[i] === id);
  if (turns.length === 1) {
    // Where the template renders an answered prompt otherwise, the answer is the run of scored tokens at the end.
    return whole(ids.slice(joined ? promptIds.length : scored.subarray(0, end).lastIndexOf(0) + 1, end));
  }
  checkAnswers(tokenizer, messages, chat);
  const asked = prompt.messages.length;
  const first = chat.spans.find(({ message, end: last }) =>
    message === undefined ? joined && last > promptIds.length : message >= asked,
  );
  if (!first) throw unknownAnswer();
  const start = joined ? promptIds.length : first.start;
  const marks = scored.slice(start, end);
  marks.fill(1, 0, first.end - start);
  return { ids: ids.slice(start, end), scored: marks };
}

type Teacher = NonNullable<AnswerGroup['teacher']>;

function cutTeacher({ k, ids, logProbs }: Teacher, length: number): Teacher {
  return { k, ids: ids.subarray(0, length * k), logProbs: logProbs.subarray(0, length * k) };
}

/** A teacher's tokens at each token of an answer: the k likeliest that every position has. */
function encodeTeacher(teacher: TopLogProbs, length: number, origin: string): Teacher {
  if (teacher.ids.length !== length) {
    throw new AnnealError(
      'data_field',
      `${origin}: field top_ids has ${teacher.ids.length} positions for an answer of ${length} tokens.`,
      {
        path: `${origin}:top_ids`,
        hint: 'Store completion_ids beside them: the ids that the log-probabilities belong to, the closing one included.',
      },
    );
  }
  const k = Math.min(...teacher.ids.map((row) => row.length));
  const ids = new Int32Array(length * k);
  const logProbs = new Float32Array(length * k);
  for (let t = 0; t < length; t++) {
    const values = teacher.logProbs[t]!;
    const likeliest = [...values.keys()].sort((a, b) => values[b]! - values[a]!).slice(0, k);
    ids.set(
      likeliest.map((i) => teacher.ids[t]![i]!),
      t * k,
    );
    logProbs.set(
      likeliest.map((i) => values[i]!),
      t * k,
    );
  }
  return { k, ids, logProbs };
}

function equalIds(a: Int32Array, b: Int32Array): boolean {
  return a.length === b.length && a.every((id, i) => id === b[i]);
}
