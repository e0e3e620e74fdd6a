/**
 * The tokenizer as the stages see it. `loadTokenizer(dir)` reads `tokenizer.json`, `tokenizer_config.json` and,
 * where there is one, `chat_template.jinja`; `saveTokenizer` writes them again, byte for byte.
 */
import { readFile } from 'node:fs/promises';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { z } from 'zod';
import { AnnealError } from '../../proto/errors.ts';
import { folderOf } from '../models/adapter_base.ts';
import { type BpeEncoder, loadAddon } from '../native/addon.ts';
import type { TextBatch } from '../native/text_batch.ts';
import { asFileError, writeFileAtomic } from '../util/files.ts';
import { sha256 } from '../util/hash.ts';
import { parseTokenizerJson, type Vocabulary } from './tokenizer_file.ts';

export interface Tokenizer {
  vocabSize: number;
  bosId: number | undefined;
  eosId: number | undefined;
  /** Special tokens by their text. */
  specials: ReadonlyMap<string, number>;
  chatTemplate: string | undefined;
  /** SHA-256 of tokenizer.json: travels with each artifact. */
  hash: string;
  /** Ids that the file's post-processor puts around one text (BOS, EOS); `encode` does not. */
  frame: { before: readonly number[]; after: readonly number[] };
  /** The files it was loaded from, by name: what `saveTokenizer` writes. */
  files: ReadonlyMap<string, string>;
  /** Plain text to ids: special tokens in it are text like any other (other added tokens are found); none are put
   * around it. */
  encode(text: string | Uint8Array): Int32Array;
  /** Text of a rendered chat template: special tokens are recognised. */
  encodeWithSpecials(text: string | Uint8Array): Int32Array;
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
    model: vocabulary.model,
    added: vocabulary.added,
    text: vocabulary.text,
    threads: options.threads ?? availableParallelism(),
  });
  const tokenizer = new BpeTokenizer(vocabulary, encoder, files, template);
  tokenizer.bosId = tokenizer.namedId(bos_token ?? undefined, 'bos_token', configPath);
  tokenizer.eosId = tokenizer.namedId(eos_token ?? undefined, 'eos_token', configPath);
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

class BpeTokenizer implements Tokenizer {
  readonly vocabSize: number;
  bosId: number | undefined;
  eosId: number | undefined;
  readonly specials: ReadonlyMap<string, number>;
  readonly chatTemplate: string | undefined;
  readonly hash: string;
  readonly frame: Vocabulary['frame'];
  readonly files: ReadonlyMap<string, string>;
  readonly #encoder: BpeEncoder;
  readonly #idOf: (token: string) => number | undefined;
  /** Bytes of each id; undefined where the vocabulary has a gap. */
  readonly #bytes: (Uint8Array | undefined)[];
  readonly #specialIds: ReadonlySet<number>;
  readonly #stripFirstSpace: boolean;

  constructor(
    vocabulary: Vocabulary,
    encoder: BpeEncoder,
    files: ReadonlyMap<string, string>,
    template: string | undefined,
  ) {
    const { added, tokens } = vocabulary;
    this.#encoder = encoder;
    this.files = files;
    this.hash = sha256(files.get('tokenizer.json')!);
    this.chatTemplate = template;
    this.frame = vocabulary.frame;
    const addedIds = new Map(added.map(({ content, id }) => [content, id]));
    this.#idOf = (token) => addedIds.get(token) ?? tokens.get(token);
    this.specials = new Map(added.filter(({ special }) => special).map((t) => [t.content, t.id]));
    this.#specialIds = new Set(this.specials.values());
    this.#bytes = vocabulary.tokenBytes;
    for (const { id, content } of added) this.#bytes[id] = Buffer.from(content);
    this.vocabSize = this.#bytes.length;
    this.#stripFirstSpace = vocabulary.stripFirstSpace;
  }

  namedId(token: string | undefined, field: string, path: string): number | undefined {
    if (token === undefined) return undefined;
    const id = this.#idOf(token);
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
    return this.#encoder.encode(asBytes(text), false);
  }

  encodeWithSpecials(text: string | Uint8Array): Int32Array {
    return this.#encoder.encode(asBytes(text), true);
  }

  encodeBatch(documents: TextBatch): Promise<{ ids: Int32Array; ends: Float64Array }> {
    return this.#encoder.encodeBatch(documents, false);
  }

  decode(ids: Iterable<number>, options: { skipSpecials?: boolean } = {}): string {
    const stream = this.decodeStream(options);
    let text = '';
    for (const id of ids) text += stream.push(id);
    return text + stream.end();
  }

  decodeStream(options: { skipSpecials?: boolean } = {}): { push(id: number): string; end(): string } {
    const decoder = new TextDecoder('utf-8', { ignoreBOM: true });
    let atStart = this.#stripFirstSpace;
    return {
      push: (id) => {
        const bytes = this.#bytes[id];
        if (bytes === undefined || (options.skipSpecials && this.#specialIds.has(id))) return '';
        const strip = atStart && bytes[0] === 0x20;
        atStart = atStart && bytes.length === 0;
        return decoder.decode(strip ? bytes.subarray(1) : bytes, { stream: true });
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

function asBytes(text: string | Uint8Array): Uint8Array {
  return typeof text === 'string' ? Buffer.from(text) : text;
}
