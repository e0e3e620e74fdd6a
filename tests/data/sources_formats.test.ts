/** Every format of sources: what its rows give, and what is wrong with damaged ones. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { afterAll, describe, expect, it } from 'vitest';
import { contents, failure, records, writerInto } from './source_records.ts';
import { temporaryFolder } from './stage_context.ts';

const folder = temporaryFolder();
afterAll(folder.remove);
const write = writerInto(folder.path);
const fixture = (name: string): string => join(import.meta.dirname, 'fixtures', name);

describe('JSON', () => {
  const rows = [{ a: 1 }, { a: 'x,]}"\\' }, { a: { b: [1, { c: null }] } }];

  it.each([
    ['a list', JSON.stringify(rows)],
    ['an indented list', `\uFEFF${JSON.stringify(rows, null, 2)}\n`],
    ['an object with a list', JSON.stringify({ version: 1, tags: ['x'], data: rows, more: { d: [] } })],
    ['objects one after the other', rows.map((row) => JSON.stringify(row, null, 1)).join('\n')],
  ])('as %s gives its rows', async (_, text) => {
    expect(await contents(write('rows.json', text))).toEqual(rows);
    expect(await contents(write('rows.json.gz', gzipSync(text)))).toEqual(rows);
  });

  it('of a conversation is a row, not a list of messages', async () => {
    const row = { messages: [{ role: 'user', content: 'hi' }] };
    expect(await contents(write('chat.json', JSON.stringify(row, null, 2)))).toEqual([row]);
  });

  it('of many rows is cut wherever chunks end', async () => {
    const many = Array.from({ length: 60_000 }, (_, i) => ({ i, text: `"${'é\\'.repeat(i % 40)}` }));
    expect(await contents(write('many.json', JSON.stringify({ rows: many }, null, 1)))).toEqual(many);
  });

  it('with several lists asks which one is meant', async () => {
    const path = write('two.json', JSON.stringify({ train: [{ a: 1 }], test: [{ a: 2 }] }));
    expect((await failure(contents(path))).message).toBe(
      `${path} has several lists of objects: train, test.`,
    );
    expect(await contents(path, { rows_field: 'test' })).toEqual([{ a: 2 }]);
    expect((await failure(contents(path, { rows_field: 'dev' }))).message).toBe(`${path} has no list dev.`);
  });

  it('has bad rows beside good ones, and names where it breaks', async () => {
    const path = write('bad.json', `[{"a":1}, {"a":}, 7, [1], {"a":2}, {"a":"${'x'.repeat(500)}"}]`);
    expect(await contents(path, { max_document_bytes: 100 })).toEqual([
      { a: 1 },
      expect.stringContaining('is not valid JSON'),
      'is not a JSON object',
      'is not a JSON object',
      { a: 2 },
      'is a row of 508 B, longer than max_document_bytes',
    ]);
    const cut = write('cut.json', '[{"a":1},{"a":');
    expect((await failure(contents(cut))).message).toBe(
      `${cut}:2: the file ends within a value: it is cut short.`,
    );
    expect((await failure(contents(write('word.json', 'hello')))).message).toContain('`h` where none can be');
  });
});

it('JSON that is nested beyond all measure is a bad row', async () => {
  const nested = (depth: number) => `{"a":${'['.repeat(depth)}${']'.repeat(depth)}}`;
  const problem = 'has values that are nested deeper than 256';
  const text = [nested(256), nested(257), nested(100_000), '{"a":1}'].join('\n');
  for (const name of ['deep.jsonl', 'deep.json']) {
    expect(await contents(write(name, text))).toEqual([expect.anything(), problem, problem, { a: 1 }]);
  }
});

describe('CSV and TSV', () => {
  it('give rows by the header, and name them by the line they begin at', async () => {
    const path = write('rows.csv', '\uFEFFid,text\r\n1,"a, ""b""\r\nc"\r\n\r\n2,\r\n3,é');
    expect(await contents(path)).toEqual([
      { id: '1', text: 'a, "b"\r\nc' },
      { id: '2', text: '' },
      { id: '3', text: 'é' },
    ]);
    expect((await records(path)).map(({ line }) => line)).toEqual([2, 5, 6]);
    expect(await contents(write('rows.tsv', 'a\tb\n1\tx,y\n'))).toEqual([{ a: '1', b: 'x,y' }]);
  });

  it('may have no header, or another delimiter', async () => {
    const path = write('plain.csv', '1;;2\n3;;4\n');
    expect(await contents(path, { columns: ['x', 'y'], delimiter: ';;' })).toEqual([
      { x: '1', y: '2' },
      { x: '3', y: '4' },
    ]);
  });

  it('that seem to have another delimiter are not read as one column', async () => {
    const path = write('semicolons.csv', 'id;text\n1;a\n');
    expect(await failure(contents(path))).toMatchObject({
      code: 'data_field',
      hint: 'Set delimiter: ";", or, if it is one column, delimiter: ",".',
    });
    expect(await contents(path, { delimiter: ',' })).toEqual([{ 'id;text': '1;a' }]);
    expect(await contents(path, { delimiter: ';' })).toEqual([{ id: '1', text: 'a' }]);
  });

  it('have bad rows beside good ones', async () => {
    const bytes = Buffer.concat([
      Buffer.from('a,b\n1\n1,2,3\n"x"y,2\n'),
      Buffer.from([0xff]),
      Buffer.from(',2\n5,6\n'),
    ]);
    expect(await contents(write('bad.csv', bytes))).toEqual([
      'has 1 column, the header has 2',
      'has 3 columns, the header has 2',
      'has text behind the closing quote of a',
      'is not UTF-8',
      { a: '5', b: '6' },
    ]);
  });

  it('whose quote is never closed, or whose columns have one name, are errors', async () => {
    const open = write('open.csv', 'a,b\n1,"2\n3,4\n');
    expect((await failure(contents(open))).message).toContain(
      `${open}:2 opens a quote that the file never closes`,
    );
    const twice = write('twice.csv', 'a,a\n1,2\n');
    expect((await failure(contents(twice))).message).toBe(`${twice}:1 names column "a" twice.`);
  });

  it('are read across chunks', async () => {
    const rows = Array.from({ length: 50_000 }, (_, i) => ({
      id: `${i}`,
      text: `line\n"${'é'.repeat(i % 50)}",`,
    }));
    const text = rows.map(({ id, text }) => `${id},"${text.replaceAll('"', '""')}"`).join('\n');
    expect(await contents(write('many.csv', `id,text\n${text}`))).toEqual(rows);
  });
});

describe('Parquet', () => {
  const row = (i: number) => ({
    text: `row ${i} é`,
    // The last numbers are beyond what a number holds exactly.
    n: i * 2 ** 51 <= Number.MAX_SAFE_INTEGER ? i * 2 ** 51 : String(BigInt(i) * 2n ** 51n),
    messages: [
      { role: 'user', content: `q${i}` },
      { role: 'assistant', content: `a${i}` },
    ],
    tags: i % 5 === 0 ? null : ['a', 'b'].slice(0, i % 3),
    when: `2024-01-01T0${i}:00:00.000Z`,
    source: i % 2 === 0 ? 'web' : 'book',
    raw: Buffer.from([255, i]).toString('base64'),
  });
  const all = Array.from({ length: 6 }, (_, i) => row(i));

  it.each(['none', 'snappy', 'gzip', 'zstd', 'brotli', 'lz4'])(
    'of pages in %s gives its rows',
    async (codec) => {
      const path = fixture(`${codec}.parquet`);
      expect(await contents(path)).toEqual(all);
      const cut = await records(path, {}, { unitBytes: 1 });
      expect(cut.map(({ fields }) => fields)).toEqual(all);
      expect(cut.map(({ origin }) => origin)).toEqual(all.map((_, i) => `${path}:${i + 1}`));
    },
  );

  it.each(['none', 'zstd'])('of the encodings and pages of its second version in %s too', async (codec) => {
    const value = (i: number): object => ({
      small: 7 * i - 3,
      large: i < 4 ? i * 2 ** 51 : String(BigInt(i) * 2n ** 51n),
      text: `row ${i} é`,
      path: i % 3 === 0 ? null : `a/b/${i}`,
      score: i / 4,
      good: i % 2 === 0,
    });
    expect(await contents(fixture(`encodings_${codec}.parquet`))).toEqual(
      Array.from({ length: 6 }, (_, i) => value(i)),
    );
  });

  it('within gzip is read as well', async () => {
    const path = write('inner.parquet.gz', gzipSync(readFileSync(fixture('zstd.parquet'))));
    expect(await contents(path)).toEqual(all);
  });

  it('has bad rows where text is not UTF-8', async () => {
    const rows = await records(fixture('not_utf8.parquet'));
    expect(rows.map(({ fields, bad }) => fields ?? [bad!.code, bad!.field])).toEqual([
      { id: 1, text: 'fine' },
      ['data_encoding', 'text'],
      { id: 3, text: 'too' },
    ]);
  });

  it('that is cut short is an error', async () => {
    const bytes = readFileSync(fixture('none.parquet'));
    const path = write('cut.parquet', bytes.subarray(0, bytes.length - 100));
    expect((await failure(contents(path))).message).toContain(
      `${path} is damaged, cut short, or no Parquet file`,
    );
  });

  it.each(['parquet', 'arrow'])('%s that is empty is said to be', async (kind) => {
    const path = write(`empty.${kind}`, '');
    const error = await failure(contents(path));
    expect(error.message).toMatch(/empty\.(?:parquet is empty: no Parquet|arrow is empty: no Arrow) file\.$/);
    expect(error.path).toBe(path);
    // Four bytes are too few for a length and a mark.
    const short = await failure(contents(write(`short.${kind}`, 'PAR1')));
    expect(short.message).not.toContain('DataView');
  });

  describe('and Arrow', () => {
    it.each(['none', 'lz4', 'zstd'])('give the same, in %s', async (codec) => {
      expect(await contents(fixture(`${codec}.arrow`))).toEqual(all);
      expect(await contents(fixture(`${codec}.arrows`))).toEqual(all);
    });

    it('cut short are errors', async () => {
      const bytes = readFileSync(fixture('none.arrow'));
      for (const length of [bytes.length - 3, bytes.length - 900, 1500, 9]) {
        const path = write('cut.arrow', bytes.subarray(0, length));
        expect((await failure(contents(path))).message).toContain('is damaged, cut short, or no Arrow file');
      }
    });
  });
});

describe('Markdown and HTML', () => {
  it('Markdown keeps its structure, without what is no text', async () => {
    const text = `---\ntitle: x\n---\n\n# The title #\n\n<!-- not\nthis -->\nA [link](http://a/b_(c)) and ![image](x.png)\`a[b](c)\`.\n\n![badge](b.svg)\n\n\n\n- *one*\n- <b>two</b> <https://c.d>\n\n\`\`\`html\n<p>[x](y)</p>\n\`\`\`\n[ref]: http://x\n`;
    const [page] = await records(write('page.md', text));
    expect(page!.text!.toString()).toBe(
      '# The title #\n\nA link and `a[b](c)`.\n\n- *one*\n- two https://c.d\n\n```html\n<p>[x](y)</p>\n```',
    );
    expect(page!.fields).toEqual({ title: 'The title' });
  });

  it('HTML gives what a reader reads', async () => {
    const html = `<!doctype html><html lang="en"><head><title>A &amp; B</title><style>p{}</style>
      <link rel="canonical" href="https://e.org/a"></head><body class="has-sidebar">
      <header><a href="/">Home</a></header><nav><ul><li><a href="/x">X</a></li></ul></nav>
      <main><article><header><h1>Head  ing</h1></header>
      <p>First <b>para</b>graph,<br>two lines.</p><div class="share-buttons">Tweet this</div>
      <p>Second&nbsp;one with <a href="#">a link</a>.<script>x()</script></p>
      <ul><li>one</li><li>two<ul><li>deep</li></ul></li></ul>
      <pre>  code\n    more</pre><table><tr><th>a</th><th>b</th></tr><tr><td>1</td><td>2</td></tr></table>
      <p hidden>secret</p></article></main><footer>© us</footer></body></html>`;
    const [page] = await records(write('page.html', html));
    expect(page!.text!.toString()).toBe(
      'Head ing\n\nFirst paragraph,\ntwo lines.\n\nSecond one with a link.\n\n- one\n- two\n  - deep\n\n  code\n    more\n\na\tb\n1\t2',
    );
    expect(page!.fields).toEqual({ title: 'A & B', language: 'en', url: 'https://e.org/a' });
  });

  it('HTML is decoded by what it says it is', async () => {
    const latin = Buffer.from('<meta charset=iso-8859-1><p>caf\xe9', 'latin1');
    expect(await contents(write('latin.html', latin))).toEqual(['café']);
    expect(await contents(write('empty.html', '<script>x</script>'))).toEqual([]);
  });

  it('HTML nested beyond all measure is a bad row', async () => {
    expect(await contents(write('deep.html', '<div>'.repeat(100_000)))).toEqual([
      'nests its elements too deeply',
    ]);
  });
});

describe('WARC', () => {
  const record = (type: string, headers: string, body: string | Buffer): Buffer => {
    const bytes = Buffer.from(body as string);
    const head = `WARC/1.0\r\nWARC-Type: ${type}\r\n${headers}Content-Length: ${bytes.length}\r\n\r\n`;
    return Buffer.concat([Buffer.from(head), bytes, Buffer.from('\r\n\r\n')]);
  };
  const target = 'WARC-Target-URI: http://a.org/\r\nWARC-Date: 2024-02-03T00:00:00Z\r\n';
  const known = { url: 'http://a.org/', date: '2024-02-03T00:00:00Z' };
  const http = (headers: string, body: string | Buffer): Buffer =>
    Buffer.concat([Buffer.from(`HTTP/1.1 200 OK\r\n${headers}\r\n`), Buffer.from(body as string)]);
  const response = `${target}Content-Type: application/http; msgtype=response\r\n`;

  it('gives pages with their address, and passes over what is none', async () => {
    const bytes = Buffer.concat([
      record('warcinfo', '', 'software: x\r\n'),
      record('conversion', `${target}Content-Type: text/plain\r\n`, 'Plain\r\ntext\n'),
      record('request', target, 'GET / HTTP/1.1\r\n\r\n'),
      record(
        'response',
        response,
        http('Content-Type: text/html; charset=latin1\r\n', Buffer.from('<p>caf\xe9</p>', 'latin1')),
      ),
      record(
        'response',
        response,
        http('Content-Type: text/html\r\nTransfer-Encoding: chunked\r\n', '4\r\n<p>a\r\n1\r\nb\r\n0\r\n\r\n'),
      ),
      record('response', response, http('Content-Encoding: gzip\r\n', gzipSync('<p>zipped'))),
      record('response', response, http('Content-Type: image/png\r\n', 'PNG')),
      record('response', response, 'nonsense'),
      record('response', response, http('', '<p>long enough</p>'.repeat(100))),
    ]);
    const settings = { max_document_bytes: 1000 };
    for (const [name, content] of [
      ['a.warc', bytes],
      ['a.warc.gz', Buffer.concat([gzipSync(bytes.subarray(0, 500)), gzipSync(bytes.subarray(500))])],
    ] as const) {
      const rows = await records(write(name, content), settings);
      expect(rows.map(({ line, text, bad }) => [line, text?.toString() ?? bad!.message])).toEqual([
        [2, 'Plain\ntext'],
        [4, 'café'],
        [5, 'ab'],
        [6, 'zipped'],
        [8, 'holds no HTTP response'],
        [9, 'is a record of 1.82 kB, longer than max_document_bytes'],
      ]);
      expect(rows[0]!.fields).toEqual(known);
    }
  });

  it('that is cut short is an error', async () => {
    const path = write('cut.warc', record('conversion', target, 'text').subarray(0, -7));
    expect((await failure(contents(path))).message).toBe(
      `${path}:1 is no whole WARC record: the file ends within it.`,
    );
  });
});
