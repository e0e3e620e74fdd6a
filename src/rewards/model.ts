/**
 * A reward model as a scorer: the value of its scalar head at the last token of a response. Prompt and responses are
 * laid out as in its training, a prompt once for all of its responses. What another tokenizer has drawn is given to it
 * as text, encoded by its own tokenizer.
 */
import { encodeAnswer, encodePrompt } from '../data/preference.ts';
import type { Session } from '../native/addon.ts';
import { groupSequences, groupTokens, packGroups } from '../preference/batch.ts';
import type { Tokenizer } from '../tokenizer/tokenizer.ts';
import type { Response, Scorer } from './scorer.ts';

/** A reward model, open. */
export interface RewardModel {
  session: Session;
  tokenizer: Tokenizer;
  /** The adapter that holds its head; absent: the base has it. */
  adapter?: number | undefined;
  /** What the session has reserved. */
  maxTokens: number;
  maxSequences: number;
  /** Longest prompt with a response that it reads; absent: `maxTokens`. */
  maxLength?: number;
}

/** A prompt and those of its responses that go into one batch. */
interface Group {
  prompt: Int32Array;
  answers: Int32Array[];
  /** Where their scores go. */
  places: number[];
}

/** `tokenizerHash` names the tokenizer that the responses' ids are of; undefined: texts are encoded anew. */
export function modelScorer(
  model: RewardModel,
  tokenizerHash: string | undefined,
  name = 'reward_model',
): Scorer {
  const skipped = new Map<string, number>();
  const takeIds = tokenizerHash === model.tokenizer.hash;
  return {
    name,
    skipped,
    async score(responses) {
      const scores: (number | null)[] = responses.map(() => null);
      for (const groups of batches(responses, model, takeIds, skipped)) {
        const { batch, places } = packGroups(groups, { outputs: 'values' });
        const { values } = await model.session.forward({
          ...batch,
          ...(model.adapter === undefined ? {} : { adapter: model.adapter }),
        });
        groups.forEach(({ places: into }, g) => {
          into.forEach((place, a) => {
            scores[place] = values[places[g]!.answers[a]!.start]!;
          });
        });
      }
      return scores;
    },
    close: async () => {},
  };
}

/** Responses in order, as groups by prompt, in batches that the session has room for. */
function* batches(
  responses: readonly Response[],
  model: RewardModel,
  takeIds: boolean,
  skipped: Map<string, number>,
): Generator<Group[]> {
  const { maxTokens, maxSequences, maxLength = maxTokens } = model;
  const skip = (reason: string) => skipped.set(reason, (skipped.get(reason) ?? 0) + 1);
  let batch: Group[] = [];
  let tokens = 0;
  let sequences = 0;
  for (const [place, response] of responses.entries()) {
    const { prompt, answer } = encode(response, model.tokenizer, takeIds);
    if (prompt.length === 0 || answer.length === 0) {
      skip('had nothing to read in an empty prompt or response');
      continue;
    }
    if (prompt.length + answer.length > Math.min(maxLength, maxTokens)) {
      skip('met a prompt and response longer than it reads');
      continue;
    }
    const last = batch.at(-1);
    const joins = last !== undefined && sameIds(last.prompt, prompt);
    const more = (joins ? 0 : prompt.length) + answer.length;
    if (tokens + more > maxTokens || sequences + (joins ? 1 : 2) > maxSequences) {
      yield batch;
      batch = [];
    }
    if (joins && batch.length > 0) {
      last.answers.push(answer);
      last.places.push(place);
    } else {
      batch.push({ prompt, answers: [answer], places: [place] });
    }
    tokens = batch.reduce((sum, group) => sum + groupTokens(group, 'values'), 0);
    sequences = batch.reduce((sum, group) => sum + groupSequences(group), 0);
  }
  if (batch.length > 0) yield batch;
}

function encode(
  response: Response,
  tokenizer: Tokenizer,
  takeIds: boolean,
): { prompt: Int32Array; answer: Int32Array } {
  const asked = {
    text: response.messages ? undefined : response.prompt,
    messages: response.messages && [...response.messages],
    ids: [...response.promptIds],
  };
  const prompt = encodePrompt(asked, tokenizer, takeIds);
  const given = { text: response.text, ids: [...response.ids] };
  return { prompt, answer: encodeAnswer(asked, prompt, given, tokenizer, takeIds) };
}

function sameIds(a: Int32Array, b: Int32Array): boolean {
  return a.length === b.length && a.every((id, i) => id === b[i]);
}
