/**
 * Shapes of rows as TRL's own data_utils reads them: which are conversations, where the prompt of a pair ends, what
 * pairs are taken apart to, ShareGPT's turns. Text is the one exception: TRL ends an implicit prompt in the middle of
 * a word, where no token does; ours ends at the word's beginning.
 */
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import type { RawGroup } from '../../src/data/shapes/answers.ts';
import { SupervisedShaper } from '../../src/data/shapes/content.ts';
import { type GroupKind, groupKind } from '../../src/data/shapes/groups.ts';
import { Shaper } from '../../src/data/shapes/shaper.ts';

const python = process.env.ANNEAL_PEERS_PYTHON;

interface Turn {
  role: string;
  content: string;
}
type Side = string | Turn[];
interface Peer {
  pairs: {
    conversational: boolean;
    extracted: Record<'prompt' | 'chosen' | 'rejected', Side>;
    unpaired: { prompt: Side; completion: Side; label: boolean }[];
  }[];
  chats: { messages: Turn[] }[];
}

const turn = (role: string, content: string): Turn => ({ role, content });
const [system, asked] = [turn('system', 'Be short.'), turn('user', 'Sky?')];
const [blue, green] = [turn('assistant', 'Blue.'), turn('assistant', 'Green.')];
const earlier = [turn('user', 'Grass?'), turn('assistant', 'Green, as ever.')];

/** Rows whose reading is TRL's to the letter. */
const SAME: Record<string, unknown>[] = [
  { prompt: 'The sky is', chosen: ' blue.', rejected: ' green.' },
  { prompt: 'Q: sky?\nA:', chosen: ' blue', rejected: ' green' },
  { prompt: [asked], chosen: [blue], rejected: [green] },
  { prompt: [system, ...earlier, asked], chosen: [blue], rejected: [green] },
  { chosen: [asked, blue], rejected: [asked, green] },
  { chosen: [system, ...earlier, asked, blue], rejected: [system, ...earlier, asked, green] },
  { prompt: 'Sky?', chosen: [asked, blue], rejected: [asked, green] },
  { chosen: 'The sky is blue.', rejected: 'The sky is green.' },
  { chosen: '\n\nHuman: Sky?\n\nAssistant: Blue.', rejected: '\n\nHuman: Sky?\n\nAssistant: Green.' },
  { chosen: 'Wie heißt du? Ärger', rejected: 'Wie heißt du? Öl' },
];
/** Rows that TRL cuts in the middle of a word. */
const INSIDE: Record<string, unknown>[] = [
  { chosen: 'The sky is blue.', rejected: 'The sky is black.' },
  { chosen: 'A: unclear to me', rejected: 'A: unclear, to me' },
];
const CHATS = [
  {
    conversations: [
      { from: 'user', value: 'Sky?' },
      { from: 'assistant', value: 'Blue.' },
    ],
  },
  {
    conversations: [
      { from: 'system', value: 'Be short.' },
      { from: 'user', value: 'Sky?' },
      { from: 'assistant', value: 'Blue.' },
      { from: 'user', value: 'Grass?' },
    ],
  },
];

function groups(fields: Record<string, unknown>, kind: GroupKind): RawGroup[] {
  return new Shaper({}, groupKind(kind)).read({ line: 1, end: 0, fields }, 'f:1')!.content;
}

/** A side as TRL has it: a text, or what the assistant says after a conversation. */
const side = ({ prompt }: RawGroup, text: string): Side =>
  prompt.messages ? [turn('assistant', text)] : text;

describe.skipIf(python === undefined)('rows are what TRL makes of them', () => {
  let peer: Peer;
  beforeAll(() => {
    const run = spawnSync(python!, [join(import.meta.dirname, 'shapes_peer.py')], {
      input: JSON.stringify({ pairs: [...SAME, ...INSIDE], chats: CHATS }),
      encoding: 'utf8',
    });
    if (run.status !== 0) throw new Error(run.stderr);
    peer = JSON.parse(run.stdout) as Peer;
  }, 60_000);

  it.each(SAME.map((row, i) => [JSON.stringify(row), i] as const))('%s', (_, i) => {
    const { conversational, extracted, unpaired } = peer.pairs[i]!;
    const [pair] = groups(SAME[i]!, 'pairs');
    const { prompt, answers } = pair!;
    // A prompt in text beside conversations is what TRL calls text by chance: it looks at one field of the row.
    if (!(typeof SAME[i]!.prompt === 'string' && typeof SAME[i]!.chosen !== 'string'))
      expect(prompt.messages !== undefined).toBe(conversational);
    expect(prompt.text ?? prompt.messages).toEqual(extracted.prompt);
    expect(answers.map(({ text }) => side(pair!, text))).toEqual([extracted.chosen, extracted.rejected]);
    const labelled = groups(SAME[i]!, 'labels').map((group) => ({
      prompt: group.prompt.text ?? group.prompt.messages,
      completion: side(group, group.answers[0]!.text),
      label: group.desirable,
    }));
    expect(labelled).toEqual(unpaired);
  });

  it.each(INSIDE.map((row, i) => [JSON.stringify(row), i] as const))('at the word before: %s', (_, i) => {
    const { extracted } = peer.pairs[SAME.length + i]!;
    const [{ prompt, answers }] = groups(INSIDE[i]!, 'pairs') as [RawGroup];
    expect((extracted.prompt as string).startsWith(prompt.text!)).toBe(true);
    expect((extracted.prompt as string).slice(prompt.text!.length)).toMatch(/^\s*\S+$/);
    expect(answers.map(({ text }) => prompt.text + text)).toEqual([
      `${extracted.prompt as string}${extracted.chosen as string}`,
      `${extracted.prompt as string}${extracted.rejected as string}`,
    ]);
  });

  it('with turns of ShareGPT', () => {
    const shaper = new SupervisedShaper({});
    const ours = CHATS.map((fields) => shaper.read({ line: 1, end: 0, fields }, 'f:1')!.content);
    expect(ours).toEqual(peer.chats.map(({ messages }) => ({ kind: 'messages', messages })));
  });
});
