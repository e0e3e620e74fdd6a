/**
 * Preference pairs with sides of several messages (tool calls and results, further turns), as TRL encodes them. Ids are
 * those of its DPOTrainer. It counts every token of a side there, a tool's result too; ours are those that its
 * `assistant_only_loss` marks, which is what the model says.
 */
import { spawnSync } from 'node:child_process';
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { encodeGroup } from '../../src/data/preference.ts';
import { groupKind } from '../../src/data/shapes/groups.ts';
import { Shaper } from '../../src/data/shapes/shaper.ts';
import type { ChatMessage } from '../../src/tokenizer/chat_template.ts';
import { loadTokenizer, saveTokenizer, type Tokenizer } from '../../src/tokenizer/tokenizer.ts';
import { temporaryFolder } from '../data/stage_context.ts';
import { CHATS, type TestChat } from '../tokenizer/chats.ts';
import { trainTokenizer } from '../tokenizer/fixture.ts';

const python = process.env.ANNEAL_PEERS_PYTHON;
const folder = temporaryFolder();
afterAll(folder.remove);

/** Templates whose special tokens the test's tokenizer has: as published, and as TRL changes them to mark answers. */
const STOCK = ['qwen2_5', 'qwen3', 'qwen3_instruct_2507', 'qwen2_5_training', 'qwen3_training'];

interface Row {
  prompt: ChatMessage[];
  chosen: ChatMessage[];
  rejected: ChatMessage[];
  tools?: TestChat['tools'];
  chat_template_kwargs?: Record<string, unknown>;
}
type Marked = { input_ids: number[]; assistant_masks: number[] };
type Encoded = {
  prompt_ids: number[];
  chosen_ids: number[];
  rejected_ids: number[];
  chosen_marked?: Marked;
  rejected_marked?: Marked;
  error?: string;
};
type Reply = Record<string, { template: string; rows: Encoded[] }>;

const wrong: ChatMessage = { role: 'assistant', content: 'I cannot say, nor will I look.' };
// Arguments in text are read as what they are the JSON of; TRL would have the template write the JSON of a text.
const { 'arguments as text': _, ...chats } = CHATS;
/** What a chat says after its first question, against one message; and what both say after an equal beginning. */
const ROWS: Row[] = Object.values<TestChat>(chats).flatMap(({ messages, tools }) => {
  const asked = messages.findIndex(({ role }) => role === 'user') + 1;
  const [prompt, chosen] = [messages.slice(0, asked), messages.slice(asked)];
  if (chosen.length < 2) return [];
  const rejected = [...chosen.slice(0, -1), wrong];
  const more = {
    ...(tools && { tools }),
    ...(asked === 2 && { chat_template_kwargs: { enable_thinking: false } }),
  };
  return [
    { prompt, chosen, rejected: [wrong], ...more },
    { prompt, chosen, rejected, ...more },
  ];
});

describe.skipIf(python === undefined)('sides of several messages', () => {
  let reply: Reply;
  const tokenizers = new Map<string, Tokenizer>();
  beforeAll(async () => {
    const dir = join(folder.path, 'tokenizer');
    const own = await trainTokenizer(dir, 'gpt2', { merges: 200 });
    const run = spawnSync(python!, [join(import.meta.dirname, 'turns_peer.py')], {
      input: JSON.stringify({
        folder: dir,
        templates: { own: own.chatTemplate, ...Object.fromEntries(STOCK.map((name) => [name, null])) },
        rows: ROWS,
      }),
      maxBuffer: 1 << 28,
      encoding: 'utf8',
    });
    if (run.status !== 0) throw new Error(run.stderr);
    reply = JSON.parse(run.stdout) as Reply;
    for (const [name, { template }] of Object.entries(reply)) {
      const files = new Map(own.files);
      const config = JSON.parse(files.get('tokenizer_config.json')!) as object;
      files.set('tokenizer_config.json', JSON.stringify({ ...config, chat_template: template }));
      const at = join(folder.path, name);
      mkdirSync(at);
      await saveTokenizer({ files }, at);
      tokenizers.set(name, await loadTokenizer(at));
    }
  }, 120_000);

  const compared = (name: string) =>
    reply[name]!.rows.flatMap((theirs, i) => {
      // The own template writes no calls: such rows are refused.
      if (theirs.error !== undefined || (name === 'own' && ROWS[i]!.tools)) return [];
      const tokenizer = tokenizers.get(name)!;
      const [raw] = new Shaper({}, groupKind('pairs')).read(
        { line: 1, end: 0, fields: { ...ROWS[i]! } },
        'f:1',
      )!.content;
      const group = encodeGroup(raw!, tokenizer, { kind: 'pairs', takeIds: false }, new Map());
      return [{ i, theirs, group: group!, tokenizer }];
    });

  it.each(['own', ...STOCK])('have the ids of DPOTrainer by the template %s', (name) => {
    const all = compared(name);
    expect(all.length).toBeGreaterThanOrEqual(8);
    let same = 0;
    for (const { i, theirs, group, tokenizer } of all) {
      for (const [a, side] of (['chosen_ids', 'rejected_ids'] as const).entries()) {
        // Behind the token that closes the turn the template breaks the line, which nobody samples.
        const whole = [...theirs.prompt_ids, ...theirs[side]];
        const end = whole.lastIndexOf(tokenizer.eosId!) + 1;
        expect(tokenizer.decode(whole.slice(end)).trim()).toBe('');
        const answer = [...group.answers[a]!];
        const prompt = whole.slice(0, end - answer.length);
        expect(whole.slice(prompt.length, end), `${name}, row ${i}, ${side}`).toEqual(answer);
        // Where a template renders the end of a prompt otherwise once it is answered, TRL leaves that out.
        expect([...group.prompt].slice(0, prompt.length)).toEqual(prompt);
        same += prompt.length === group.prompt.length ? 1 : 0;
      }
    }
    expect(same).toBeGreaterThanOrEqual(all.length);
  });

  it.each(['own', 'qwen2_5_training', 'qwen3_training'])(
    'count what TRL marks by the template %s',
    (name) => {
      let marks = 0;
      for (const { i, theirs, group, tokenizer } of compared(name)) {
        for (const [a, side] of (['chosen_marked', 'rejected_marked'] as const).entries()) {
          const { input_ids, assistant_masks } = theirs[side]!;
          const ours = group.scored?.[a] ?? new Uint8Array(group.answers[a]!.length).fill(1);
          ours.forEach((mark, t) => {
            const at = group.prompt.length + t;
            if (mark === assistant_masks[at]) {
              marks += mark;
              return;
            }
            // TRL marks the line break behind a closed turn, and some of its templates that of the header.
            expect(mark, `${name}, row ${i}, ${side}, token ${t}`).toBe(0);
            expect(tokenizer.decode([input_ids[at]!])).toBe('\n');
          });
        }
      }
      expect(marks).toBeGreaterThan(100);
    },
  );
});
