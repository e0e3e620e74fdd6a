/** A tokenizer that the native encoder runs: ids from native code, text from the bytes of the tokens. */
import type { BpeEncoder } from '../native/addon.ts';
import type { TextBatch } from '../native/text_batch.ts';
import { sha256 } from '../util/hash.ts';
import type { DecodeOptions, LoadedTokenizer, TextStream, Tokenizer } from './tokenizer.ts';
import type { Vocabulary } from './tokenizer_file.ts';

export class BpeTokenizer implements LoadedTokenizer {
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
    { files, chatTemplate }: Pick<Tokenizer, 'files' | 'chatTemplate'>,
  ) {
    const { added, tokens } = vocabulary;
    this.#encoder = encoder;
    this.files = files;
    this.hash = sha256(files.get('tokenizer.json')!);
    this.chatTemplate = chatTemplate;
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

  idOf(token: string): number | undefined {
    return this.#idOf(token);
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

  decode(ids: Iterable<number>, options: DecodeOptions = {}): string {
    const stream = this.decodeStream(options);
    let text = '';
    for (const id of ids) text += stream.push(id);
    return text + stream.end();
  }

  decodeStream(options: DecodeOptions = {}): TextStream {
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

export function asBytes(text: string | Uint8Array): Uint8Array {
  return typeof text === 'string' ? Buffer.from(text) : text;
}
