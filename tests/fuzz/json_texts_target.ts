/** JSONL of any bytes, its texts taken out without a parser: each is the one that a parser finds in the row. */
import { readJsonl } from '../../src/data/formats/jsonl.ts';
import { SupervisedShaper } from '../../src/data/shapes/content.ts';
import type { RawRecord } from '../../src/data/sources/unit.ts';
import { type JsonTexts, loadAddon } from '../../src/native/addon.ts';
import { chunksOf, settings, unitOf } from './source_targets.ts';
import type { Target } from './target.ts';

let texts: JsonTexts | undefined;

const rows = [
  '{"text":"a\\u00e9\\ud83d\\ude42 \\"b\\" 漢字","n":[1,-2.5e-3,{"x":null}],"id":"a"}',
  '{"id":7,"text":""}',
  '{"text":"hi","messages":[{"role":"user","content":"hi"}]}',
];

export const jsonTextsTarget: Target = {
  corpus: [Buffer.from(`${rows.join('\n')}\n`)],
  words: ['{"text":"', '"text"', '"', '\\', '\\ud83d', '\\u', ':', ',', '}', '[', '\n', '0', '1e', '\xff'],
  async run(bytes, number) {
    texts ??= loadAddon().createJsonTexts(new SupervisedShaper({}).jsonTexts!);
    const read = (given?: JsonTexts) => {
      const content = { chunks: chunksOf(bytes, number), offset: 0, progress: (end: number) => end };
      return readJsonl(content, unitOf('jsonl', bytes), settings, given);
    };
    const parsed: RawRecord[] = [];
    for await (const group of read()) parsed.push(...group);
    let records = 0;
    let size = 0;
    for await (const group of read(texts)) {
      for (const { text, line, end } of group) {
        const other = parsed[records++]!;
        if (line !== other.line || end !== other.end) throw new Error(`another row at line ${line}`);
        if (text === undefined) continue;
        if (!text.equals(Buffer.from(other.fields!.text as string)))
          throw new Error(`another text at line ${line}`);
        size += text.length;
      }
    }
    if (records !== parsed.length) throw new Error('not as many rows');
    return size;
  },
};
