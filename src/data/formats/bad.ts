/** What can be wrong with a row of any format. */
import { formatBytes } from '../../util/files.ts';
import { type BadRow, excerpt } from '../sources/unit.ts';

export function badEncoding(bytes: Uint8Array): BadRow {
  return {
    code: 'data_encoding',
    message: 'is not UTF-8',
    hint: 'Convert the file, for example with `iconv -f latin1 -t utf-8`.',
    excerpt: excerpt(bytes),
  };
}

/** `bytes` may be the beginning of the row only. */
export function tooLong(bytes: Uint8Array, length: number, what: string): BadRow {
  return {
    code: 'data_syntax',
    message: `is ${what} of ${formatBytes(length)}, longer than max_document_bytes`,
    hint: 'Break the text into documents (text_unit: paragraph or line), or raise max_document_bytes.',
    excerpt: excerpt(bytes),
  };
}

export function badSyntax(bytes: Uint8Array, message: string, hint: string): BadRow {
  return { code: 'data_syntax', message, hint, excerpt: excerpt(bytes) };
}
