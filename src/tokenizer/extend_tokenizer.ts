/**
 * A tokenizer with further merges and special tokens: every token of the old one keeps its id, new ones follow, and
 * the rest of its files stays as it is. `transformers` loads what comes out.
 */
import { AnnealError } from '../../proto/errors.ts';

/** The fields of a tokenizer.json that change; the others are carried along. */
interface TokenizerFile {
  added_tokens: AddedEntry[];
  model: { vocab: Record<string, number>; merges: (string | [string, string])[] };
}
interface AddedEntry {
  id: number;
  content: string;
  single_word: boolean;
  lstrip: boolean;
  rstrip: boolean;
  normalized: boolean;
  special: boolean;
}

export interface Extension {
  /** Left and right id of each merge, in turn; the results are `firstId` and on. */
  merges: Int32Array;
  specialTokens: readonly string[];
}

/** The first id that no token of a tokenizer.json has. */
export function nextId(text: string): number {
  const { added_tokens, model } = JSON.parse(text) as TokenizerFile;
  let next = 0;
  for (const id of Object.values(model.vocab)) next = Math.max(next, id + 1);
  for (const { id } of added_tokens) next = Math.max(next, id + 1);
  return next;
}

/** The files of the extended tokenizer, by name. */
export function extendedFiles(
  files: ReadonlyMap<string, string>,
  { merges, specialTokens }: Extension,
): Map<string, string> {
  const text = files.get('tokenizer.json')!;
  const content = JSON.parse(text) as TokenizerFile;
  const firstId = nextId(text);
  const { vocab } = content.model;
  const strings: string[] = [];
  for (const [token, id] of Object.entries(vocab)) strings[id] = token;
  // Older files write a merge as one string, which tokens with spaces in them could not do.
  const asString = typeof content.model.merges[0] === 'string';
  for (let i = 0; i < merges.length; i += 2) {
    const [left, right] = [strings[merges[i]!]!, strings[merges[i + 1]!]!];
    const id = firstId + i / 2;
    strings[id] = left + right;
    vocab[left + right] = id;
    content.model.merges.push(asString ? `${left} ${right}` : [left, right]);
  }

  const known = new Set(content.added_tokens.map((token) => token.content));
  const added = specialTokens
    .filter((token) => !known.has(token))
    .map((token, i): AddedEntry => {
      if (Object.hasOwn(vocab, token)) {
        throw new AnnealError(
          'tokenizer_invalid',
          `The special token ${JSON.stringify(token)} is an ordinary token of the vocabulary.`,
          { path: 'special_tokens', hint: 'Choose one that cannot occur as an ordinary word of the text.' },
        );
      }
      return {
        id: firstId + merges.length / 2 + i,
        content: token,
        single_word: false,
        lstrip: false,
        rstrip: false,
        normalized: false,
        special: true,
      };
    });
  content.added_tokens.push(...added);
  const extended = new Map(files);
  extended.set('tokenizer.json', `${JSON.stringify(content, null, 2)}\n`);
  const config = extended.get('tokenizer_config.json');
  if (config !== undefined && added.length > 0) {
    extended.set('tokenizer_config.json', withAddedTokens(config, added));
  }
  return extended;
}

/** `tokenizer_config.json` lists added tokens a second time, where it lists them at all. */
function withAddedTokens(text: string, added: readonly AddedEntry[]): string {
  const config = JSON.parse(text) as { added_tokens_decoder?: Record<string, Omit<AddedEntry, 'id'>> };
  if (config.added_tokens_decoder === undefined) return text;
  for (const { id, ...token } of added) config.added_tokens_decoder[id] = token;
  return `${JSON.stringify(config, null, 2)}\n`;
}
