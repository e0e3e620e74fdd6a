/**
 * Makes a corpus of any size for measurements: see scripts/corpus/model.ts for what it keeps of real text.
 *
 *   node scripts/make-corpus.ts --kind english|code|chinese --bytes 100M|--documents 1000 --out FILE
 *     [--format jsonl|text] [--seed 1] [--duplicates 0.05] [--shortest 600]
 */
import { once } from 'node:events';
import { createWriteStream } from 'node:fs';
import { rename } from 'node:fs/promises';
import { parseArgs } from 'node:util';
import { fsyncFile } from '../src/util/files.ts';
import { CorpusModel } from './corpus/model.ts';
import { CORPUS_KINDS, type CorpusKind, sourcePassages } from './corpus/sources.ts';

const { values } = parseArgs({
  options: {
    kind: { type: 'string', default: 'english' },
    bytes: { type: 'string', default: '100M' },
    documents: { type: 'string' },
    out: { type: 'string' },
    format: { type: 'string' },
    seed: { type: 'string', default: '1' },
    duplicates: { type: 'string', default: '0' },
    shortest: { type: 'string' },
  },
});
const FORMATS = ['jsonl', 'text'];

function fail(message: string): never {
  console.error(message);
  process.exit(2);
}

/** 100M is a hundred million. */
function size(text: string): number {
  const match = /^(\d+(?:\.\d+)?)([kMG]?)$/.exec(text);
  if (match === null) fail(`${text}: a number such as 500k, 100M or 1.5G is meant.`);
  return Number(match[1]) * { '': 1, k: 1e3, M: 1e6, G: 1e9 }[match[2] as '' | 'k' | 'M' | 'G'];
}

const out = values.out ?? fail('--out FILE is missing.');
const kind =
  CORPUS_KINDS.find((name) => name === values.kind) ?? fail(`--kind is one of ${CORPUS_KINDS.join(', ')}.`);
const format = values.format ?? (out.endsWith('.jsonl') ? 'jsonl' : 'text');
if (!FORMATS.includes(format)) fail(`--format is one of ${FORMATS.join(', ')}.`);
const enough =
  values.documents === undefined
    ? { bytes: size(values.bytes), documents: Number.POSITIVE_INFINITY }
    : { bytes: Number.POSITIVE_INFINITY, documents: size(values.documents) };
await writeCorpus(out, kind, format === 'jsonl', enough);

/** Documents of text have a blank line after them. */
async function writeCorpus(
  path: string,
  of: CorpusKind,
  jsonl: boolean,
  enough: { bytes: number; documents: number },
): Promise<void> {
  const model = new CorpusModel(of, await sourcePassages(of), {
    seed: Number(values.seed),
    duplicates: Number(values.duplicates),
    ...(values.shortest !== undefined && { shortest: Number(values.shortest) }),
  });
  const temporary = `${path}.tmp`;
  const stream = createWriteStream(temporary, { highWaterMark: 1 << 22 });
  let done = 0;
  let documents = 0;
  for (; done < enough.bytes && documents < enough.documents; documents++) {
    const text = Buffer.from(model.document(documents)).toString();
    const line = jsonl ? `${JSON.stringify({ text })}\n` : `${text.replace(/\n{2,}/g, '\n')}\n\n`;
    done += Buffer.byteLength(line);
    if (!stream.write(line)) await once(stream, 'drain');
  }
  stream.end();
  await once(stream, 'close');
  await fsyncFile(temporary);
  await rename(temporary, path);
  console.log(`${path}: ${documents} documents, ${done} bytes`);
}
