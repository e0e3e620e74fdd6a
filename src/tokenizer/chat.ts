/**
 * Conversations to ids, with the tokens that the assistant writes marked by position.
 *
 * The text of a rendered chat is cut where the assistant begins and ends to write, and each piece is encoded on
 * its own: no token ever spans a prompt and its answer, and what generation appends to a prompt's ids is what
 * training saw.
 */
import { AnnealError } from '../../proto/errors.ts';
import {
  type AssistantSpan,
  type ChatMessage,
  type RenderOptions,
  renderChatWithSpans,
} from './chat_template.ts';
import type { Tokenizer } from './tokenizer.ts';

export interface EncodedChat {
  ids: Int32Array;
  /** 1 where the assistant writes the token: its text, and the token that closes its turn. */
  scored: Uint8Array;
}

/** Text of a special token by id. */
function tokenText(tokenizer: Tokenizer, id: number | undefined): string | undefined {
  return id === undefined ? undefined : tokenizer.decode([id]);
}

/** Renders with the tokenizer's own template and encodes. For generation pass `addGenerationPrompt`. */
export function encodeChat(
  tokenizer: Tokenizer,
  messages: readonly ChatMessage[],
  options: Pick<RenderOptions, 'addGenerationPrompt' | 'tools'> = {},
): EncodedChat {
  if (tokenizer.chatTemplate === undefined) {
    throw new AnnealError('template_invalid', 'The tokenizer has no chat template.', {
      hint: 'Set chat_template in the tokenizer stage, or add one to tokenizer_config.json.',
    });
  }
  const eosText = tokenText(tokenizer, tokenizer.eosId);
  const { text, spans } = renderChatWithSpans(tokenizer.chatTemplate, messages, {
    ...options,
    bosToken: tokenText(tokenizer, tokenizer.bosId),
    eosToken: eosText,
  });
  return encodeSpans(
    tokenizer,
    text,
    spans.map((span) => closeSpan(text, span, eosText, tokenizer.specials)),
  );
}

/**
 * Ends a span with the token that closes the turn: an EOS that stands right behind it is taken in, and white
 * space behind a closing special token (which nobody samples) is left out.
 */
function closeSpan(
  text: string,
  span: AssistantSpan,
  eosText: string | undefined,
  specials: ReadonlyMap<string, number>,
): AssistantSpan {
  const written = text.slice(span.start, span.end);
  const kept = written.trimEnd();
  if (kept.length < written.length) {
    const closed = [...specials.keys()].some((special) => kept.endsWith(special));
    if (closed) return { start: span.start, end: span.start + kept.length };
  }
  if (eosText !== undefined && !kept.endsWith(eosText) && text.startsWith(eosText, span.end)) {
    return { start: span.start, end: span.end + eosText.length };
  }
  return span;
}

function encodeSpans(tokenizer: Tokenizer, text: string, spans: readonly AssistantSpan[]): EncodedChat {
  const pieces: { ids: Int32Array; scored: 0 | 1 }[] = [];
  let at = 0;
  for (const { start, end } of spans) {
    pieces.push({ ids: tokenizer.encodeWithSpecials(text.slice(at, start)), scored: 0 });
    pieces.push({ ids: tokenizer.encodeWithSpecials(text.slice(start, end)), scored: 1 });
    at = end;
  }
  pieces.push({ ids: tokenizer.encodeWithSpecials(text.slice(at)), scored: 0 });
  const length = pieces.reduce((sum, { ids }) => sum + ids.length, 0);
  const result = { ids: new Int32Array(length), scored: new Uint8Array(length) };
  let offset = 0;
  for (const { ids, scored } of pieces) {
    result.ids.set(ids, offset);
    result.scored.fill(scored, offset, offset + ids.length);
    offset += ids.length;
  }
  // The first token has nothing before it to be predicted from.
  if (length > 0) result.scored[0] = 0;
  return result;
}
