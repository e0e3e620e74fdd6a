/** Tokenizers that the package `tokenizers` runs: ids, text, what they cannot do, and whole recipes with them. */
import { spawnSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { textBatch } from '../../src/native/text_batch.ts';
import { encodeChat } from '../../src/tokenizer/chat.ts';
import { checkAnswers } from '../../src/tokenizer/chat_check.ts';
import { loadTokenizer, type Tokenizer } from '../../src/tokenizer/tokenizer.ts';
import { fuzzTexts } from '../peers/tokenizer_peer.ts';
import { type Fixture, makeFixture, modelFolder, runHere } from '../training/fixture.ts';
import { addedToken, type KindFile, unigramFile, wordPieceFile, writeKind } from './other_kinds.ts';

const fixture: Fixture = makeFixture();
afterAll(() => fixture.remove());
const corpus = readFileSync(join(fixture.dir, 'corpus.jsonl'), 'utf8')
  .trim()
  .split('\n')
  .map((line) => (JSON.parse(line) as { text: string }).text)
  .join('\n');
const UNIGRAM = unigramFile(`${corpus} What`);
const WORD_PIECE = wordPieceFile(`${corpus} What`);

let folders = 0;
const load = (file: object, config: object = {}): Promise<Tokenizer> =>
  loadTokenizer(writeKind(join(fixture.dir, `kind${folders++}`), file, config));

describe('a Unigram file', () => {
  it('gives ids of the likeliest pieces, and their text', async () => {
    const tokenizer = await load(UNIGRAM, { eos_token: '</s>' });
    const text = 'Anna lives in Aachen.';
    const ids = tokenizer.encode(text);
    const vocab = UNIGRAM.model.vocab as [string, number][];
    expect([...ids].map((id) => vocab[id]![0])).toEqual(['▁Anna', '▁lives', '▁in', '▁Aachen.']);
    expect(tokenizer.decode(ids)).toBe(text);
    expect([tokenizer.eosId, tokenizer.unkId, tokenizer.vocabSize]).toEqual([1, 2, vocab.length]);
    expect(tokenizer.frame).toEqual({ before: [], after: [1] });
    expect([...tokenizer.encode('Anna §')].at(-1)).toBe(2);
  });

  it('finds special tokens only where asked for, added ones always', async () => {
    const first = (UNIGRAM.model.vocab as unknown[]).length;
    const file: KindFile = {
      ...UNIGRAM,
      added_tokens: [
        ...UNIGRAM.added_tokens,
        addedToken(first, '<mask>'),
        addedToken(first + 1, '<tool>', { special: false }),
      ],
    };
    const tokenizer = await load(file);
    const [plain, found] = [
      tokenizer.encode('in<mask><tool>'),
      tokenizer.encodeWithSpecials('in<mask><tool>'),
    ];
    expect([...found].slice(1)).toEqual([first, first + 1]);
    expect(plain).not.toContain(first);
    // Its id is that of the file, with the special token before it gone.
    expect(plain.at(-1)).toBe(first + 1);
    expect(tokenizer.decode(found, { skipSpecials: true })).toBe('in<tool>');
    expect(tokenizer.decode([first + 2, -1])).toBe('');
  });

  it('reads bytes that are not UTF-8 as U+FFFD', async () => {
    const tokenizer = await load(UNIGRAM);
    const bytes = Uint8Array.of(0x61, 0xff, 0xc3, 0x28, 0xed, 0xa0, 0x80);
    expect(tokenizer.encode(bytes)).toEqual(tokenizer.encode(new TextDecoder().decode(bytes)));
  });

  it('says that a text has no ids where there is no unknown token', async () => {
    const tokenizer = await load({ ...UNIGRAM, model: { ...UNIGRAM.model, unk_id: null } });
    const refused = { code: 'tokenizer_invalid', message: expect.stringMatching(/cannot be encoded/) };
    expect(() => tokenizer.encode('§')).toThrow(expect.objectContaining(refused));
    await expect(tokenizer.encodeBatch(textBatch(['§']))).rejects.toMatchObject(refused);
    expect(tokenizer.decode(tokenizer.encode('Anna'))).toBe('Anna');
  });
});

describe('other kinds', () => {
  const bpe: KindFile = {
    version: '1.0',
    added_tokens: [],
    normalizer: { type: 'Lowercase' },
    pre_tokenizer: { type: 'Whitespace' },
    post_processor: null,
    decoder: { type: 'BPEDecoder', suffix: '</w>' },
    model: {
      type: 'BPE',
      unk_token: '<unk>',
      end_of_word_suffix: '</w>',
      vocab: { '<unk>': 0, a: 1, b: 2, 'b</w>': 3, 'ab</w>': 4 },
      merges: [['a', 'b</w>']],
    },
  };

  it('are run as their files say', async () => {
    const word = await load(WORD_PIECE);
    expect(word.decode(word.encode('ANNA  lives in Bremen.'))).toBe('anna lives in bremen.');
    expect(word.frame).toEqual({ before: [2], after: [3] });
    // The file's truncation and padding are those of other uses.
    expect(word.encode('Anna '.repeat(50)).length).toBe(50);
    const clip = await load(bpe);
    expect([...clip.encode('AB ab x')]).toEqual([4, 4, 0]);
    expect(clip.decode([4, 4])).toBe('ab ab');
  });

  it.each(['unigram', 'wordPiece', 'bpe'] as const)(
    'batch, single texts and streams agree: %s',
    async (kind) => {
      const tokenizer = await load({ unigram: UNIGRAM, wordPiece: WORD_PIECE, bpe }[kind]);
      const texts = ['', ...fuzzTexts(100), 'Anna lives in Aachen. [SEP] A'];
      const { ids, ends } = await tokenizer.encodeBatch(textBatch(texts));
      for (const [i, text] of texts.entries()) {
        expect(ids.subarray(i === 0 ? 0 : ends[i - 1], ends[i])).toEqual(tokenizer.encode(text));
        const found = tokenizer.encodeWithSpecials(text);
        for (const skipSpecials of [false, true]) {
          const stream = tokenizer.decodeStream({ skipSpecials });
          const pieces = [...found].map((id) => stream.push(id));
          expect(pieces.join('') + stream.end()).toBe(tokenizer.decode(found, { skipSpecials }));
        }
      }
    },
  );

  it('may leave out what they do not tell apart, not what an answer says', async () => {
    const template = '{% for m in messages %}{{ m.content }}[SEP]{% endfor %}';
    const tokenizer = await load(WORD_PIECE, { eos_token: '[SEP]', chat_template: template });
    const check = (content: string): void => {
      const messages = [
        { role: 'user', content: 'What is Anna?' },
        { role: 'assistant', content },
      ];
      checkAnswers(tokenizer, messages, encodeChat(tokenizer, messages));
    };
    expect(() => check('ANNA  is a baker.')).not.toThrow();
    expect(() => check('Anna is a § baker.')).toThrow(
      expect.objectContaining({ code: 'template_changes_answer', message: expect.stringMatching(/\[UNK\]/) }),
    );
  });

  it('cannot hold answers to a format', async () => {
    const tokenizer = await load(WORD_PIECE);
    expect(() => tokenizer.vocabularyBytes()).toThrow(
      expect.objectContaining({ code: 'constraint_invalid', message: expect.stringMatching(/WordPiece/) }),
    );
  });

  it.each<[string, KindFile, RegExp]>([
    [
      'the package does not know',
      { ...UNIGRAM, model: { type: 'Novel' } },
      /model\.type.*cannot use the file/,
    ],
    [
      'it reads otherwise than they say',
      { ...UNIGRAM, added_tokens: [addedToken(500, '<mask>')] },
      /"<mask>" has id 500, and \d+ when it is used/,
    ],
    ['draws lots', { ...bpe, model: { ...bpe.model, dropout: 0.1 } }, /model\.dropout/],
  ])('are refused where the file is one that %s', async (_, file, message) => {
    await expect(load(file)).rejects.toMatchObject({
      code: 'tokenizer_invalid',
      message: expect.stringMatching(message),
      hint: expect.any(String),
    });
  });

  it('say so when the binary of the package cannot be loaded', () => {
    const dir = writeKind(join(fixture.dir, 'no-binary'), WORD_PIECE);
    const module = join(import.meta.dirname, '../../src/tokenizer/tokenizer.ts');
    const script = join(dir, 'load.mjs');
    writeFileSync(
      script,
      `import { loadTokenizer } from ${JSON.stringify(module)};
       await loadTokenizer(${JSON.stringify(dir)}).catch((error) => console.log(JSON.stringify(error.toBody())));`,
    );
    const { stdout } = spawnSync(process.execPath, [script], {
      encoding: 'utf8',
      env: { ...process.env, NAPI_RS_NATIVE_LIBRARY_PATH: join(dir, 'missing.node') },
    });
    expect(JSON.parse(stdout)).toMatchObject({
      code: 'tokenizer_invalid',
      message: expect.stringMatching(/model\.type: .*package tokenizers.*cannot be loaded/),
      hint: expect.stringMatching(/npm/),
    });
  });
});

describe('a recipe', () => {
  const recipe = (tokenizer: string): string =>
    [
      'name: tiny',
      'seed: 7',
      'threads: 2',
      'stages:',
      '  prepare:',
      `    tokenizer: ./${tokenizer}`,
      '    sources: [{ files: [corpus.jsonl] }]',
      '  pretrain:',
      '    dataset: prepare',
      '    model: { hidden_size: 32, num_hidden_layers: 2, num_attention_heads: 4, num_key_value_heads: 2, max_position_embeddings: 256 }',
      '    per_device_train_batch_size: 2',
      '    max_steps: 20',
      '    learning_rate: 5e-3',
      '    too_long: split',
      '  sft: { model: pretrain, dataset: chats.jsonl, max_steps: 40, learning_rate: 5e-3 }',
      '  evaluate: { models: { base: pretrain, assistant: sft }, dataset: questions.jsonl, max_new_tokens: 12 }',
      '',
    ].join('\n');
  it.each([
    ['unigram', UNIGRAM, '</s>'],
    ['word_piece', WORD_PIECE, '[SEP]'],
  ] as const)(
    'runs with %s from text to answers',
    async (name, file, eos) => {
      const template = `{% for m in messages %}{{ m.role }}: {{ m.content }}{% if m.role == 'assistant' %}${eos}{% endif %}{% endfor %}{% if add_generation_prompt %}assistant: {% endif %}`;
      writeKind(join(fixture.dir, name), file, { eos_token: eos, chat_template: template });
      const channel = await runHere(fixture, recipe(name), { job: name, fresh: true });
      expect(channel.outcome()).toEqual({ outcome: 'succeeded', error: null });
      const losses = channel
        .events('progress')
        .flatMap(({ body }) => (body.stage === 'sft' ? [body.metrics.loss!] : []));
      expect(losses.at(-1)!).toBeLessThan(0.5 * losses[0]!);
      const tokenizer = await loadTokenizer(modelFolder(fixture, 'sft'));
      expect(tokenizer.hash).toBe((await loadTokenizer(join(fixture.dir, name))).hash);
    },
    60_000,
  );
});
