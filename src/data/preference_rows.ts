/**
 * Rows of preference data as they stand in files: TRL's pairs (the prompt explicit or the common beginning of both
 * sides; text or conversation), its unpaired rows with a label, ranked lists, completions with a teacher's stored
 * log-probabilities, and what the `rank` stage writes. A row that does not fit is an AnnealError with file, line and
 * field; what a row may lack is decided here once, for all stages.
 */
import { AnnealError } from '../../proto/errors.ts';
import type { ChatMessage } from '../tokenizer/chat_template.ts';
import { readLines } from './lines.ts';
import { describe, parseLine, type RowPlace, rowOrigin } from './rows.ts';

/** A prompt: text that is gone on from, or a conversation that is answered; with its ids if it was sampled from. */
export interface RawPrompt {
  text: string | undefined;
  messages: ChatMessage[] | undefined;
  ids: number[] | undefined;
}

/** An answer: text, with its ids if it was sampled. */
export interface RawAnswer {
  text: string;
  ids: number[] | undefined;
}

/** The most likely tokens of a teacher at each token of an answer. */
export interface TopLogProbs {
  ids: number[][];
  logProbs: number[][];
}

/** A prompt with its answers, before anything is encoded. */
export interface RawGroup {
  origin: string;
  prompt: RawPrompt;
  answers: RawAnswer[];
  /** Indices of answers, best first, equally good ones together. Of a pair: [[0], [1]]. */
  ranking: number[][];
  margin: number | undefined;
  /** Of a labelled answer. */
  desirable: boolean | undefined;
  teacher: TopLogProbs | undefined;
}

/** What a stage trains on. */
export type GroupKind = 'pairs' | 'labels' | 'rankings' | 'completions';

const HINTS: Record<GroupKind, string> = {
  pairs: 'A row has `chosen` and `rejected`, with `prompt` (or the prompt at the beginning of both).',
  labels: 'A row has `prompt`, `completion` and `label` (true or false), or `prompt`, `chosen`, `rejected`.',
  rankings:
    'A row has `prompt`, `chosen`, `rejected`, or `prompt`, `responses` and their `ranking` (or `scores`).',
  completions: 'A row has `prompt` and `completion`, or `messages` that end with the assistant.',
};

type Fields = Record<string, unknown>;

/** Reads the rows of files, in order, as what a stage trains on; a row may give several (or none). */
export async function* readGroups(files: readonly string[], kind: GroupKind): AsyncGenerator<RawGroup> {
  for (const file of files) {
    for await (const lines of readLines(file)) {
      for (const { number, bytes } of lines) {
        if (bytes.toString().trim() === '') continue;
        const place = { file, line: number };
        yield* new RowParser(parseLine(bytes, place), place, kind).groups();
      }
    }
  }
}

/** One row; its methods throw with the row's place. */
class RowParser {
  readonly #row: Fields;
  readonly #place: RowPlace;
  readonly #kind: GroupKind;

  constructor(row: Fields, place: RowPlace, kind: GroupKind) {
    this.#row = row;
    this.#place = place;
    this.#kind = kind;
  }

  groups(): RawGroup[] {
    const row = this.#row;
    switch (this.#kind) {
      case 'completions':
        return row.responses === undefined ? [this.#completion()] : this.#responses();
      case 'labels':
        if (row.completion === undefined && row.chosen !== undefined) return unpaired(this.#pair());
        if (row.completion === undefined && row.responses !== undefined)
          return this.#rankedPairs().flatMap(unpaired);
        return [this.#labelled()];
      case 'pairs':
        return row.responses === undefined ? [this.#pair()] : this.#rankedPairs();
      case 'rankings':
        return [row.responses === undefined ? this.#pair() : this.#ranked()];
    }
  }

  #pair(): RawGroup {
    const { row, chosen, rejected } = {
      row: this.#row,
      chosen: this.#side('chosen'),
      rejected: this.#side('rejected'),
    };
    const { margin } = row;
    if (margin !== undefined && margin !== null && !(typeof margin === 'number' && Number.isFinite(margin)))
      throw this.#error('margin', `must be a number, is ${describe(margin)}`);
    if (typeof chosen !== typeof rejected)
      throw this.#error('rejected', 'must be of the kind that chosen is: both text, or both messages');
    const { prompt, answers } =
      this.#explicitPrompt(chosen) === undefined
        ? this.#implicit(chosen, rejected)
        : {
            prompt: this.#prompt(),
            answers: [this.#answer('chosen', chosen), this.#answer('rejected', rejected)],
          };
    return {
      ...this.#group(prompt, answers, [[0], [1]]),
      margin: typeof margin === 'number' ? margin : undefined,
    };
  }

  /** The prompt's field, unless the answers contain it: conversations beside a prompt in text, or no field at all. */
  #explicitPrompt(chosen: string | ChatMessage[]): unknown {
    const prompt = this.#row.prompt ?? this.#row.messages;
    return typeof prompt === 'string' && typeof chosen !== 'string' ? undefined : prompt;
  }

  #implicit(
    chosen: string | ChatMessage[],
    rejected: string | ChatMessage[],
  ): { prompt: RawPrompt; answers: RawAnswer[] } {
    if (typeof chosen === 'string' || typeof rejected === 'string') {
      const [a, b] = [chosen as string, rejected as string];
      const cut = commonText(a, b);
      if (cut === 0) {
        throw this.#error('prompt', 'is missing, and chosen and rejected have no common beginning');
      }
      return {
        prompt: { text: a.slice(0, cut), messages: undefined, ids: undefined },
        answers: [a, b].map((text) => ({ text: text.slice(cut), ids: undefined })),
      };
    }
    let turns = 0;
    while (
      turns < Math.min(chosen.length, rejected.length) - 1 &&
      JSON.stringify(chosen[turns]) === JSON.stringify(rejected[turns])
    )
      turns += 1;
    if (turns === 0)
      throw this.#error('prompt', 'is missing, and chosen and rejected begin with different messages');
    return {
      prompt: { text: undefined, messages: chosen.slice(0, turns), ids: undefined },
      answers: [this.#answer('chosen', chosen.slice(turns)), this.#answer('rejected', rejected.slice(turns))],
    };
  }

  #labelled(): RawGroup {
    const { label } = this.#row;
    if (typeof label !== 'boolean')
      throw this.#error('label', `must be true or false, is ${describe(label)}`);
    const group = this.#group(this.#prompt(), [this.#answer('completion', this.#side('completion'))], [[0]]);
    return { ...group, desirable: label };
  }

  #completion(): RawGroup {
    const row = this.#row;
    const { prompt, answer } =
      row.completion === undefined && row.messages !== undefined
        ? this.#lastTurn()
        : { prompt: this.#prompt(), answer: this.#answer('completion', this.#side('completion')) };
    return { ...this.#group(prompt, [answer], [[0]]), teacher: this.#teacher() };
  }

  #lastTurn(): { prompt: RawPrompt; answer: RawAnswer } {
    const messages = this.#messages('messages', this.#row.messages);
    if (messages.length < 2) throw this.#error('messages', 'has nothing before the answer');
    return {
      prompt: { text: undefined, messages: messages.slice(0, -1), ids: this.#ids('prompt_ids') },
      answer: this.#answer('messages', messages.slice(-1), 'completion_ids'),
    };
  }

  #teacher(): TopLogProbs | undefined {
    const { top_ids: ids, top_log_probs: logProbs } = this.#row;
    if (ids === undefined && logProbs === undefined) return undefined;
    const matrix = (
      field: string,
      value: unknown,
      kind: string,
      allowed: (x: number) => boolean,
    ): number[][] => {
      const fits = (row: unknown) =>
        Array.isArray(row) && row.length > 0 && row.every((x) => typeof x === 'number' && allowed(x));
      if (Array.isArray(value) && value.length > 0 && value.every(fits)) return value as number[][];
      throw this.#error(field, `must be a list of ${kind} for each token of the answer`);
    };
    const result = {
      ids: matrix('top_ids', ids, 'token ids', (x) => Number.isInteger(x) && x >= 0),
      logProbs: matrix(
        'top_log_probs',
        logProbs,
        'numbers that are not above 0',
        (x) => Number.isFinite(x) && x <= 1e-3,
      ),
    };
    if (result.ids.some((row, i) => row.length !== result.logProbs[i]?.length))
      throw this.#error('top_log_probs', 'must have as many numbers as top_ids');
    for (const [i, row] of result.ids.entries()) {
      if (new Set(row).size < row.length) throw this.#error(`top_ids.${i}`, 'names a token twice');
      const mass = result.logProbs[i]!.reduce((sum, logProb) => sum + Math.exp(logProb), 0);
      // Rounded to 8 bits, log-probabilities may come to a little more than 1.
      if (mass > 1.05)
        throw this.#error(`top_log_probs.${i}`, `are of probabilities that come to ${mass.toFixed(2)}`);
    }
    return result;
  }

  #ranked(): RawGroup {
    return { ...this.#unranked(), ranking: this.#ranking(this.#row.responses as unknown[]) };
  }

  #unranked(): RawGroup {
    const { responses } = this.#row;
    if (!Array.isArray(responses) || responses.length === 0)
      throw this.#error('responses', `must be a list of answers, is ${describe(responses)}`);
    const answers = responses.map((response: unknown, i): RawAnswer => {
      if (typeof response === 'string') return { text: response, ids: undefined };
      const field = `responses.${i}`;
      if (response === null || typeof response !== 'object')
        throw this.#error(field, `must be text or an object with text, is ${describe(response)}`);
      const { text, ids } = response as Fields;
      if (typeof text !== 'string') throw this.#error(`${field}.text`, `must be text, is ${describe(text)}`);
      return { text, ids: this.#checkedIds(`${field}.ids`, ids) };
    });
    return this.#group(this.#prompt(), answers, []);
  }

  /** Each response of a `generate` stage as a completion. */
  #responses(): RawGroup[] {
    const group = this.#unranked();
    return group.answers.map((answer, i) => ({
      ...group,
      origin: `${group.origin}#${i}`,
      answers: [answer],
      ranking: [[0]],
    }));
  }

  /** `ranking` as lists or numbers, or what `scores` (of the row, or `score` of each response) make of it. */
  #ranking(responses: unknown[]): number[][] {
    const { ranking, scores } = this.#row;
    if (ranking === undefined) {
      const given = scores ?? responses.map((r) => (r as Fields | null)?.score);
      if (!Array.isArray(given) || given.length !== responses.length)
        throw this.#error('ranking', 'is missing, and there is no list of scores with one for each response');
      return tiersOf(
        given.map((score: unknown, i) => {
          if (score === null || (typeof score === 'number' && Number.isFinite(score))) return score;
          throw this.#error(`scores.${i}`, `must be a number or null, is ${describe(score)}`);
        }),
      );
    }
    if (!Array.isArray(ranking)) throw this.#error('ranking', `must be a list, is ${describe(ranking)}`);
    const seen = new Set<number>();
    return ranking.map((tier: unknown, t) =>
      (Array.isArray(tier) ? tier : [tier]).map((index: unknown) => {
        const field = `ranking.${t}`;
        if (typeof index !== 'number' || !Number.isInteger(index) || index < 0 || index >= responses.length)
          throw this.#error(field, `must name responses by number, from 0 to ${responses.length - 1}`);
        if (seen.has(index)) throw this.#error(field, `names response ${index} a second time`);
        seen.add(index);
        return index;
      }),
    );
  }

  /** The pairs of a ranking: each answer with every worse one. */
  #rankedPairs(): RawGroup[] {
    const group = this.#ranked();
    return group.ranking.flatMap((tier, t) =>
      group.ranking.slice(t + 1).flatMap((lower) =>
        tier.flatMap((better) =>
          lower.map((worse) => ({
            ...group,
            origin: `${group.origin}#${better}>${worse}`,
            answers: [group.answers[better]!, group.answers[worse]!],
            ranking: [[0], [1]],
          })),
        ),
      ),
    );
  }

  #group(prompt: RawPrompt, answers: RawAnswer[], ranking: number[][]): RawGroup {
    return {
      origin: rowOrigin(this.#place),
      prompt,
      answers,
      ranking,
      margin: undefined,
      desirable: undefined,
      teacher: undefined,
    };
  }

  #prompt(): RawPrompt {
    const { prompt, messages } = this.#row;
    const ids = this.#ids('prompt_ids');
    if (typeof prompt === 'string' && messages === undefined)
      return { text: prompt, messages: undefined, ids };
    const field = messages === undefined ? 'prompt' : 'messages';
    return { text: undefined, messages: this.#messages(field, messages ?? prompt), ids };
  }

  #side(field: 'chosen' | 'rejected' | 'completion'): string | ChatMessage[] {
    const value = this.#row[field];
    return typeof value === 'string' ? value : this.#messages(field, value);
  }

  #answer(field: string, value: string | ChatMessage[], idsField = `${field}_ids`): RawAnswer {
    const ids = this.#ids(idsField);
    if (typeof value === 'string') return { text: value, ids };
    const [message, ...more] = value;
    if (message === undefined || more.length > 0 || message.role !== 'assistant') {
      throw this.#error(field, 'must be one message of the assistant after the prompt');
    }
    return { text: message.content, ids };
  }

  #messages(field: string, value: unknown): ChatMessage[] {
    if (!Array.isArray(value) || value.length === 0)
      throw this.#error(field, `must be text or a list of messages, is ${describe(value)}`);
    for (const [i, message] of (value as unknown[]).entries()) {
      if (message === null || typeof message !== 'object')
        throw this.#error(`${field}.${i}`, `must be an object, is ${describe(message)}`);
      for (const name of ['role', 'content'] as const) {
        const member = (message as Fields)[name];
        if (typeof member !== 'string')
          throw this.#error(`${field}.${i}.${name}`, `must be text, is ${describe(member)}`);
      }
    }
    return value as ChatMessage[];
  }

  #ids(field: string): number[] | undefined {
    return this.#checkedIds(field, this.#row[field]);
  }

  #checkedIds(field: string, value: unknown): number[] | undefined {
    if (value === undefined || value === null) return undefined;
    const fits = (id: unknown) => typeof id === 'number' && Number.isInteger(id) && id >= 0;
    if (Array.isArray(value) && value.every(fits)) return value as number[];
    throw this.#error(field, 'must be a list of token ids');
  }

  #error(field: string, problem: string): AnnealError {
    const at = rowOrigin(this.#place);
    return new AnnealError('data_field', `${at}: field ${field} ${problem}.`, {
      path: `${at}:${field}`,
      hint: HINTS[this.#kind],
    });
  }
}

/** Two labelled answers of a pair. */
function unpaired(pair: RawGroup): RawGroup[] {
  return pair.answers.map((answer, i) => ({
    ...pair,
    origin: `${pair.origin}#${i === 0 ? 'chosen' : 'rejected'}`,
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

/**
 * Length of the common beginning of two texts, back to where a word begins: what stands before it is the prompt.
 * White space before the word goes with the word, as byte-level vocabularies have it.
 */
function commonText(a: string, b: string): number {
  let length = 0;
  while (length < a.length && length < b.length && a[length] === b[length]) length += 1;
  const inWord = (text: string) => length < text.length && /\S/.test(text[length]!);
  if (length > 0 && /\S/.test(a[length - 1]!) && (inWord(a) || inWord(b))) {
    const border = a.slice(0, length).search(/\s\S*$/);
    if (border >= 0) length = border;
  }
  while (length > 0 && a[length - 1] === ' ') length -= 1;
  return length;
}
