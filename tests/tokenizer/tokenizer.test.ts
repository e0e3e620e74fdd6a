/** Tokenizer files in and out: round trips, special tokens, streaming, and clear refusals. */
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { textBatch } from '../../src/native/text_batch.ts';
import { loadTokenizer, saveTokenizer, type Tokenizer } from '../../src/tokenizer/tokenizer.ts';
import { generatedText, temporaryFolder } from '../data/stage_context.ts';
import { editedJson, SPECIALS, type TokenizerJson, trainTokenizer } from './fixture.ts';

const folder = temporaryFolder();
afterAll(folder.remove);
let tokenizer: Tokenizer;
beforeAll(async () => {
  tokenizer = await trainTokenizer(join(folder.path, 'gpt2'), 'gpt2', { bosToken: '<s>' });
});

let numFolders = 0;
/** Loads a folder with these files. */
function load(files: Record<string, string>): Promise<Tokenizer> {
  const dir = join(folder.path, `load-${numFolders++}`);
  mkdirSync(dir);
  for (const [name, text] of Object.entries(files)) writeFileSync(join(dir, name), text);
  return loadTokenizer(dir, { threads: 1 });
}
const loadEdited = (edit: (json: TokenizerJson) => unknown): Promise<Tokenizer> =>
  load({ 'tokenizer.json': editedJson(tokenizer, edit) });

describe('ids and text', () => {
  it.each(['gpt2', 'cl100k', 'llama3'] as const)('round trip: %s', async (pattern) => {
    const own = await trainTokenizer(join(folder.path, `trip-${pattern}`), pattern);
    for (let seed = 1; seed < 30; seed++) {
      const text = generatedText(seed, 50);
      const ids = own.encode(text);
      expect(own.decode(ids)).toBe(text);
      expect(ids.length).toBeLessThan(Buffer.byteLength(text));
    }
    const texts = ['', 'a', '\0', '\uFEFFx', '🙂🙃'];
    const { ids, ends } = await own.encodeBatch(textBatch(texts));
    expect(texts.map((_, i) => own.decode(ids.subarray(i === 0 ? 0 : ends[i - 1], ends[i])))).toEqual(texts);
  });

  it('bytes that are not UTF-8 survive as bytes', () => {
    const bytes = Uint8Array.of(0x61, 0xff, 0xc3, 0x28, 0xed, 0xa0, 0x80);
    expect(tokenizer.decode(tokenizer.encode(bytes))).toBe(new TextDecoder().decode(bytes));
  });

  it('special tokens are found only where asked for', () => {
    const text = 'a<|im_end|>b<s>';
    const found = [...tokenizer.encodeWithSpecials(text)];
    expect(found.filter((id) => id < 3)).toEqual([0, 2]);
    expect([...tokenizer.encode(text)].some((id) => id < 3)).toBe(false);
    for (const ids of [tokenizer.encode(text), found]) expect(tokenizer.decode(ids)).toBe(text);
    expect(tokenizer.decode(found, { skipSpecials: true })).toBe('ab');
    expect([...tokenizer.specials]).toEqual(SPECIALS.map((token, id) => [token, id]));
    expect([tokenizer.eosId, tokenizer.bosId, tokenizer.vocabSize]).toEqual([0, 2, 559]);
  });

  it('of special tokens that begin alike the longest counts', async () => {
    const own = await loadEdited((json) => {
      json.added_tokens.push({ ...json.added_tokens[0], id: 559, content: '<s>>' });
    });
    expect([...own.encodeWithSpecials('<s>><s>')]).toEqual([559, 2]);
  });

  it('streams whole characters', () => {
    const stream = tokenizer.decodeStream();
    const pieces = [...tokenizer.encode('x東🙂y')].map((id) => stream.push(id));
    expect(pieces.join('') + stream.end()).toBe('x東🙂y');
    expect(pieces.every((piece) => !piece.includes('\uFFFD'))).toBe(true);
    const cut = tokenizer.decodeStream();
    expect(cut.push(tokenizer.encode('東')[0]!)).toBe('');
    expect(cut.end()).toBe('\uFFFD');
  });

  it('ids beyond the vocabulary decode to nothing', () => {
    expect(tokenizer.decode([100_000, -1])).toBe('');
  });
});

describe('files', () => {
  it('are written as they were read', async () => {
    const dir = join(folder.path, 'copy');
    mkdirSync(dir);
    await saveTokenizer(tokenizer, dir);
    const copy = await loadTokenizer(dir);
    expect(copy.files).toEqual(tokenizer.files);
    expect(copy.hash).toBe(tokenizer.hash);
    expect(copy.chatTemplate).toBe(tokenizer.chatTemplate);
  });

  it('may write merges as text, tokens as objects, the template apart', async () => {
    const json = editedJson(tokenizer, ({ model }) => {
      model.merges = (model.merges as [string, string][]).map((pair) => pair.join(' '));
    });
    const config = { eos_token: { content: '<s>' }, chat_template: [{ name: 'default', template: 'A' }] };
    const own = await load({ 'tokenizer.json': json, 'tokenizer_config.json': JSON.stringify(config) });
    const text = generatedText(5, 100);
    expect(own.encode(text)).toEqual(tokenizer.encode(text));
    expect([own.eosId, own.bosId, own.chatTemplate]).toEqual([2, undefined, 'A']);
    const apart = await load({ 'tokenizer.json': json, 'chat_template.jinja': 'B' });
    expect([apart.eosId, apart.chatTemplate]).toEqual([undefined, 'B']);
  });

  it('ignore_merges takes a word that is a token whole, where merges do not lead to it', async () => {
    const edit = (ignore_merges: boolean) =>
      loadEdited(({ model }) => (Object.assign(model, { ignore_merges }).vocab.qqqqzzzz = 559));
    const [whole, merged] = [await edit(true), await edit(false)];
    expect(whole.encode('some words')).toEqual(tokenizer.encode('some words'));
    expect([...whole.encode('qqqqzzzz')]).toEqual([559]);
    expect([...merged.encode('qqqqzzzz')]).not.toContain(559);
    expect(whole.encode('qqqqzzzzx')).toEqual(merged.encode('qqqqzzzzx'));
  });

  it('several merges may lead to one token', async () => {
    const own = await loadEdited(({ model }) => {
      model.merges = [
        ['q', 'z'],
        ['z', 'q'],
        ['qz', 'q'],
        ['q', 'zq'],
      ];
      Object.assign(model.vocab, { qz: 559, zq: 560, qzq: 561 });
    });
    expect([...own.encode('qzq')]).toEqual([561]);
    expect([...own.encode('zq')]).toEqual([560]);
  });

  const edits: [string, (json: TokenizerJson) => unknown, string][] = [
    ['another model', ({ model }) => Object.assign(model, { type: 'Unigram' }), 'model.type'],
    ['a byte that is missing', ({ model }) => Reflect.deleteProperty(model.vocab, 'Ā'), 'model.vocab'],
    ['a merge of nothing', ({ model }) => model.merges.push(['a', 'nothing']), 'model.merges'],
    [
      'a merge of parts that no merge makes',
      ({ model }) => {
        model.vocab.xyz = 559;
        model.merges.push(['xy', 'z']);
      },
      'model.merges',
    ],
    ['half a merge', ({ model }) => model.merges.splice(0, 1, 'a'), 'model.merges.0'],
    [
      'characters without bytes to fall back to',
      (json) => Object.assign(json, { decoder: { type: 'Fuse' }, pre_tokenizer: null }),
      'model.byte_fallback',
    ],
    [
      'an added token with two ids',
      ({ model }) => Object.assign(model.vocab, { '<s>': 9 }),
      'added_tokens.2',
    ],
    ['dropout', ({ model }) => Object.assign(model, { dropout: 0.1 }), 'model.dropout'],
    [
      'an added token that is nothing',
      (json) => Object.assign(json.added_tokens[0]!, { content: '' }),
      'added_tokens.0.content',
    ],
  ];
  it('of other kinds are run by the package tokenizers', async () => {
    const folded = await loadEdited((json) => Object.assign(json, { normalizer: { type: 'NFKC' } }));
    expect(folded.encode('ﬁve words')).toEqual(tokenizer.encode('five words'));
    const split = { type: 'Split', pattern: { Regex: 'x' }, behavior: 'Isolated', invert: false };
    const cut = await loadEdited((json) => {
      json.pre_tokenizer = { type: 'Sequence', pretokenizers: [split, json.pre_tokenizer] };
    });
    const apart = ['the', 'x', 'the'].flatMap((word) => [...tokenizer.encode(word)]);
    expect([...cut.encode('thexthe')]).toEqual(apart);
    expect(cut.decode(cut.encode('thexthe'))).toBe('thexthe');
  });

  it.each(edits)('are refused with %s', async (_, edit, place) => {
    await expect(loadEdited(edit)).rejects.toMatchObject({
      code: 'tokenizer_invalid',
      message: expect.stringContaining(place),
      hint: expect.any(String),
    });
  });

  it('are refused when missing, broken, or naming tokens that are not there', async () => {
    const json = tokenizer.files.get('tokenizer.json')!;
    await expect(load({})).rejects.toMatchObject({ code: 'file_not_found' });
    await expect(load({ 'tokenizer.json': json.slice(0, 1000) })).rejects.toMatchObject({
      code: 'tokenizer_invalid',
    });
    for (const config of ['{', '{"eos_token": 5}', '{"eos_token": "<none>"}']) {
      await expect(load({ 'tokenizer.json': json, 'tokenizer_config.json': config })).rejects.toMatchObject({
        code: 'tokenizer_invalid',
        path: expect.stringContaining('tokenizer_config.json'),
      });
    }
  });
});
