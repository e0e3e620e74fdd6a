/** JSONL: a JSON object a line. Blank lines are passed over; a line that is no object is a bad row. */
import { isUtf8 } from 'node:buffer';
import type { JsonTexts } from '../../native/json_texts.ts';
import type { Content } from '../sources/bytes.ts';
import type { SourceSettings } from '../sources/settings.ts';
import type { BadRow, Fields, RawRecord, SourceUnit } from '../sources/unit.ts';
import { badEncoding, badSyntax, tooLong } from './bad.ts';
import { behindMark, isBlank, readLineBlocks } from './lines.ts';

const NEWLINE = 0x0a;
/** Nobody nests data that deep; what walks over values calls itself. */
const MAX_DEPTH = 256;
const HINT = 'JSONL has one JSON object a line.';

/** `texts` reads rows that are a text and nothing else that counts: such a record has `text`, and no fields. */
export async function* readJsonl(
  content: Content,
  unit: SourceUnit,
  settings: SourceSettings,
  texts?: JsonTexts,
): AsyncGenerator<RawRecord[]> {
  const { max_document_bytes: maxBytes } = settings;
  const { start: from, end: to = Number.POSITIVE_INFINITY } = unit;
  let number = 0;
  /** Texts of a block, one after the other. */
  let memory = Buffer.alloc(0);
  for await (const block of readLineBlocks(content.chunks, content.offset, maxBytes)) {
    const { bytes, offset } = block;
    const valid = isUtf8(bytes);
    const records: RawRecord[] = [];
    if (texts && memory.length < bytes.length) memory = Buffer.allocUnsafeSlow(bytes.length);
    let used = 0;
    for (let start = 0; start < bytes.length; ) {
      const newline = bytes.indexOf(NEWLINE, start);
      const stop = newline < 0 ? bytes.length : newline;
      const begin = offset + start;
      if (begin >= to) break;
      number += 1;
      if (begin >= from) {
        const first = begin === 0 ? behindMark(bytes) : start;
        const end = content.progress(block.cut ? block.end : offset + stop + 1);
        const line = from === 0 ? number : begin;
        if (block.cut || stop - first > maxBytes) {
          const length = block.cut ? block.end - begin : stop - first;
          records.push({ line, end, bad: tooLong(bytes.subarray(first, stop), length, 'a line') });
        } else if (!isBlank(bytes, first, stop)) {
          const row = bytes.subarray(first, stop);
          if (!valid && !isUtf8(row)) {
            records.push({ line, end, bad: badEncoding(row) });
          } else {
            const length = texts?.read(row, memory, used) ?? -1;
            if (length < 0) {
              records.push({ line, end, ...parseObject(row, HINT) });
            } else {
              records.push({ line, end, text: memory.subarray(used, used + length) });
              used += length;
            }
          }
        }
      }
      start = stop + 1;
    }
    if (records.length > 0) yield records;
    if (block.end >= to) return;
  }
}

/** The JSON object that the bytes are; `hint` is for when they are none. */
export function parseObject(bytes: Buffer, hint: string): { fields: Fields } | { bad: BadRow } {
  let value: unknown;
  try {
    value = JSON.parse(bytes.toString());
  } catch (error) {
    return { bad: badSyntax(bytes, `is not valid JSON: ${(error as Error).message}`, hint) };
  }
  if (value === null || typeof value !== 'object' || Array.isArray(value)) {
    return { bad: badSyntax(bytes, 'is not a JSON object', hint) };
  }
  if (bytes.length > 2 * MAX_DEPTH && isDeeper(value, MAX_DEPTH)) {
    return {
      bad: badSyntax(bytes, `has values that are nested deeper than ${MAX_DEPTH}`, 'Leave out the row.'),
    };
  }
  return { fields: value as Fields };
}

function isDeeper(value: unknown, than: number): boolean {
  if (value === null || typeof value !== 'object') return false;
  return than === 0 || Object.values(value).some((member) => isDeeper(member, than - 1));
}
