/**
 * Stock chat templates (those that come with TRL: Llama, Qwen, Gemma, Phi, DeepSeek, Command-R, GLM, gpt-oss, LFM,
 * Nemotron, ...): rendered as `transformers` renders them, and the spans of the assistant found in them as TRL marks
 * them in its own variants for training.
 */
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import { renderChatWithSpans } from '../../src/tokenizer/chat_spans.ts';
import { renderChat } from '../../src/tokenizer/chat_template.ts';
import { CHATS, type TestChat } from '../tokenizer/chats.ts';

const python = process.env.ANNEAL_PEERS_PYTHON;
const [BOS, EOS] = ['<s>', '<|im_end|>'];

type Rendered = { text: string; prompt: string; generated: string[]; error?: undefined } | { error: string };
interface Reply {
  templates: Record<string, string>;
  rendered: Record<string, Record<string, Rendered>>;
  /** With each of KWARGS. */
  with_kwargs: Record<string, Record<string, Rendered>>[];
}

/** Variables that published templates ask for. */
const KWARGS: Record<string, unknown>[] = [
  { enable_thinking: false },
  { enable_thinking: true, thinking: true, keep_past_thinking: true, bos_token: '<begin>' },
  { reasoning_effort: 'high', date_string: '1 May 2026', builtin_tools: ['python'], add_vision_id: true },
];

/** Content in parts, for the templates of models that see. */
const parts: TestChat = {
  messages: ['What?', 'That.', 'Again?', 'This.'].map((text, i) => ({
    role: i % 2 === 0 ? 'user' : 'assistant',
    content: [{ type: 'text', text }],
  })) as unknown as TestChat['messages'],
};
const chats: Record<string, TestChat> = { ...CHATS, parts };

/** What a template's text holds of special tokens: they are not in a tokenizer here. */
function specialsIn(template: string): string[] {
  const found = template.match(/<[|｜][^'"{}\s]*?[|｜]>|<(?:start|end)_of_turn>|<end_of_utterance>/g) ?? [];
  return [...new Set([...found, BOS, EOS])];
}

describe.skipIf(!python)('stock chat templates', () => {
  let reply: Reply;
  beforeAll(() => {
    const run = spawnSync(python!, [join(import.meta.dirname, 'templates_peer.py')], {
      input: JSON.stringify({
        templates: null,
        chats,
        names: { bos_token: BOS, eos_token: EOS },
        kwargs: KWARGS,
      }),
      maxBuffer: 1 << 28,
      encoding: 'utf8',
      env: { ...process.env, HF_HUB_OFFLINE: '1' },
    });
    if (run.status !== 0) throw new Error(run.stderr);
    reply = JSON.parse(run.stdout) as Reply;
  }, 120_000);

  const renderings = () =>
    Object.entries(reply.templates).flatMap(([name, template]) =>
      Object.entries(chats).flatMap(([key, chat]) => {
        const theirs = reply.rendered[name]![key]!;
        const options = { bosToken: BOS, eosToken: EOS, tools: chat.tools };
        return theirs.error === undefined ? [{ name, key, template, chat, theirs, options }] : [];
      }),
    );

  it('are rendered with the same text', () => {
    const all = renderings();
    expect(Object.keys(reply.templates).length).toBeGreaterThanOrEqual(60);
    expect(all.length).toBeGreaterThanOrEqual(600);
    for (const { name, key, template, chat, theirs, options } of all) {
      expect(renderChat(template, chat.messages, options), `${name}, ${key}`).toBe(theirs.text);
      const prompt = { ...options, addGenerationPrompt: true };
      expect(renderChat(template, chat.messages, prompt), `${name}, ${key}`).toBe(theirs.prompt);
    }
  });

  it.each(KWARGS.map((templateKwargs, k) => [JSON.stringify(templateKwargs), templateKwargs, k] as const))(
    'are rendered with the same text with %s',
    (_, templateKwargs, k) => {
      let changed = 0;
      for (const { name, key, template, chat, theirs: plain, options } of renderings()) {
        const theirs = reply.with_kwargs[k]![name]![key]!;
        if (theirs.error !== undefined) continue;
        const given = { ...options, templateKwargs };
        expect(renderChat(template, chat.messages, given), `${name}, ${key}`).toBe(theirs.text);
        const prompt = renderChat(template, chat.messages, { ...given, addGenerationPrompt: true });
        expect(prompt, `${name}, ${key}`).toBe(theirs.prompt);
        changed += theirs.text !== plain.text || theirs.prompt !== plain.prompt ? 1 : 0;
      }
      expect(changed).toBeGreaterThan(10);
    },
  );

  it('have the spans that TRL marks, but for what the prompt brings', () => {
    let compared = 0;
    for (const { name, key, template, chat, theirs, options } of renderings()) {
      const { text, spans } = renderChatWithSpans(template, chat.messages, {
        ...options,
        specials: specialsIn(template),
      });
      expect(text, `${name}, ${key}`).toBe(theirs.text);
      const marked = reply.rendered[`${name}_training`]?.[key];
      if (marked === undefined || marked.error !== undefined || marked.text !== theirs.text) continue;
      compared += 1;
      const rest = beyond(
        marked.generated,
        spans.map(({ start, end }) => text.slice(start, end)),
      );
      expect(rest, `${name}, ${key}`).toBeDefined();
      for (const piece of rest!) {
        // TRL scores the header of some templates, `<think>` where the prompt has it, and an EOS behind the chat.
        const inPrompt = theirs.prompt.trimEnd().endsWith(piece.trim()) || HEADERS.has(piece.trim());
        expect(inPrompt || piece.trim() === EOS, `${name}, ${key}: ${JSON.stringify(piece)}`).toBe(true);
      }
    }
    expect(compared).toBeGreaterThanOrEqual(150);
  });
});

/** Headers of answers that stand in the prompt unless it ends otherwise (with a tool's result, or with more). */
const HEADERS: ReadonlySet<string> = new Set(['<｜Assistant｜>', '<｜tool▁outputs▁end｜>', '<think>', '']);

/** What of the marked text, in order, is not in the spans; undefined where the spans have what is not marked. */
function beyond(marked: readonly string[], spans: readonly string[]): string[] | undefined {
  const whole = marked.join('');
  const rest: string[] = [];
  let at = 0;
  for (const span of spans.map((each) => each.trimEnd())) {
    const found = whole.indexOf(span, at);
    if (found < 0) return undefined;
    rest.push(whole.slice(at, found));
    at = found + span.length;
  }
  return [...rest, whole.slice(at)];
}
