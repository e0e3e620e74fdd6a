/**
 * Markdown: the document as people write it, without what is no text of its own. Headings, lists, emphasis, tables
 * and code stay as they are; front matter, HTML comments and tags, images and the targets of links go.
 */

export interface Page {
  text: string;
  title?: string;
}

const FRONT_MATTER = /^---[ \t]*\n[\s\S]*?\n(?:---|\.\.\.)[ \t]*(?:\n|$)/;
const FENCE = /^ {0,3}(`{3,}|~{3,})/;
const HEADING = /^ {0,3}#{1,6}[ \t]+/;
const IMAGE = /!\[([^\][]{0,1000})\](?:\([^()\n]{0,2000}\)|\[[^\][\n]{0,200}\])/g;
const LINK =
  /\[([^\][]{1,1000})\](?:\([^()\n]{0,2000}(?:\([^()\n]{0,500}\)[^()\n]{0,500})?\)|\[[^\][\n]{0,200}\])/g;
const AUTO_LINK = /<(https?:\/\/[^\s<>]{1,2000})>/g;
const DEFINITION = /^ {0,3}\[[^\]\n]{1,200}\]:[ \t]*\S+/;
const TAG = /<\/?[a-zA-Z][a-zA-Z0-9-]{0,40}(?:\s[^<>]{0,2000})?\/?>/g;

export function markdownPage(source: string): Page {
  const body = source.replaceAll('\r\n', '\n').replace(FRONT_MATTER, '');
  const lines: string[] = [];
  let title: string | undefined;
  let fence: string | undefined;
  let comment = false;
  for (const line of body.split('\n')) {
    const mark = FENCE.exec(line)?.[1];
    if (fence !== undefined) {
      lines.push(line);
      if (mark?.startsWith(fence) && line.trim() === mark) fence = undefined;
      continue;
    }
    if (mark !== undefined && !comment) {
      fence = mark;
      lines.push(line);
      continue;
    }
    const kept = withoutComments(line, comment);
    comment = kept.open;
    if (DEFINITION.test(kept.text)) continue;
    const text = outsideCode(kept.text, (part) =>
      part.replace(IMAGE, '').replace(LINK, '$1').replace(AUTO_LINK, '$1').replace(TAG, ''),
    );
    // A line that held nothing but images, tags or comments leaves no blank line of its own.
    if (text.trim() === '' && line.trim() !== '') continue;
    title ??= headingOf(text);
    lines.push(text);
  }
  const text = lines
    .join('\n')
    .replace(/\n(?:[ \t]*\n){2,}/g, '\n\n')
    .replace(/^(?:[ \t]*\n)+/, '')
    .trimEnd();
  return title === undefined ? { text } : { text, title };
}

/** The text of a heading in front of its closing `#`, if the line is one. */
function headingOf(line: string): string | undefined {
  const mark = HEADING.exec(line);
  if (mark === null) return undefined;
  let end = line.trimEnd().length;
  while (line[end - 1] === '#') end -= 1;
  return line.slice(mark[0].length, end).trim() || undefined;
}

function withoutComments(line: string, open: boolean): { text: string; open: boolean } {
  let text = '';
  let inside = open;
  for (let at = 0; at < line.length; ) {
    const mark = line.indexOf(inside ? '-->' : '<!--', at);
    if (!inside) text += line.slice(at, mark < 0 ? line.length : mark);
    if (mark < 0) break;
    at = mark + (inside ? 3 : 4);
    inside = !inside;
  }
  return { text, open: inside };
}

/** Changes what stands outside of `code`. */
function outsideCode(line: string, change: (part: string) => string): string {
  if (!line.includes('`')) return change(line);
  let out = '';
  for (let at = 0; at < line.length; ) {
    const open = /`+/g;
    open.lastIndex = at;
    const mark = open.exec(line);
    const close = mark === null ? -1 : line.indexOf(mark[0], mark.index + mark[0].length);
    if (mark === null || close < 0) return out + change(line.slice(at));
    out += change(line.slice(at, mark.index)) + line.slice(mark.index, close + mark[0].length);
    at = close + mark[0].length;
  }
  return out;
}
