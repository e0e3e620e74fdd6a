/**
 * Conversations to ids, with the tokens that the assistant writes marked by position.
 *
 * The text of a rendered chat is cut where the assistant begins and ends to write, and each piece is encoded on
 * its own: no token ever spans a prompt and its answer, and what generation appends to a prompt's ids is what
 * training saw.
 */
import { AnnealError } from '../../proto/errors.ts';
import { type AssistantSpan, renderChatWithSpans } from './chat_spans.ts';
import { type ChatMessage, type RenderOptions, renderChat, type TemplateInputs } from './chat_template.ts';
import type { Tokenizer } from './tokenizer.ts';

/** A piece of a chat that the assistant writes. */
export interface EncodedSpan {
  /** Place of its message in the chat; undefined: a template with generation tags does not tell. */
  message: number | undefined;
  /** The text, with the token that closes the turn. */
  text: string;
  /** Half-open range of its ids. */
  start: number;
  end: number;
}

export interface EncodedChat {
  /** As the template renders it. */
  text: string;
  ids: Int32Array;
  /** 1 where the assistant writes the token: its text, and the token that closes its turn. */
  scored: Uint8Array;
  spans: EncodedSpan[];
}

export type ChatOptions = Pick<RenderOptions, 'addGenerationPrompt' | keyof TemplateInputs>;

/** Text of a special token by id. */
function tokenText(tokenizer: Tokenizer, id: number | undefined): string | undefined {
  return id === undefined ? undefined : tokenizer.decode([id]);
}

/** The error where not all spans are to count, and the template does not tell which they are. */
export function unknownAnswer(): AnnealError {
  return new AnnealError(
    'template_invalid',
    'Which answer a {% generation %} block of the chat template belongs to cannot be told, and not all are to count.',
    { hint: 'Let the template loop over `messages`, with one block an answer.' },
  );
}

/** Renders with the tokenizer's own template and encodes. For generation pass `addGenerationPrompt`. */
export function encodeChat(
  tokenizer: Tokenizer,
  messages: readonly ChatMessage[],
  options: ChatOptions = {},
): EncodedChat {
  const { chatTemplate, specials } = tokenizer;
  if (chatTemplate === undefined) {
    throw new AnnealError('template_invalid', 'The tokenizer has no chat template.', {
      hint: 'Set chat_template in the tokenizer stage, or add one to tokenizer_config.json.',
    });
  }
  const eosText = tokenText(tokenizer, tokenizer.eosId);
  const render = { ...options, bosToken: tokenText(tokenizer, tokenizer.bosId), eosToken: eosText };
  const { text, spans } = renderedSpans(chatTemplate, messages, {
    ...render,
    specials: [...specials.keys()],
  });
  return encodeSpans(
    tokenizer,
    text,
    spans.map((span) => closeSpan(text, span, eosText, specials)),
  );
}

/** Text and spans; of a prompt the text alone will do where the template hides what the assistant wrote before. */
function renderedSpans(
  template: string,
  messages: readonly ChatMessage[],
  options: Parameters<typeof renderChatWithSpans>[2] & object,
): { text: string; spans: AssistantSpan[] } {
  try {
    return renderChatWithSpans(template, messages, options);
  } catch (error) {
    if (!options.addGenerationPrompt) throw error;
    return { text: renderChat(template, messages, options), spans: [] };
  }
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
    if (closed) return { ...span, end: span.start + kept.length };
  }
  if (eosText !== undefined && !kept.endsWith(eosText) && text.startsWith(eosText, span.end)) {
    return { ...span, end: span.end + eosText.length };
  }
  return span;
}

function encodeSpans(tokenizer: Tokenizer, text: string, spans: readonly AssistantSpan[]): EncodedChat {
  const pieces: Int32Array[] = [];
  const encoded: EncodedSpan[] = [];
  let at = 0;
  let length = 0;
  const add = (piece: string) => {
    const ids = tokenizer.encodeWithSpecials(piece);
    pieces.push(ids);
    length += ids.length;
  };
  for (const { message, start, end } of spans) {
    add(text.slice(at, start));
    const first = length;
    add(text.slice(start, end));
    encoded.push({ message, text: text.slice(start, end), start: first, end: length });
    at = end;
  }
  add(text.slice(at));
  const ids = new Int32Array(length);
  let offset = 0;
  for (const piece of pieces) {
    ids.set(piece, offset);
    offset += piece.length;
  }
  const scored = new Uint8Array(length);
  for (const { start, end } of encoded) scored.fill(1, start, end);
  // The first token has nothing before it to be predicted from.
  if (length > 0) scored[0] = 0;
  return { text, ids, scored, spans: encoded };
}
