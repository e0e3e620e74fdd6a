/**
 * The tokenizer as the stages see it. `loadTokenizer(dir)` reads `tokenizer.json`, `tokenizer_config.json` and,
 * where there is one, `chat_template.jinja`; `saveTokenizer` writes them again, byte for byte. The native encoder runs
 * those that it knows, the package `tokenizers` all others.
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
import { BpeTokenizer } from './bpe_tokenizer.ts';
import { loadLibraryTokenizer } from './library_tokenizer.ts';
import { parseTokenizerJson, UnknownKind, type Vocabulary } from './tokenizer_file.ts';

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
  /** Stands for text that the vocabulary has no tokens for; undefined where it has tokens for all. */
  unkId?: number | undefined;
  /** The files it was loaded from, by name: what `saveTokenizer` writes. */
  files: ReadonlyMap<string, string>;
  /** Plain text to ids: special tokens in it are text like any other (other added tokens are found); none are put
   * around it. */
  encode(text: string | Uint8Array): Int32Array;
  /** Text of a rendered chat template: special tokens are recognised. */
  encodeWithSpecials(text: string | Uint8Array): Int32Array;
  /** Many documents on all threads; ends are exclusive offsets into ids. */
  encodeBatch(documents: TextBatch): Promise<{ ids: Int32Array; ends: Float64Array }>;
  /** Text of ids; those that are no token say nothing. */
  decode(ids: Iterable<number>, options?: DecodeOptions): string;
  /** For streaming: text is held back while a character is incomplete. */
  decodeStream(options?: DecodeOptions): TextStream;
  /**
   * The bytes of all tokens end to end, and where each ends; special tokens and gaps have none. Throws
   * `constraint_invalid` for a kind whose tokens are not bytes.
   */
  vocabularyBytes(): { bytes: Uint8Array; ends: Int32Array };
}

export interface DecodeOptions {
  /** Special tokens are left out. */
  skipSpecials?: boolean;
}

export interface TextStream {
  push(id: number): string;
  /** What was held back. */
  end(): string;
}

/** What loading makes: BOS and EOS are named by another file. */
export interface LoadedTokenizer extends Tokenizer {
  idOf(token: string): number | undefined;
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
  const content = parseJson(text, path);
  const configPath = join(dir, 'tokenizer_config.json');
  const config = configSchema.safeParse(parseJson(files.get('tokenizer_config.json') ?? '{}', configPath));
  if (!config.success) {
    const issue = config.error.issues[0]!;
    throw new AnnealError('tokenizer_invalid', `${configPath}: ${issue.path.join('.')}: ${issue.message}.`, {
      path: configPath,
    });
  }
  const { bos_token, eos_token, chat_template } = config.data;
  const chatTemplate =
    files.get('chat_template.jinja') ??
    (Array.isArray(chat_template)
      ? chat_template.find(({ name }) => name === 'default')?.template
      : (chat_template ?? undefined));
  const vocabulary = readVocabulary(content, path);
  const tokenizer =
    vocabulary instanceof UnknownKind
      ? await loadLibraryTokenizer(content, vocabulary, { files, chatTemplate })
      : new BpeTokenizer(vocabulary, nativeEncoder(vocabulary, options.threads), { files, chatTemplate });
  const idOf = (token: string | undefined, field: string): number | undefined => {
    const id = token === undefined ? undefined : tokenizer.idOf(token);
    if (token === undefined || id !== undefined) return id;
    throw new AnnealError(
      'tokenizer_invalid',
      `${configPath}: ${field} ${JSON.stringify(token)} is not in the vocabulary.`,
      { path: configPath, hint: 'Name a token that tokenizer.json lists, or leave the field out.' },
    );
  };
  tokenizer.bosId = idOf(bos_token ?? undefined, 'bos_token');
  tokenizer.eosId = idOf(eos_token ?? undefined, 'eos_token');
  return tokenizer;
}

/** The vocabulary for the native encoder, or why it cannot run it. */
function readVocabulary(content: unknown, path: string): Vocabulary | UnknownKind {
  try {
    return parseTokenizerJson(content, path);
  } catch (error) {
    if (error instanceof UnknownKind) return error;
    throw error;
  }
}

function nativeEncoder(
  { pattern, model, added, text }: Vocabulary,
  threads = availableParallelism(),
): BpeEncoder {
  return loadAddon().createBpeEncoder({ pattern, model, added, text, threads });
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
