/**
 * The tokenizer as the stages see it. `loadTokenizer(dir)` reads `tokenizer.json`, `tokenizer_config.json` and,
 * where there is one, `chat_template.jinja`; `saveTokenizer` writes them again, byte for byte.
 */
import { isUtf8 } from 'node:buffer';
import { readFile } from 'node:fs/promises';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { z } from 'zod';
import { AnnealError } from '../../proto/errors.ts';
import { folderOf } from '../models/adapter_base.ts';
import { type BpeEncoder, loadAddon } from '../native/addon.ts';
import { type TextBatch, textBatch } from '../native/text_batch.ts';
import { asFileError, writeFileAtomic } from '../util/files.ts';
import { sha256 } from '../util/hash.ts';
import { tokenBytes } from './byte_level.ts';
import { type AddedToken, parseTokenizerJson, type Vocabulary } from './tokenizer_json.ts';

export interface Tokenizer {
  vocabSize: number;
  bosId: number | undefined;
  eosId: number | undefined;
  /** Special tokens by their text. */
  specials: ReadonlyMap<string, number>;
  chatTemplate: string | undefined;
  /** SHA-256 of tokenizer.json: travels with each artifact. */
  hash: string;
  /** The files it was loaded from, by name: what `saveTokenizer` writes. */
  files: ReadonlyMap<string, string>;
  /** Plain text to ids: special tokens inside the text are not recognised, none are added. */
  encode(text: string | Uint8Array): Int32Array;
  /** Text of a rendered chat template: special tokens are recognised. */
  encodeWithSpecials(text: string): Int32Array;
  /** Many documents on all threads; ends are exclusive offsets into ids. */
  encodeBatch(documents: TextBatch): Promise<{ ids: Int32Array; ends: Float64Array }>;
  /** Bytes of ids joined, then read as UTF-8; `skipSpecials` leaves special tokens out. */
  decode(ids: Iterable<number>, options?: { skipSpecials?: boolean }): string;
  /** For streaming: text is held back while a character is incomplete. */
  decodeStream(options?: { skipSpecials?: boolean }): { push(id: number): string; end(): string };
  /** The bytes of all tokens end to end, and where each ends; special tokens and gaps have none. */
  vocabularyBytes(): { bytes: Uint8Array; ends: Int32Array };
}

const TOKENIZER_FILES = [
  'tokenizer.json',
  'tokenizer_config.json',
  'special_tokens_map.json',
  'chat_template.jinja',
] as const;

const namedToken = z.union([
  z.string(),
  z.object({ content: z.string() }).transform((token) => token.content),
]);
const configSchema = z.object({
  bos_token: namedToken.nullish(),
  eos_token: namedToken.nullish(),
  chat_template: z
    .union([z.string(), z.array(z.object({ name: z.string(), template: z.string() }))])
    .nullish(),
});

/**
 * Loads the tokenizer of a folder (a model, an artifact of the `tokenizer` stage). An adapter without one has its
 * base's.
 */
export async function loadTokenizer(folder: string, options: { threads?: number } = {}): Promise<Tokenizer> {
  const dir = await folderOf(folder, 'tokenizer.json');
  const files = new Map<string, string>();
  for (const name of TOKENIZER_FILES) {
    const text = await readOptional(join(dir, name));
    if (text !== undefined) files.set(name, text);
  }
  const text = files.get('tokenizer.json');
  if (text === undefined) {
    throw new AnnealError('file_not_found', `${join(dir, 'tokenizer.json')} does not exist.`, {
      hint: 'Name a folder with a Hugging Face tokenizer.json, or a stage that makes a tokenizer.',
      path: join(dir, 'tokenizer.json'),
    });
  }
  const path = join(dir, 'tokenizer.json');
  const vocabulary = parseTokenizerJson(parseJson(text, path), path);
  const configPath = join(dir, 'tokenizer_config.json');
  const config = configSchema.safeParse(parseJson(files.get('tokenizer_config.json') ?? '{}', configPath));
  if (!config.success) {
    const issue = config.error.issues[0]!;
    throw new AnnealError('tokenizer_invalid', `${configPath}: ${issue.path.join('.')}: ${issue.message}.`, {
      path: configPath,
    });
  }
  const { bos_token, eos_token, chat_template } = config.data;
  const template =
    files.get('chat_template.jinja') ??
    (Array.isArray(chat_template)
      ? chat_template.find(({ name }) => name === 'default')?.template
      : (chat_template ?? undefined));
  const encoder = loadAddon().createBpeEncoder({
    pattern: vocabulary.pattern,
    merges: vocabulary.merges,
    ids: vocabulary.ids,
    threads: options.threads ?? availableParallelism(),
  });
  const tokenizer = new ByteLevelTokenizer(vocabulary, encoder, files, template);
  tokenizer.bosId = tokenizer.namedId(bos_token ?? undefined, 'bos_token', configPath);
  tokenizer.eosId = tokenizer.namedId(eos_token ?? undefined, 'eos_token', configPath);
  if (vocabulary.ignoreMerges) await requireReachable(vocabulary, tokenizer, path);
  return tokenizer;
}

/** Writes the files of a tokenizer to a folder that exists. */
export async function saveTokenizer(tokenizer: Pick<Tokenizer, 'files'>, dir: string): Promise<void> {
  for (const [name, text] of tokenizer.files) await writeFileAtomic(join(dir, name), text);
}

async function readOptional(path: string): Promise<string | undefined> {
  try {
    return await readFile(path, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw asFileError(error, path);
  }
}

function parseJson(text: string, path: string): unknown {
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new AnnealError('tokenizer_invalid', `${path} is not valid JSON: ${(error as Error).message}`, {
      path,
      hint: 'The file is broken or cut short; fetch or make it again.',
      cause: error,
    });
  }
}

/**
 * With `ignore_merges` a word of the vocabulary is taken whole. Where the merges lead to it anyway that changes
 * nothing, which is checked here once for every token.
 */
async function requireReachable(vocabulary: Vocabulary, tokenizer: Tokenizer, path: string): Promise<void> {
  const added = new Set(vocabulary.added.map(({ id }) => id));
  const tokens = [...vocabulary.tokens].flatMap(([token, id]) => {
    const bytes = tokenBytes(token);
    // Part of a character is never a word, and added tokens are found before words are cut.
    return bytes === undefined || !isUtf8(bytes) || added.has(id) ? [] : [{ id, bytes }];
  });
  const { ids, ends } = await tokenizer.encodeBatch(textBatch(tokens.map(({ bytes }) => bytes)));
  const unreachable = tokens.filter(({ id }, i) => {
    const start = i === 0 ? 0 : ends[i - 1]!;
    return ends[i]! - start !== 1 || ids[start] !== id;
  });
  if (unreachable.length > 0) {
    throw new AnnealError(
      'tokenizer_invalid',
      `${path}: model.ignore_merges is set, and the merges do not lead to ${unreachable.length} of its tokens (ids ${unreachable
        .slice(0, 5)
        .map(({ id }) => id)
        .join(', ')}, ...).`,
      { path, hint: 'Ids would differ from those that the model was trained with.' },
    );
  }
}

class ByteLevelTokenizer implements Tokenizer {
  readonly vocabSize: number;
  bosId: number | undefined;
  eosId: number | undefined;
  readonly specials: ReadonlyMap<string, number>;
  readonly chatTemplate: string | undefined;
  readonly hash: string;
  readonly files: ReadonlyMap<string, string>;
  readonly #encoder: BpeEncoder;
  readonly #tokens: ReadonlyMap<string, number>;
  readonly #added: ReadonlyMap<string, AddedToken>;
  readonly #addedPattern: RegExp | undefined;
  /** Bytes of each id; undefined where the vocabulary has a gap. */
  readonly #bytes: (Uint8Array | undefined)[] = [];
  readonly #specialIds: ReadonlySet<number>;

  constructor(
    vocabulary: Vocabulary,
    encoder: BpeEncoder,
    files: ReadonlyMap<string, string>,
    template: string | undefined,
  ) {
    this.#encoder = encoder;
    this.files = files;
    this.hash = sha256(files.get('tokenizer.json')!);
    this.chatTemplate = template;
    this.#tokens = vocabulary.tokens;
    this.#added = new Map(vocabulary.added.map((token) => [token.content, token]));
    this.specials = new Map(vocabulary.added.filter(({ special }) => special).map((t) => [t.content, t.id]));
    this.#specialIds = new Set(this.specials.values());
    for (const [token, id] of vocabulary.tokens) this.#bytes[id] = tokenBytes(token) ?? Buffer.from(token);
    for (const { id, content } of vocabulary.added) this.#bytes[id] = Buffer.from(content);
    this.vocabSize = this.#bytes.length;
    // Of added tokens that begin at the same place the longest one counts.
    const alternatives = [...this.#added.keys()].sort((a, b) => b.length - a.length).map(escapeRegex);
    this.#addedPattern = alternatives.length > 0 ? new RegExp(alternatives.join('|'), 'gu') : undefined;
  }

  namedId(token: string | undefined, field: string, path: string): number | undefined {
    if (token === undefined) return undefined;
    const id = this.#added.get(token)?.id ?? this.#tokens.get(token);
    if (id !== undefined) return id;
    throw new AnnealError(
      'tokenizer_invalid',
      `${path}: ${field} ${JSON.stringify(token)} is not in the vocabulary.`,
      {
        path,
        hint: 'Name a token that tokenizer.json lists, or leave the field out.',
      },
    );
  }

  encode(text: string | Uint8Array): Int32Array {
    return this.#encoder.encode(typeof text === 'string' ? Buffer.from(text) : text);
  }

  encodeWithSpecials(text: string): Int32Array {
    const parts: (Int32Array | number)[] = [];
    let end = 0;
    for (const match of this.#addedPattern === undefined ? [] : text.matchAll(this.#addedPattern)) {
      if (match.index > end) parts.push(this.encode(text.slice(end, match.index)));
      parts.push(this.#added.get(match[0])!.id);
      end = match.index + match[0].length;
    }
    if (end < text.length) parts.push(this.encode(text.slice(end)));
    const ids = new Int32Array(
      parts.reduce<number>((sum, p) => sum + (typeof p === 'number' ? 1 : p.length), 0),
    );
    let at = 0;
    for (const part of parts) {
      if (typeof part === 'number') {
        ids[at++] = part;
      } else {
        ids.set(part, at);
        at += part.length;
      }
    }
    return ids;
  }

  encodeBatch(documents: TextBatch): Promise<{ ids: Int32Array; ends: Float64Array }> {
    return this.#encoder.encodeBatch(documents);
  }

  decode(ids: Iterable<number>, options: { skipSpecials?: boolean } = {}): string {
    const stream = this.decodeStream(options);
    let text = '';
    for (const id of ids) text += stream.push(id);
    return text + stream.end();
  }

  decodeStream(options: { skipSpecials?: boolean } = {}): { push(id: number): string; end(): string } {
    const decoder = new TextDecoder('utf-8', { ignoreBOM: true });
    return {
      push: (id) => {
        const bytes = this.#bytes[id];
        if (bytes === undefined || (options.skipSpecials && this.#specialIds.has(id))) return '';
        return decoder.decode(bytes, { stream: true });
      },
      end: () => decoder.decode(),
    };
  }

  vocabularyBytes(): { bytes: Uint8Array; ends: Int32Array } {
    const texts = Array.from(this.#bytes, (bytes, id) =>
      bytes === undefined || this.#specialIds.has(id) ? new Uint8Array(0) : bytes,
    );
    let end = 0;
    const ends = Int32Array.from(texts, (text) => (end += text.length));
    return { bytes: Buffer.concat(texts), ends };
  }
}

function escapeRegex(text: string): string {
  return text.replace(/[\\^$.*+?()[\]{}|/]/g, '\\$&');
}
