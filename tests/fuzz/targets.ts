/** What is fuzzed: each target takes any bytes and gives records, or an AnnealError. */
import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gzipSync, zstdCompressSync } from 'node:zlib';
import { arrowRanges, readArrowBatches } from '../../src/data/formats/arrow.ts';
import { damagedContainer } from '../../src/data/formats/damaged.ts';
import { decodeLz4Frame } from '../../src/data/formats/lz4.ts';
import { parquetRanges, readParquet } from '../../src/data/formats/parquet.ts';
import type { RandomAccess } from '../../src/data/sources/bytes.ts';
import { type Compression, decompress } from '../../src/data/sources/compression.ts';
import { listUnits } from '../../src/data/sources/list.ts';
import { readUnit } from '../../src/data/sources/read.ts';
import { READERS } from '../../src/data/sources/read_here.ts';
import { type Format, sourceSettings } from '../../src/data/sources/settings.ts';
import type { RawRecord, SourceUnit } from '../../src/data/sources/unit.ts';
import { paxRecord, tarMember, tarOf, withChecksums, zipOf } from '../data/archive_bytes.ts';
import { cleaningTarget } from './cleaning_target.ts';
import { Random } from './mutate.ts';

export interface Target {
  /** Whole inputs to begin with. */
  corpus: readonly Buffer[];
  /** Pieces that mean something in the format. */
  words: readonly string[];
  /** Makes checksums and the like right again. */
  mend?(bytes: Buffer): Buffer;
  /** Its library rejects promises that nobody waits for; the program runs it where they do no harm. */
  leavesPromises?: boolean;
  /** Reads the bytes; returns how many bytes of content they gave. */
  run(bytes: Buffer, number: number): Promise<number>;
}

const settings = sourceSettings.parse({ max_document_bytes: 1 << 20 });
const fixture = (name: string): Buffer => readFileSync(new URL(`../data/fixtures/${name}`, import.meta.url));

/** Chunks of an input are a few hundred at most: borders anywhere, without an await for every other byte of 64 kB. */
const MAX_CHUNKS = 100;

/** Bytes in chunks whose borders follow from the number. */
async function* chunksOf(bytes: Buffer, number: number): AsyncGenerator<Buffer> {
  const random = new Random(7, number);
  const largest = Math.max(random.pick([3, 50, 1 << 20]), Math.ceil(bytes.length / MAX_CHUNKS));
  for (let at = 0; at < bytes.length; ) {
    const length = 1 + random.below(largest);
    yield bytes.subarray(at, at + length);
    at += length;
  }
}

function unitOf(format: Format, bytes: Buffer): SourceUnit {
  const size = bytes.length;
  return {
    location: 'input',
    path: 'input',
    format,
    compression: 'none',
    start: 0,
    bytes: size,
    file: { bytes: size, modified: 0 },
  };
}

/** Content of records, which must be of a kind that consumers take. */
function contentBytes(records: readonly RawRecord[]): number {
  let bytes = 0;
  for (const { text, fields, bad, line } of records) {
    if (!(line >= 0)) throw new Error(`a record is at line ${line}`);
    if (text === undefined && fields === undefined && bad === undefined)
      throw new Error('a record holds nothing');
    bytes += text?.length ?? 0;
    if (bad !== undefined) bytes += bad.excerpt.length + bad.message.length;
    if (fields !== undefined) bytes += JSON.stringify(fields).length;
  }
  return bytes;
}

async function drain(groups: AsyncIterable<readonly RawRecord[]>): Promise<number> {
  let bytes = 0;
  for await (const group of groups) bytes += contentBytes(group);
  return bytes;
}

function formatTarget(
  format: Exclude<Format, 'parquet'>,
  corpus: readonly (string | Buffer)[],
  words: readonly string[],
  extra: object = {},
): Target {
  const own = { ...settings, ...extra };
  return {
    corpus: corpus.map((item) => Buffer.from(item as string)),
    words,
    run: (bytes, number) => {
      const content = { chunks: chunksOf(bytes, number), offset: 0, progress: (end: number) => end };
      return drain(READERS[format](content, unitOf(format, bytes), own));
    },
  };
}

function compressionTarget(compression: Exclude<Compression, 'none'>, corpus: readonly Buffer[]): Target {
  return {
    corpus,
    words: [
      '\x1f\x8b\x08\x00',
      '\x28\xb5\x2f\xfd',
      'BZh9',
      '1AY&SY',
      '\x50\x2a\x4d\x18\x04\x00\x00\x00',
      '\x00\x00\x00',
    ],
    async run(bytes, number) {
      let size = 0;
      for await (const piece of decompress(chunksOf(bytes, number), compression, 'input', 250))
        size += piece.length;
      return size;
    },
  };
}

/** Bytes as a file whose content can be had in any order. */
function fileOf(bytes: Buffer, number: number): RandomAccess {
  const read = async (start: number, end: number) =>
    Buffer.from(new Uint8Array(bytes.subarray(start, end)).buffer);
  return {
    size: bytes.length,
    location: 'input',
    read,
    chunks: (start, end) => chunksOf(bytes.subarray(start, end), number),
  };
}

/**
 * In this thread, without the one of its own that the program gives it: that an input takes as long as it likes there
 * is no reason to let it.
 */
function parquetTarget(corpus: readonly Buffer[], words: readonly string[]): Target {
  return {
    corpus,
    words,
    mend: mendParquet,
    leavesPromises: true,
    async run(bytes, number) {
      const file = fileOf(bytes, number);
      let size = 0;
      for (const range of await parquetRanges(file, 1000)) {
        size += await drain(readParquet(file, { ...unitOf('parquet', bytes), ...range }, settings));
      }
      return size;
    },
  };
}

/** By the index, batch by batch. */
function arrowBatchesTarget(corpus: readonly Buffer[], words: readonly string[]): Target {
  return {
    corpus,
    words,
    async run(bytes, number) {
      const file = fileOf(bytes, number);
      // Each input is a file of its own.
      const unit = { ...unitOf('arrow', bytes), path: `input ${number}` };
      let size = 0;
      for (const range of await arrowRanges(file, unit, 1)) {
        size += await drain(readArrowBatches(file, { ...unit, ...range }, settings));
      }
      return size;
    },
  };
}

/** Archives are read from a file, as yauzl and the tar's members want one. */
function fileTarget(
  name: string,
  corpus: readonly Buffer[],
  words: readonly string[],
  mend: (bytes: Buffer) => Buffer,
): Target {
  const path = join(tmpdir(), `anneal-fuzz-${process.pid}-${name}`);
  process.on('exit', () => rmSync(path, { force: true }));
  return {
    corpus,
    words,
    mend,
    async run(bytes) {
      writeFileSync(path, bytes);
      let size = 0;
      for (const unit of await listUnits([path], settings, '/'))
        size += await drain(readUnit(unit, settings));
      return size;
    },
  };
}

const text = 'One line.\n\nTwo é 漢字 🙂\r\nthree\n \n\tfour\n';
const jsonRows =
  '{"text":"a\\u00e9","n":[1,2,{"x":null}]}\n{"messages":[{"role":"user","content":"hi"}]}\n\n';
const warc = (type: string, more: string, body: string): string =>
  `WARC/1.0\r\nWARC-Type: ${type}\r\nWARC-Target-URI: http://a.b/\r\n${more}Content-Length: ${body.length}\r\n\r\n${body}\r\n\r\n`;
const http = (more: string, body: string): string => `HTTP/1.1 200 OK\r\n${more}\r\n${body}`;
const sample = Buffer.from(text.repeat(40));
/** Of `sample`, from the program itself, as Node has no compressor for it. */
const bzip2 = Buffer.from(
  'QlpoOTFBWSZTWeadxzEAASvX/YAyQAEAAIQAA2WWgBAAAKCQIgAECAADAEAAMADYBQAAAAAoAAAAAFKpTaQaMmeqfqmIPTQTcJqJ' +
    '6CchNRPMTAnkJqJ8idhMibhNQmgnQJ6ie4mBMCcROQmBMiYEyJkTiJzEyJ9idxOwmwn6J/Cf4mwnQTYTQJ4F3JFOFCQ5p3HMQA==',
  'base64',
);

/** What is no gzip stream becomes one, as a tar archive. */
function mendTarGz(bytes: Buffer): Buffer {
  return bytes[0] === 0x1f && bytes[1] === 0x8b ? bytes : gzipSync(withChecksums(bytes), { level: 1 });
}

/** With an end that says where the index is. */
function mendZip(bytes: Buffer): Buffer {
  const index = bytes.indexOf('PK\x01\x02', 0, 'latin1');
  const end = Buffer.alloc(22);
  end.write('PK\x05\x06', 0, 'latin1');
  const last = bytes.lastIndexOf('PK\x05\x06', undefined, 'latin1');
  const content = last < 0 ? bytes : bytes.subarray(0, last);
  const entries = index < 0 ? 0 : content.subarray(index).toString('latin1').split('PK\x01\x02').length - 1;
  end.writeUInt16LE(Math.min(entries, 0xffff), 8);
  end.writeUInt16LE(Math.min(entries, 0xffff), 10);
  end.writeUInt32LE(Math.max(0, content.length - Math.max(0, index)), 12);
  end.writeUInt32LE(Math.max(0, index), 16);
  return Buffer.concat([content, end]);
}

/** With an end that says how long the metadata are, as far as they can be told. */
function mendParquet(bytes: Buffer): Buffer {
  if (bytes.toString('latin1', bytes.length - 4) === 'PAR1') return bytes;
  const length = Buffer.alloc(4);
  length.writeUInt32LE(bytes.length >> 1);
  return Buffer.concat([bytes, length, Buffer.from('PAR1')]);
}

const tar = tarOf(
  tarMember('a.txt', text),
  tarMember('PaxHeader', paxRecord('path', 'long/b.jsonl'), 'x'),
  tarMember('b.jsonl', jsonRows),
);

export const TARGETS: Readonly<Record<string, Target>> = {
  cleaning: cleaningTarget,
  text: formatTarget('text', [text, '\ufeffx'], ['\n', '\r\n', ' ', '\xff', '\xef\xbb\xbf'], {
    text_unit: 'paragraph',
  }),
  lines: formatTarget('text', [text], ['\n', '\r\n', '\r', '\xc3'], { text_unit: 'line' }),
  jsonl: formatTarget('jsonl', [jsonRows], ['{', '[', '"', '\\', '\n', '{"a":', ',', '\\u', 'null', '\xff']),
  json: formatTarget(
    'json',
    [
      `[${JSON.stringify({ a: 1 })}, {"b":"x\\"]"}]`,
      '{"version":1,"data":[{"a":[1,{"b":2}]},{"a":2}],"more":{}}',
      '{"messages":[{"role":"user","content":"hi"}]}\n{"a":1}',
    ],
    ['{', '}', '[', ']', '"', '\\', ',', ':', '"data":[', '{"a":', '[{', 'null', '1e9', '\xef\xbb\xbf'],
  ),
  csv: formatTarget(
    'csv',
    ['id,text\n1,"a ""b"", c\nd"\n2,x\n', 'a,b,c\r\n1,2,3\r\n'],
    ['"', '""', ',', '\n', '\r\n', '",', '"\n', '\xff', '__proto__'],
  ),
  tsv: formatTarget('tsv', ['id\ttext\n1\t"a\tb"\n2\tx\n'], ['"', '\t', '\n', '\r', '"\t']),
  markdown: formatTarget(
    'markdown',
    ['---\na: b\n---\n# T #\n[a](b "c") ![i](x) `c` <b>x</b>\n```js\nx\n```\n<!-- y -->\n[r]: z\n'],
    ['[', '](', '![', '`', '```\n', '<', '<!--', '-->', '#', '---\n', '\n', '    ', '<a '],
  ),
  html: formatTarget(
    'html',
    [
      '<!doctype html><html lang=en><head><title>T</title><meta charset="utf-8"></head><body><nav>x</nav><main><p class="a">One<br>two &amp; &#x41;</p><ul><li>a<li>b</ul><pre> x\n y</pre><table><tr><td>1<td>2</table></main></body></html>',
    ],
    [
      '<',
      '>',
      '<div>',
      '</div>',
      '<li>',
      '<pre>',
      '</pre>',
      '<table>',
      '<main>',
      '</main>',
      '<!--',
      '<![CDATA[',
      '&#x10ffff;',
      '&',
      'charset=utf-16le',
      'charset=x',
      '<script>',
      '<title>',
      '<p ',
      '="',
      '\xff\xfe',
    ],
  ),
  warc: formatTarget(
    'warc',
    [
      warc('conversion', '', 'Plain text') +
        warc(
          'response',
          'Content-Type: application/http\r\n',
          http('Content-Type: text/html\r\nTransfer-Encoding: chunked\r\n', '4\r\n<p>a\r\n0\r\n\r\n'),
        ),
      Buffer.from(
        warc(
          'response',
          'Content-Type: application/http\r\n',
          http('Content-Encoding: gzip\r\n', gzipSync('<p>zipped').toString('latin1')),
        ),
        'latin1',
      ),
    ],
    [
      'WARC/1.0\r\n',
      '\r\n\r\n',
      '\r\n',
      'Content-Length: ',
      'HTTP/1.1 200 OK\r\n',
      'Transfer-Encoding: chunked\r\n',
      'ffffffff\r\n',
      'Content-Encoding: gzip\r\n',
      '\x1f\x8b',
    ],
  ),
  arrow: formatTarget('arrow', ['none.arrow', 'none.arrows', 'lz4.arrows', 'zstd.arrow'].map(fixture), [
    '\xff\xff\xff\xff',
    '\0\0\0\0',
    'ARROW1',
    '\x04\x22\x4d\x18',
    '\x28\xb5\x2f\xfd',
  ]),
  arrow_batches: arrowBatchesTarget(
    [
      'none.arrow',
      'none.arrows',
      'lz4.arrow',
      'zstd.arrows',
      'dictionaries.arrow',
      'dictionaries.arrows',
    ].map(fixture),
    ['\xff\xff\xff\xff', '\0\0\0\0', 'ARROW1', '\x18\0\0\0'],
  ),
  parquet: parquetTarget(
    ['none', 'snappy', 'gzip', 'zstd', 'brotli', 'lz4'].map((codec) => fixture(`${codec}.parquet`)),
    ['PAR1', '\0\0\0\0', '\xff\xff\xff\xff\x0f', '\x15\x00\x15', '\x1c', '\x19\x1c'],
  ),
  'parquet-v2': parquetTarget(
    ['none', 'zstd'].map((codec) => fixture(`encodings_${codec}.parquet`)),
    ['PAR1', '\0\0\0\0', '\xff\xff\xff\xff\x0f', '\x80\x01\x04', '\x15\x06', '\x2c'],
  ),
  gzip: compressionTarget('gzip', [gzipSync(sample), Buffer.concat([gzipSync('a'), gzipSync(sample)])]),
  zstd: compressionTarget('zstd', [
    zstdCompressSync(sample),
    Buffer.concat([zstdCompressSync(Buffer.from('a')), zstdCompressSync(sample)]),
  ]),
  bzip2: compressionTarget('bzip2', [bzip2, Buffer.concat([bzip2, bzip2])]),
  lz4: {
    corpus: [Buffer.from('04224d186040820d00008061626364656667686900000000', 'hex')],
    words: ['\x04\x22\x4d\x18', '\xff\xff\xff\xff', '\xf0\xff', '\x0f\x01\x00', '\0\0\0\0'],
    async run(bytes) {
      try {
        return decodeLz4Frame(bytes).length;
      } catch (error) {
        // Only ever called within a container, which makes an AnnealError of what it throws.
        if (error instanceof RangeError || error instanceof TypeError) throw error;
        throw damagedContainer(error, 'input', 'LZ4 frame');
      }
    },
  },
  tar: fileTarget(
    'fuzz.tar',
    [tar],
    [
      'ustar\x0000',
      '\0',
      '00000000000',
      '77777777777',
      '../',
      '/',
      'x',
      'L',
      'K',
      'g',
      '30 path=../../x\n',
      '12 size=99\n',
      '\x80\xff',
    ],
    withChecksums,
  ),
  'tar.gz': fileTarget(
    'fuzz.tar.gz',
    [tar, gzipSync(tar, { level: 0 }), gzipSync(tar)],
    ['ustar\x0000', '../', '\0'],
    mendTarGz,
  ),
  zip: fileTarget(
    'fuzz.zip',
    [
      zipOf([{ name: 'a.txt', content: Buffer.from(text) }]),
      zipOf([
        { name: 'a.txt', content: Buffer.from('x') },
        { name: 'dir/b.jsonl', content: Buffer.from(jsonRows) },
      ]),
    ],
    ['PK\x03\x04', 'PK\x01\x02', 'PK\x05\x06', '../', '/', '\\', '\xff\xff\xff\xff', '\0\0'],
    mendZip,
  ),
};
