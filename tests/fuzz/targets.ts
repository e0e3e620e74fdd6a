/** All targets, with the inputs that each begins with. */
import { readFileSync } from 'node:fs';
import { gzipSync, zstdCompressSync } from 'node:zlib';
import { damagedContainer } from '../../src/data/formats/damaged.ts';
import { decodeLz4Frame } from '../../src/data/formats/lz4.ts';
import { paxRecord, tarMember, tarOf, withChecksums, zipOf } from '../data/archive_bytes.ts';
import { cleaningTarget } from './cleaning_target.ts';
import { jsonTextsTarget } from './json_texts_target.ts';
import { arrowTarget, compressionTarget, fileTarget, formatTarget, parquetTarget } from './source_targets.ts';
import type { Target } from './target.ts';

const fixture = (name: string): Buffer => readFileSync(new URL(`../data/fixtures/${name}`, import.meta.url));

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
  jsonl_texts: jsonTextsTarget,
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
  arrow: arrowTarget(
    [
      'none.arrow',
      'none.arrows',
      'lz4.arrow',
      'zstd.arrows',
      'dictionaries.arrow',
      'dictionaries.arrows',
    ].map(fixture),
    ['\xff\xff\xff\xff', '\0\0\0\0', 'ARROW1', '\x18\0\0\0', '\x04\x22\x4d\x18', '\x28\xb5\x2f\xfd'],
  ),
  parquet: parquetTarget(
    ['none', 'snappy', 'gzip', 'zstd', 'brotli', 'lz4'].map((codec) => fixture(`${codec}.parquet`)),
    ['PAR1', '\0\0\0\0', '\xff\xff\xff\xff\x0f', '\x15\x00\x15', '\x1c', '\x19\x1c'],
    mendParquet,
  ),
  'parquet-v2': parquetTarget(
    ['none', 'zstd'].map((codec) => fixture(`encodings_${codec}.parquet`)),
    ['PAR1', '\0\0\0\0', '\xff\xff\xff\xff\x0f', '\x80\x01\x04', '\x15\x06', '\x2c'],
    mendParquet,
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
