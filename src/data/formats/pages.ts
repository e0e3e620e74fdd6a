/** Files that are one document of markup: Markdown and HTML. What is beside the text (title, language, URL) is in `fields`. */
import { isUtf8 } from 'node:buffer';
import type { Content } from '../sources/bytes.ts';
import type { SourceSettings } from '../sources/settings.ts';
import type { Fields, RawRecord, SourceUnit } from '../sources/unit.ts';
import { badEncoding, badSyntax, tooLong } from './bad.ts';
import { decodeHtml, htmlPage } from './html.ts';
import { markdownPage, type Page } from './markdown.ts';

export function readMarkdown(
  content: Content,
  _unit: SourceUnit,
  settings: SourceSettings,
): AsyncGenerator<RawRecord[]> {
  return readPage(content, settings, (bytes) =>
    isUtf8(bytes) ? pageContent(markdownPage(new TextDecoder().decode(bytes))) : { bad: badEncoding(bytes) },
  );
}

export function readHtml(
  content: Content,
  _unit: SourceUnit,
  settings: SourceSettings,
): AsyncGenerator<RawRecord[]> {
  return readPage(content, settings, (bytes) => htmlContent(bytes));
}

type PageContent = Pick<RawRecord, 'text' | 'fields' | 'bad'>;

async function* readPage(
  content: Content,
  settings: SourceSettings,
  extract: (bytes: Buffer) => PageContent | undefined,
): AsyncGenerator<RawRecord[]> {
  const pieces: Buffer[] = [];
  let length = 0;
  for await (const chunk of content.chunks) {
    if (length <= settings.max_document_bytes) pieces.push(chunk);
    length += chunk.length;
  }
  const bytes = Buffer.concat(pieces);
  const page =
    length > settings.max_document_bytes ? { bad: tooLong(bytes, length, 'a document') } : extract(bytes);
  if (page !== undefined) yield [{ line: 1, end: content.progress(length), ...page }];
}

/** The content of an HTML page, nothing where it has no text. */
export function htmlContent(bytes: Buffer, charset?: string, known: Fields = {}): PageContent | undefined {
  const page = htmlPage(decodeHtml(bytes, charset));
  if (page === undefined) {
    return { bad: badSyntax(bytes, 'nests its elements too deeply', 'Pages are not nested thousands deep.') };
  }
  return pageContent(page, known);
}

/** A page as a record's text and fields, nothing where it has no text. */
function pageContent({ text, ...own }: Page, known: Fields = {}): PageContent | undefined {
  return text === '' ? undefined : { text: Buffer.from(text), fields: { ...own, ...known } };
}
