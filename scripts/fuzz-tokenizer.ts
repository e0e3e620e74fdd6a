/**
 * Holds the ids of the native encoder against those of Hugging Face `tokenizers`:
 *
 *   ANNEAL_PEERS_PYTHON=python node scripts/fuzz-tokenizer.ts [--texts N] [--seed S] [--files FILE...] FOLDER...
 *
 * for each folder with a tokenizer.json: N texts with special tokens found and as many without, the hard ones (every
 * code point, 1 MB of one character, ...), and the given files whole. Ends with status 1 at the first difference, which
 * it prints.
 */
import { type ChildProcessWithoutNullStreams, spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { DataRandom } from '../src/data/random.ts';
import { loadTokenizer, type Tokenizer } from '../src/tokenizer/tokenizer.ts';
import { fuzzText, hardTexts } from './fuzz_texts.ts';

const ROUND = 10_000;

/** The peer's process, and what it wrote but nobody has read. */
class Peer {
  readonly #process: ChildProcessWithoutNullStreams;
  readonly #output: AsyncIterator<Buffer>;
  #left: Buffer = Buffer.alloc(0);

  constructor(python: string) {
    this.#process = spawn(python, [join(import.meta.dirname, 'fuzz_tokenizer_peer.py')]);
    this.#process.stderr.pipe(process.stderr);
    this.#output = this.#process.stdout[Symbol.asyncIterator]();
  }

  async encode(path: string, specials: boolean, texts: Buffer[]): Promise<Int32Array[]> {
    const lengths = Uint32Array.from([texts.length, ...texts.map((text) => text.length)]);
    this.#process.stdin.write(`${JSON.stringify({ path, specials })}\n`);
    this.#process.stdin.write(Buffer.concat([Buffer.from(lengths.buffer), ...texts]));
    const counts = await this.#numbers(texts.length);
    const rows: Int32Array[] = [];
    for (const count of counts) rows.push(await this.#numbers(count));
    return rows;
  }

  async #numbers(count: number): Promise<Int32Array> {
    const chunks: Buffer[] = [this.#left];
    let bytes = this.#left.length;
    while (bytes < 4 * count) {
      const { value, done } = await this.#output.next();
      if (done) throw new Error('the peer ended');
      chunks.push(value);
      bytes += value.length;
    }
    const all = chunks.length === 1 ? chunks[0]! : Buffer.concat(chunks);
    this.#left = all.subarray(4 * count);
    return new Int32Array(new Uint8Array(all.subarray(0, 4 * count)).buffer);
  }

  close(): void {
    this.#process.stdin.end();
  }
}

const { values, positionals } = parseArgs({
  options: {
    texts: { type: 'string', default: '20000' },
    seed: { type: 'string', default: '1' },
    files: { type: 'string', multiple: true, default: [] },
  },
  allowPositionals: true,
});
const python = process.env.ANNEAL_PEERS_PYTHON;
if (!python || positionals.length === 0) {
  console.error('Set ANNEAL_PEERS_PYTHON, and name folders with a tokenizer.json.');
  process.exit(2);
}
const peer = new Peer(python);

async function check(tokenizer: Tokenizer, path: string, specials: boolean, texts: string[]): Promise<void> {
  const bytes = texts.map((text) => Buffer.from(text));
  const expected = await peer.encode(path, specials, bytes);
  for (const [i, text] of bytes.entries()) {
    const ids = specials ? tokenizer.encodeWithSpecials(text) : tokenizer.encode(text);
    const wanted = expected[i]!;
    const at = ids.findIndex((id, k) => id !== wanted[k]);
    if (at < 0 && ids.length === wanted.length) continue;
    const from = Math.max(0, (at < 0 ? Math.min(ids.length, wanted.length) : at) - 3);
    const near = (all: Int32Array): string =>
      [...all.subarray(from, from + 8)]
        .map((id) => `${id}=${JSON.stringify(tokenizer.decode([id]))}`)
        .join(' ');
    console.error(
      `${path}, ${specials ? 'with' : 'without'} special tokens: ${JSON.stringify(text.toString().slice(0, 600))}`,
    );
    console.error(`  ours   ${near(ids)}\n  theirs ${near(wanted)}`);
    process.exit(1);
  }
}

const files = values.files.map((file) => readFileSync(file, 'utf8'));
for (const folder of positionals) {
  const path = join(folder, 'tokenizer.json');
  const tokenizer = await loadTokenizer(folder, { threads: 1 });
  const added = (
    JSON.parse(tokenizer.files.get('tokenizer.json')!) as { added_tokens: { content: string }[] }
  ).added_tokens;
  const tokens = added.map(({ content }) => content);
  const random = new DataRandom(values.seed);
  const count = Number(values.texts);
  for (const specials of [false, true]) {
    for (let done = 0; done < count; done += ROUND) {
      const texts = Array.from({ length: Math.min(ROUND, count - done) }, () => fuzzText(random, tokens));
      await check(tokenizer, path, specials, texts);
    }
    for (const text of [...hardTexts(1 << 20), ...files]) await check(tokenizer, path, specials, [text]);
  }
  console.log(`${folder}: ${2 * count} texts alike`);
}
peer.close();
