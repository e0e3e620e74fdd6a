/** Ids of Hugging Face `tokenizers`, from a Python process that is kept, and where ours differ. */
import { type ChildProcessWithoutNullStreams, spawn } from 'node:child_process';
import { join } from 'node:path';
import type { Tokenizer } from '../src/tokenizer/tokenizer.ts';

export class TokenizersPeer {
  readonly #process: ChildProcessWithoutNullStreams;
  readonly #output: AsyncIterator<Buffer>;
  #left: Buffer = Buffer.alloc(0);

  constructor(python: string) {
    this.#process = spawn(python, [join(import.meta.dirname, 'fuzz_tokenizer_peer.py')]);
    this.#process.stderr.pipe(process.stderr);
    this.#output = this.#process.stdout[Symbol.asyncIterator]();
  }

  /** Ids by the tokenizer.json at `path`; without `specials`, special tokens in texts are text. */
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

/** The first text whose ids differ, told in words. */
export async function firstDifference(
  peer: TokenizersPeer,
  tokenizer: Tokenizer,
  path: string,
  specials: boolean,
  texts: string[],
): Promise<string | undefined> {
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
    const shown = JSON.stringify(text.toString().slice(0, 600));
    return `${path}, ${specials ? 'with' : 'without'} special tokens: ${shown}\n  ours   ${near(ids)}\n  theirs ${near(wanted)}`;
  }
  return undefined;
}
