/** Small tokenizer.json files of the kinds that the package `tokenizers` runs, made of the words of a text. */
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

export interface KindFile {
  added_tokens: object[];
  model: { type: string; [field: string]: unknown };
  [field: string]: unknown;
}

export const addedToken = (id: number, content: string, more: object = {}): object => ({
  ...{ id, content, single_word: false, lstrip: false, rstrip: false, normalized: false, special: true },
  ...more,
});

const metaspace = { type: 'Metaspace', replacement: '▁', prepend_scheme: 'always', split: true };

const countsOf = (pieces: string[]): Map<string, number> => {
  const counts = new Map<string, number>();
  for (const piece of pieces) counts.set(piece, (counts.get(piece) ?? 0) + 1);
  return counts;
};

/** T5's kind: words and characters with their log-probabilities; `</s>` after a text. */
export function unigramFile(text: string): KindFile {
  const words = text.split(/\s+/).map((word) => `▁${word}`);
  const counts = countsOf([...words, ...words.flatMap((word) => [...word])]);
  const all = words.length * 4;
  const vocab = [...counts].map(([piece, count]): [string, number] => [piece, Math.log(count / all)]);
  return {
    version: '1.0',
    added_tokens: [addedToken(0, '<pad>'), addedToken(1, '</s>'), addedToken(2, '<unk>')],
    normalizer: { type: 'NFKC' },
    pre_tokenizer: metaspace,
    post_processor: {
      type: 'TemplateProcessing',
      single: [{ Sequence: { id: 'A', type_id: 0 } }, { SpecialToken: { id: '</s>', type_id: 0 } }],
      pair: [{ Sequence: { id: 'A', type_id: 0 } }, { Sequence: { id: 'B', type_id: 0 } }],
      special_tokens: { '</s>': { id: '</s>', ids: [1], tokens: ['</s>'] } },
    },
    decoder: metaspace,
    model: {
      type: 'Unigram',
      unk_id: 2,
      byte_fallback: false,
      vocab: [['<pad>', 0], ['</s>', 0], ['<unk>', 0], ...vocab],
    },
  };
}

/** BERT's kind: words in small letters, pieces of one letter; cut to 16 tokens where somebody obeys the file. */
export function wordPieceFile(text: string): KindFile {
  const words = text.toLowerCase().match(/[a-z]+|[^\sa-z]/gu)!;
  const letters = [...new Set(words.join(''))];
  const tokens = [
    ...['[PAD]', '[UNK]', '[CLS]', '[SEP]'],
    ...new Set([...letters, ...letters.map((letter) => `##${letter}`), ...words]),
  ];
  return {
    version: '1.0',
    truncation: { direction: 'Right', max_length: 16, strategy: 'LongestFirst', stride: 0 },
    padding: { strategy: { Fixed: 16 }, direction: 'Right', pad_id: 0, pad_type_id: 0, pad_token: '[PAD]' },
    added_tokens: ['[PAD]', '[UNK]', '[CLS]', '[SEP]'].map((token, id) => addedToken(id, token)),
    normalizer: { type: 'BertNormalizer', clean_text: true, handle_chinese_chars: true, lowercase: true },
    pre_tokenizer: { type: 'BertPreTokenizer' },
    post_processor: { type: 'BertProcessing', sep: ['[SEP]', 3], cls: ['[CLS]', 2] },
    decoder: { type: 'WordPiece', prefix: '##', cleanup: true },
    model: {
      type: 'WordPiece',
      unk_token: '[UNK]',
      continuing_subword_prefix: '##',
      max_input_chars_per_word: 100,
      vocab: Object.fromEntries(tokens.map((token, id) => [token, id])),
    },
  };
}

/** Writes a folder with the file, and its EOS and chat template where they are given. */
export function writeKind(dir: string, file: object, config: object = {}): string {
  mkdirSync(dir, { recursive: true });
  writeFileSync(join(dir, 'tokenizer.json'), JSON.stringify(file));
  writeFileSync(join(dir, 'tokenizer_config.json'), JSON.stringify(config));
  return dir;
}
