/** How likely a model finds texts: perplexity a token, and bits a byte, which compares models of any tokenizer. */
import type { Session } from '../native/addon.ts';
import { negativeLogLikelihood } from '../objectives/cross_entropy.ts';
import type { Tokenizer } from '../tokenizer/tokenizer.ts';
import { packBatch, supervisedRows } from '../training/rows.ts';

/** Sums, so that groups of texts can be added up. */
export interface Likelihood {
  /** Nats. */
  loss: number;
  tokens: number;
  bytes: number;
}

/**
 * Likelihood of a text in windows of at most `maxLength` tokens, every token but the first scored once; EOS stands
 * before it where the tokenizer has one, so that the first is scored as well.
 */
export async function textLikelihood(
  session: Session,
  tokenizer: Tokenizer,
  text: string,
  maxLength: number,
): Promise<Likelihood> {
  const encoded = tokenizer.encode(text);
  const start = tokenizer.bosId ?? tokenizer.eosId;
  const ids = start === undefined ? encoded : Int32Array.of(start, ...encoded);
  const result: Likelihood = { loss: 0, tokens: 0, bytes: Buffer.byteLength(text) };
  for (let from = 0; from + 1 < ids.length; from += maxLength) {
    const piece = ids.subarray(from, from + maxLength + 1);
    const scored = new Uint8Array(piece.length).fill(1, 1);
    const source = supervisedRows([{ ids: piece, scored, origin: '' }]);
    const { logProbs } = await session.forward(packBatch(source, [0]));
    result.loss += negativeLogLikelihood(logProbs);
    result.tokens += logProbs.length;
  }
  return result;
}
