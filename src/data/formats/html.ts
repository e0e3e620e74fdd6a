/**
 * The text of HTML pages: blocks as lines with a blank line between them, without scripts, styles, navigation and
 * what else is not said to a reader. Where a page has `main` or `article`, their text is the page's.
 */
import { Parser } from 'htmlparser2';
import type { Page } from './markdown.ts';

/** Never text. */
const DROPPED: ReadonlySet<string> = new Set(
  (
    'script style noscript template svg math iframe object embed canvas audio video map head nav footer aside form ' +
    'button select option textarea input label dialog menu frameset applet'
  ).split(' '),
);
const BLOCKS: ReadonlySet<string> = new Set(
  (
    'address article blockquote body center dd details div dl dt fieldset figcaption figure h1 h2 h3 h4 h5 h6 ' +
    'header hgroup hr html legend li main ol p pre section summary table tbody tfoot thead tr ul'
  ).split(' '),
);
const ROLES: ReadonlySet<string> = new Set(
  'navigation banner contentinfo search complementary dialog alertdialog menu menubar toolbar'.split(' '),
);
/** Words of class names and ids of what stands around a text. */
const AROUND =
  /(?:^|[\s_-])(?:nav|navbar|navigation|menu|sidebar|breadcrumbs?|cookies?|consent|newsletter|social|share|sharing|advert|advertisement|ads?|promo|sponsored|popup|modal|pagination|pager|footer|skip|related|widget)(?:$|[\s_-])/i;
/** A short block that is mostly links leads elsewhere. */
const LINK_SHARE = 0.6;
const LINK_BLOCK_CHARACTERS = 200;
/** `main` and `article` are the page when they hold at least this share of the text. */
const MAIN_SHARE = 0.25;

const MAX_DEPTH = 5000;
const PART_CHARACTERS = 1 << 15;

export interface HtmlPage extends Page {
  language?: string;
  url?: string;
}

/** Undefined when its elements are nested too deeply to be a page. */
export function htmlPage(source: string): HtmlPage | undefined {
  const reader = new PageReader();
  const parser = new Parser(reader, { decodeEntities: true, lowerCaseTags: true });
  // In parts, as the parser takes longer with every open element, and a page could have a million.
  for (let at = 0; at < source.length; at += PART_CHARACTERS) {
    parser.write(source.slice(at, at + PART_CHARACTERS));
    if (reader.depth > MAX_DEPTH) return undefined;
  }
  parser.end();
  return reader.page();
}

interface Block {
  text: string;
  main: boolean;
  /** Goes on right below the block before it: rows of a table, items of a list. */
  tight: boolean;
}

class PageReader {
  readonly #blocks: Block[] = [];
  /** Open elements; of those in which text is dropped only the outermost counts. */
  readonly #open: { name: string; dropped: boolean; main: boolean }[] = [];
  #dropped = 0;
  #main = 0;
  #pre = 0;
  #links = 0;
  #lists = 0;
  #inTitle = false;
  #title = '';
  #language: string | undefined;
  #url: string | undefined;
  #text = '';
  #linkCharacters = 0;
  #prefix = '';
  #tight = false;

  get depth(): number {
    return this.#open.length;
  }

  onopentag(name: string, attributes: Record<string, string>): void {
    if (name === 'html' && attributes.lang) this.#language = attributes.lang;
    if (name === 'link' && attributes.rel === 'canonical' && attributes.href) this.#url = attributes.href;
    if (name === 'title' && this.#title === '') this.#inTitle = true;
    const dropped = isDropped(name, attributes, this.#main > 0);
    const main = name === 'main' || name === 'article';
    if (dropped) this.#endBlock();
    this.#open.push({ name, dropped, main });
    if (dropped) this.#dropped += 1;
    if (this.#dropped > 0) return;
    if (BLOCKS.has(name)) this.#endBlock();
    if (main) this.#main += 1;
    if (name === 'pre') this.#pre += 1;
    else if (name === 'a') this.#links += 1;
    else if (name === 'ul' || name === 'ol') this.#lists += 1;
    else if (name === 'li') {
      this.#prefix = `${'  '.repeat(Math.min(8, Math.max(0, this.#lists - 1)))}- `;
      this.#tight = true;
    } else if (name === 'tr') this.#tight = true;
    else if ((name === 'td' || name === 'th') && this.#text.trim() !== '') this.#text += '\t';
    else if (name === 'br') this.#text += '\n';
  }

  ontext(data: string): void {
    if (this.#inTitle) this.#title += data;
    if (this.#dropped > 0) return;
    this.#text += this.#pre > 0 ? data : data.replace(/[\s\u00a0]+/g, ' ');
    if (this.#links > 0) this.#linkCharacters += data.trim().length;
  }

  onclosetag(name: string): void {
    if (name === 'title') this.#inTitle = false;
    const element = this.#open.pop();
    if (element?.dropped) {
      this.#dropped -= 1;
      return;
    }
    if (this.#dropped > 0) return;
    if (BLOCKS.has(name)) this.#endBlock();
    if (element?.main) this.#main -= 1;
    if (name === 'pre') this.#pre -= 1;
    else if (name === 'a') this.#links -= 1;
    else if (name === 'ul' || name === 'ol') this.#lists -= 1;
  }

  page(): HtmlPage {
    this.#endBlock();
    const all = this.#blocks.reduce((sum, { text }) => sum + text.length, 0);
    const main = this.#blocks.filter((block) => block.main);
    const mainLength = main.reduce((sum, { text }) => sum + text.length, 0);
    const blocks = mainLength >= MAIN_SHARE * all ? main : this.#blocks;
    const text = blocks
      .map((block, i) => (i === 0 ? '' : block.tight && blocks[i - 1]!.tight ? '\n' : '\n\n') + block.text)
      .join('');
    const title = this.#title.replace(/\s+/g, ' ').trim();
    return {
      text,
      ...(title === '' ? {} : { title }),
      ...(this.#language === undefined ? {} : { language: this.#language }),
      ...(this.#url === undefined ? {} : { url: this.#url }),
    };
  }

  #endBlock(): void {
    const text =
      this.#pre > 0
        ? this.#text.replace(/^\n+/, '').trimEnd()
        : this.#text
            .split('\n')
            .map((line) => line.replace(/ {2,}/g, ' ').trim())
            .join('\n')
            .replace(/\n{3,}/g, '\n\n')
            .trim();
    const links = this.#linkCharacters;
    const [prefix, tight] = [this.#prefix, this.#tight];
    this.#text = '';
    this.#linkCharacters = 0;
    if (text === '') return;
    this.#prefix = '';
    this.#tight = false;
    if (links > LINK_SHARE * text.length && text.length < LINK_BLOCK_CHARACTERS) return;
    this.#blocks.push({ text: prefix + text, main: this.#main > 0, tight });
  }
}

function isDropped(name: string, attributes: Record<string, string>, inMain: boolean): boolean {
  if (DROPPED.has(name)) return true;
  // The header of an article has its heading; that of the page has the site's name.
  if (name === 'header' && !inMain) return true;
  if ('hidden' in attributes || attributes['aria-hidden'] === 'true') return true;
  if (attributes.role !== undefined && ROLES.has(attributes.role)) return true;
  if (/display\s*:\s*none/i.test(attributes.style ?? '')) return true;
  // What encloses everything often has the names of its parts among its classes.
  if (name === 'body' || name === 'html' || name === 'main' || name === 'article') return false;
  return AROUND.test(attributes.class ?? '') || AROUND.test(attributes.id ?? '');
}

/** HTML as text: by its byte order mark, what was said with it or within it, else UTF-8. */
export function decodeHtml(bytes: Uint8Array, charset?: string): string {
  const head = Buffer.from(bytes.buffer, bytes.byteOffset, Math.min(bytes.length, 2048)).toString('latin1');
  const declared =
    markOf(bytes) ?? charset ?? /<meta[^>]{0,200}charset\s*=\s*["']?\s*([a-z0-9_:.-]{1,40})/i.exec(head)?.[1];
  try {
    return new TextDecoder(declared ?? 'utf-8').decode(bytes);
  } catch {
    return new TextDecoder().decode(bytes);
  }
}

function markOf(bytes: Uint8Array): string | undefined {
  if (bytes[0] === 0xff && bytes[1] === 0xfe) return 'utf-16le';
  if (bytes[0] === 0xfe && bytes[1] === 0xff) return 'utf-16be';
  return bytes[0] === 0xef && bytes[1] === 0xbb && bytes[2] === 0xbf ? 'utf-8' : undefined;
}
