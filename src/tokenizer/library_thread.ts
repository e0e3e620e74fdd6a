/**
 * The thread of src/tokenizer/library_client.ts: holds tokenizers of the npm package `tokenizers`, each loaded once, and
 * answers two queues: one whose asker waits for the answer, and one that works through batches meanwhile.
 */
import { createRequire } from 'node:module';
import { type MessagePort, parentPort, workerData } from 'node:worker_threads';
import { documentOf, type TextBatch } from '../native/text_batch.ts';
import type { LibraryIds, LibraryReply, LibraryRequest, LoadedByLibrary } from './library_client.ts';

/** What is used of the package; its calls that compute work on threads of their own. */
interface LibraryTokenizer {
  encodeBatch(texts: string[], options: { addSpecialTokens: boolean }): Promise<LibraryEncoding[]>;
  getVocab(withAddedTokens: boolean): Record<string, number>;
  getVocabSize(withAddedTokens: boolean): number;
  idToToken(id: number): string | null;
  tokenToId(token: string): number | null;
}
interface LibraryEncoding {
  getIds(): number[];
  getSpecialTokensMask(): number[];
}
interface Library {
  Tokenizer: { fromString(json: string): LibraryTokenizer };
}

/** What of a tokenizer.json is looked at here. */
interface File {
  added_tokens?: { id: number; content: string; special: boolean }[];
}

interface Held {
  /** As the file says, and without its special tokens: the package cannot leave them in place. */
  full: LibraryTokenizer;
  plain: LibraryTokenizer;
  /** Added tokens whose id depends on those that `plain` lacks. */
  renumbered: Map<number, number>;
  loaded: LoadedByLibrary;
}

/** The package makes some hundred bytes of objects a token: a batch goes to it in parts of this size. */
const PART_BYTES = 1 << 18;

const { urgent, signal } = workerData as { urgent: MessagePort; signal: Int32Array };
const held = new Map<string, Held>();
let library: Library | undefined;

parentPort!.on('message', async (request: LibraryRequest & { number: number }) => {
  parentPort!.postMessage({ number: request.number, ...(await answer(request)) });
});
urgent.on('message', async (request: LibraryRequest) => {
  const reply = await answer(request);
  urgent.postMessage(reply);
  Atomics.add(signal, 0, 1);
  Atomics.notify(signal, 0);
});

async function answer(request: LibraryRequest): Promise<LibraryReply> {
  try {
    if (request.ask === 'load') return { loaded: await load(request.hash, request.json) };
    return { encoded: await encode(held.get(request.hash)!, request.documents, request.withSpecials) };
  } catch (error) {
    return { error: (error as Error).message, noBinary: library === undefined };
  }
}

async function load(hash: string, json: string): Promise<LoadedByLibrary> {
  const known = held.get(hash);
  if (known !== undefined) return known.loaded;
  library ??= createRequire(import.meta.url)('tokenizers') as Library;
  const { Tokenizer } = library;
  const file = { ...(JSON.parse(json) as File), truncation: null, padding: null };
  const kept = (file.added_tokens ?? []).filter(({ special }) => !special);
  const full = Tokenizer.fromString(JSON.stringify(file));
  const plain = Tokenizer.fromString(JSON.stringify({ ...file, added_tokens: kept, post_processor: null }));
  for (const { id, content } of file.added_tokens ?? []) {
    const own = full.tokenToId(content);
    if (own === id) continue;
    throw new Error(`added_tokens: ${JSON.stringify(content)} has id ${id}, and ${own} when it is used`);
  }
  const renumbered = new Map<number, number>();
  for (const { id, content } of kept) {
    const own = plain.tokenToId(content)!;
    if (own !== id) renumbered.set(own, id);
  }
  const loaded = { tokens: tokensOf(full), frame: await frameOf(full) };
  held.set(hash, { full, plain, renumbered, loaded });
  return loaded;
}

function tokensOf(tokenizer: LibraryTokenizer): (string | undefined)[] {
  let length = 0;
  for (const id of Object.values(tokenizer.getVocab(true))) length = Math.max(length, id + 1);
  return Array.from({ length }, (_, id) => tokenizer.idToToken(id) ?? undefined);
}

/** What the post-processor puts around a text. */
async function frameOf(tokenizer: LibraryTokenizer): Promise<LoadedByLibrary['frame']> {
  const [framed] = await tokenizer.encodeBatch(['a'], { addSpecialTokens: true });
  const ids = framed!.getIds();
  const special = framed!.getSpecialTokensMask();
  const [first, last] = [special.indexOf(0), special.lastIndexOf(0)];
  return first < 0 ? { before: ids, after: [] } : { before: ids.slice(0, first), after: ids.slice(last + 1) };
}

async function encode(
  { full, plain, renumbered }: Held,
  documents: TextBatch,
  withSpecials: boolean,
): Promise<LibraryIds> {
  const tokenizer = withSpecials ? full : plain;
  const ends = new Float64Array(documents.ends.length);
  let ids = new Int32Array(documents.bytes.length / 4 + 64);
  let length = 0;
  const decoder = new TextDecoder('utf-8', { ignoreBOM: true });
  for (let next = 0; next < ends.length; ) {
    const first = next;
    const texts: string[] = [];
    for (let bytes = 0; next < ends.length && bytes < PART_BYTES; next++) {
      const document = documentOf(documents, next);
      bytes += document.length;
      texts.push(decoder.decode(document));
    }
    for (const [i, encoding] of (await tokenizer.encodeBatch(texts, { addSpecialTokens: false })).entries()) {
      const own = encoding.getIds();
      if (length + own.length > ids.length) {
        const grown = new Int32Array(2 * (length + own.length));
        grown.set(ids.subarray(0, length));
        ids = grown;
      }
      ids.set(own, length);
      ends[first + i] = length += own.length;
    }
  }
  const found = ids.slice(0, length);
  if (!withSpecials && renumbered.size > 0) {
    for (const [i, id] of found.entries()) found[i] = renumbered.get(id) ?? id;
  }
  return { ids: found, ends };
}
