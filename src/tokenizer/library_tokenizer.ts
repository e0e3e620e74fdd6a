/** A tokenizer that the npm package `tokenizers` runs: Unigram, WordPiece, WordLevel, and BPE of unknown kinds. */
import { createRequire } from 'node:module';
import { AnnealError } from '../../proto/errors.ts';
import type { TextBatch } from '../native/text_batch.ts';
import { sha256 } from '../util/hash.ts';
import { asBytes } from './bpe_tokenizer.ts';
import { type LibraryIds, type LibraryReply, type LibraryRequest, libraryThread } from './library_client.ts';
import type { DecodeOptions, LoadedTokenizer, TextStream, Tokenizer } from './tokenizer.ts';
import type { UnknownKind } from './tokenizer_file.ts';

/** What of a tokenizer.json is looked at here. */
interface File {
  added_tokens?: { id: number; content: string; special: boolean }[];
  normalizer?: unknown;
  pre_tokenizer?: unknown;
  decoder?: unknown;
  model?: {
    type?: string;
    dropout?: number | null;
    byte_fallback?: boolean;
    unk_token?: string | null;
    unk_id?: number | null;
  };
}

/** Joins tokens to text. */
interface Decoder {
  decode(tokens: string[]): string;
}

/** Loads a file that the native encoder does not know, for the reason `unknown`. */
export async function loadLibraryTokenizer(
  content: unknown,
  unknown: UnknownKind,
  said: Pick<Tokenizer, 'files' | 'chatTemplate'>,
): Promise<LoadedTokenizer> {
  const file = content as File;
  const json = said.files.get('tokenizer.json')!;
  const where = unknown.path === undefined ? {} : { path: unknown.path };
  const fault = faultOf(file);
  if (fault !== undefined) {
    throw new AnnealError('tokenizer_invalid', `${unknown.path}: ${fault}.`, {
      ...where,
      hint: unknown.hint!,
    });
  }
  const reply = await libraryThread().ask({ ask: 'load', hash: sha256(json), json });
  if ('loaded' in reply) return new LibraryTokenizer(file, reply.loaded, said);
  const { error, noBinary } = reply as Extract<LibraryReply, { error: string }>;
  const problem = noBinary ? 'cannot be loaded' : 'cannot use the file';
  throw new AnnealError(
    'tokenizer_invalid',
    `${unknown.message} The package tokenizers, which runs other kinds, ${problem}: ${sentence(error)}`,
    {
      ...where,
      hint: noBinary
        ? 'Run `npm install` on this machine: the package has a binary for each system. Byte-level tokenizers need none of it.'
        : unknown.hint!,
    },
  );
}

/** What the package would do without a word, and nobody wants. */
function faultOf({ model, normalizer, pre_tokenizer }: File): string | undefined {
  if (model?.dropout) return 'model.dropout would give other ids each time';
  const isByteLevel = JSON.stringify([normalizer, pre_tokenizer]).includes('"ByteLevel"');
  if (model?.type === 'BPE' && !model.unk_token && !model.byte_fallback && !isByteLevel) {
    return 'model.byte_fallback: without it and without unk_token, text that the vocabulary lacks would vanish';
  }
  return undefined;
}

/** The first line of a message, as the end of one of ours. */
function sentence(message: string): string {
  return `${message.split('\n')[0]!.replace(/\.$/, '')}.`;
}

/** A decoder as the file says; without one tokens are joined by spaces. */
function decoderOf({ decoder }: File): Decoder {
  const { Tokenizer } = createRequire(import.meta.url)('tokenizers') as {
    Tokenizer: { fromString(json: string): { getDecoder(): Decoder | null } };
  };
  const model = { type: 'WordLevel', vocab: {}, unk_token: '' };
  const empty = { version: '1.0', added_tokens: [], model, decoder: decoder ?? null };
  return Tokenizer.fromString(JSON.stringify(empty)).getDecoder() ?? { decode: (tokens) => tokens.join(' ') };
}

class LibraryTokenizer implements LoadedTokenizer {
  readonly vocabSize: number;
  bosId: number | undefined;
  eosId: number | undefined;
  readonly unkId: number | undefined;
  readonly specials: ReadonlyMap<string, number>;
  readonly chatTemplate: string | undefined;
  readonly hash: string;
  readonly frame: Tokenizer['frame'];
  readonly files: ReadonlyMap<string, string>;
  readonly #kind: string;
  readonly #tokens: readonly (string | undefined)[];
  readonly #ids: ReadonlyMap<string | undefined, number>;
  readonly #decoder: Decoder;

  constructor(
    file: File,
    { tokens, frame }: Extract<LibraryReply, { loaded: unknown }>['loaded'],
    { files, chatTemplate }: Pick<Tokenizer, 'files' | 'chatTemplate'>,
  ) {
    const { type, unk_id, unk_token } = file.model ?? {};
    this.files = files;
    this.hash = sha256(files.get('tokenizer.json')!);
    this.chatTemplate = chatTemplate;
    this.frame = frame;
    this.vocabSize = tokens.length;
    this.#kind = type ?? 'another model';
    this.#tokens = tokens;
    this.#ids = new Map(tokens.map((token, id) => [token, id]));
    this.unkId = unk_id ?? (typeof unk_token === 'string' ? this.idOf(unk_token) : undefined);
    const special = (file.added_tokens ?? []).filter((token) => token.special);
    this.specials = new Map(special.map(({ content, id }) => [content, id]));
    this.#decoder = decoderOf(file);
  }

  idOf(token: string): number | undefined {
    return this.#ids.get(token);
  }

  encode(text: string | Uint8Array): Int32Array {
    return this.#encodeNow(text, false);
  }

  encodeWithSpecials(text: string | Uint8Array): Int32Array {
    return this.#encodeNow(text, true);
  }

  async encodeBatch(documents: TextBatch): Promise<LibraryIds> {
    return encodedOf(await libraryThread().ask(this.#request(documents, false)));
  }

  decode(ids: Iterable<number>, options: DecodeOptions = {}): string {
    const tokens: string[] = [];
    for (const id of ids) {
      const token = this.#shown(id, options);
      if (token !== undefined) tokens.push(token);
    }
    return this.#decoder.decode(tokens);
  }

  /**
   * How a token is written depends on its neighbours: the text of the last ones is compared with and without the new
   * one.
   */
  decodeStream(options: DecodeOptions = {}): TextStream {
    /** Ids whose text was told, to stand before new ones, and those not yet told. */
    let told: number[] = [];
    let open: number[] = [];
    const more = (): string => {
      const [before, all] = [this.decode(told, options), this.decode([...told, ...open], options)];
      return all.slice(before.length);
    };
    return {
      push: (id) => {
        if (this.#shown(id, options) === undefined) return '';
        open.push(id);
        const text = more();
        // A character may be incomplete; a token that says nothing may change how the next is written.
        if (text === '' || text.endsWith('\uFFFD')) return '';
        told = open;
        open = [];
        return text;
      },
      end: more,
    };
  }

  vocabularyBytes(): never {
    throw new AnnealError(
      'constraint_invalid',
      `Answers cannot be held to a format with the model's tokenizer: tokens of ${this.#kind} are not bytes of text.`,
      { hint: 'Ask without regex and json_schema, or use a model with a byte-level tokenizer.' },
    );
  }

  /** A token by id, unless it is to be left out; a file may have the text of a special token under two ids. */
  #shown(id: number, { skipSpecials }: DecodeOptions): string | undefined {
    const token = this.#tokens[id];
    return token !== undefined && skipSpecials && this.specials.has(token) ? undefined : token;
  }

  /** A message takes the whole memory that an array is a part of along: it gets its own. */
  #request({ bytes, ends }: TextBatch, withSpecials: boolean): LibraryRequest {
    const documents = { bytes: new Uint8Array(bytes), ends: new Float64Array(ends) };
    return { ask: 'encode', hash: this.hash, documents, withSpecials };
  }

  #encodeNow(text: string | Uint8Array, withSpecials: boolean): Int32Array {
    const bytes = asBytes(text);
    const one = { bytes, ends: Float64Array.of(bytes.length) };
    return encodedOf(libraryThread().askNow(this.#request(one, withSpecials))).ids;
  }
}

/** Some text has no ids in a vocabulary without a token for what it does not know. */
function encodedOf(reply: LibraryReply): LibraryIds {
  if ('encoded' in reply) return reply.encoded;
  const { error } = reply as Extract<LibraryReply, { error: string }>;
  throw new AnnealError('tokenizer_invalid', `A text cannot be encoded: ${sentence(error)}`, {
    hint: 'Use a tokenizer that has ids for every text, such as a byte-level one.',
  });
}
