/**
 * A reward model as a scorer: the value of its scalar head at the last token of a response. Prompt and responses are
 * laid out as in its training, a prompt once for all of its responses. What another tokenizer has drawn is given to it
 * as text, encoded by its own tokenizer.
 */
import { encodeAnswer, encodePrompt } from '../data/preference.ts';
import { type Answered, readAnswers } from '../models/reading.ts';
import type { Session } from '../native/addon.ts';
import { templateInputs } from '../tokenizer/chat_template.ts';
import type { Tokenizer } from '../tokenizer/tokenizer.ts';
import type { Response, Scorer } from './scorer.ts';

/** A reward model, open. */
export interface RewardModel {
  session: Session;
  tokenizer: Tokenizer;
  /** The adapter that holds its head; absent: the base has it. */
  adapter?: number | undefined;
  /** Rows of a batch: what the session has reserved. */
  maxRows: number;
  /** Longest prompt with a response that it reads. */
  maxLength: number;
}

/** `tokenizerHash` names the tokenizer that the responses' ids are of; undefined: texts are encoded anew. */
export function modelScorer(
  model: RewardModel,
  tokenizerHash: string | undefined,
  name = 'reward_model',
): Scorer {
  const { session, tokenizer, adapter, maxRows, maxLength } = model;
  const skipped = new Map<string, number>();
  const skip = (reason: string) => skipped.set(reason, (skipped.get(reason) ?? 0) + 1);
  const takeIds = tokenizerHash === tokenizer.hash;
  return {
    name,
    skipped,
    async score(responses) {
      const scores: (number | null)[] = responses.map(() => null);
      const read: (Answered & { place: number })[] = [];
      for (const [place, response] of responses.entries()) {
        const { prompt, answer } = encode(response, tokenizer, takeIds);
        if (prompt.length === 0 || answer.length === 0)
          skip('had nothing to read in an empty prompt or response');
        else if (prompt.length + answer.length > maxLength)
          skip('met a prompt and response longer than it reads');
        else read.push({ prompt, answer, place });
      }
      const values = await readAnswers(session, read, {
        outputs: 'values',
        maxRows,
        adapter,
      });
      read.forEach(({ place }, i) => {
        scores[place] = values[i]!;
      });
      return scores;
    },
    close: async () => {},
  };
}

function encode(response: Response, tokenizer: Tokenizer, takeIds: boolean): Answered {
  const asked = {
    text: response.messages ? undefined : response.prompt,
    messages: response.messages && [...response.messages],
    ...templateInputs(response),
    ids: [...response.promptIds],
  };
  const prompt = encodePrompt(asked, tokenizer, takeIds);
  const given = { text: response.text, ids: [...response.ids] };
  return { prompt, answer: encodeAnswer(asked, prompt, given, tokenizer, takeIds) };
}
