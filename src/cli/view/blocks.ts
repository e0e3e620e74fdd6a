/**
 * What an event leaves in the scrollback, above the bars: samples, notices, audits, reports, the end of a job.
 * Pure: lines from the event and the width. Lines of progress are not here (bars.ts draws them, plain.ts prints
 * them now and then).
 */
import type { EventBody, JobEvent, ReportOverlap } from '../../../proto/events.ts';
import { formatCount, formatCounted, formatDuration, formatShare } from '../format.ts';
import { renderTable } from '../table.ts';
import { clean, displayWidth, type Paint, truncate, wrap } from '../text.ts';

export interface BlockOptions {
  width: number;
  paint: Paint;
  /** Without colours scored spans are put in brackets. */
  color: boolean;
}

const GUTTER = '│ ';
/** Text longer than this is cut: a sample or an audited row need not fill the screen. */
const MAX_LINES = 12;

/** The lines that stay for an event; none for events that only move the bars. */
export function renderBlock(event: JobEvent, options: BlockOptions): string[] {
  switch (event.kind) {
    case 'sample':
      return sampleBlock(event.body, options);
    case 'notice':
      return noticeBlock(event.body, options);
    case 'audit':
      return auditBlock(event.body, options);
    case 'report':
      return reportBlock(event.body, options);
    case 'completion':
      return completionBlock(event.body, options);
    case 'state':
      return stateBlock(event.body, options);
    default:
      return [];
  }
}

/** A line that heads what follows. */
export function title(text: string, { width, paint }: BlockOptions): string {
  const head = `── ${truncate(clean(text), Math.max(0, width - 4))}`;
  return paint(
    `${head} ${'─'.repeat(Math.max(0, Math.min(24, width - displayWidth(head) - 1)))}`.trimEnd(),
    'dim',
  );
}

function gutter(lines: string[], { paint }: BlockOptions): string[] {
  const shown = lines.length > MAX_LINES ? [...lines.slice(0, MAX_LINES), paint('…', 'dim')] : lines;
  return shown.map((line) => paint(GUTTER, 'dim') + line);
}

function sampleBlock(body: EventBody<'sample'>, options: BlockOptions): string[] {
  const { paint, width } = options;
  const prompt = clean(body.prompt);
  const text = clean(body.text);
  const spans = [
    { text: prompt, scored: false },
    { text, scored: true },
  ];
  return [
    title(`${body.stage}: sample at step ${formatCount(body.step)}`, options),
    ...gutter(
      wrapSpans(spans, width - GUTTER.length, (part, generated) => (generated ? part : paint(part, 'cyan'))),
      options,
    ),
  ];
}

function noticeBlock(body: EventBody<'notice'>, { paint, width }: BlockOptions): string[] {
  const style = body.level === 'error' ? 'red' : body.level === 'warning' ? 'yellow' : 'blue';
  const where = body.stage === null ? '' : `${body.stage}: `;
  const lines = wrap(`${where}${clean(body.text)}`, width - 2);
  return lines.map((line, i) =>
    i === 0 ? `${paint(body.level === 'info' ? 'i' : '!', style, 'bold')} ${line}` : `  ${line}`,
  );
}

function auditBlock(body: EventBody<'audit'>, options: BlockOptions): string[] {
  const { paint, width, color } = options;
  // Rows of which nothing is scored are prompts: what is trained is still to be drawn.
  const prompts = body.scored_tokens === 0;
  const scored = prompts ? [] : [`${formatShare(body.scored_tokens / body.tokens)} scored`];
  const facts = [
    formatCounted(body.rows, prompts ? 'prompt' : 'row'),
    formatCounted(body.tokens, 'token'),
    ...scored,
    `BOS ${formatCount(body.bos)}`,
    `EOS ${formatCount(body.eos)}${prompts ? '' : ` (${formatCount(body.scored_eos)} scored)`}`,
    `too long ${formatCount(body.too_long)}`,
    ...Object.entries(body.skipped ?? {}).map(
      ([reason, count]) => `left out ${formatCount(count)}: ${reason}`,
    ),
    ...packingFacts(body.packing),
  ];
  const mark = (part: string, scored: boolean) =>
    scored ? (color ? paint(part, 'green', 'bold') : part) : paint(part, 'dim');
  const examples = body.examples.flatMap((example) => {
    const spans = example.spans.map(({ text, scored }) => ({
      text: scored && !color ? `[${clean(text)}]` : clean(text),
      scored,
    }));
    return [
      paint(`row ${clean(example.row)}`, 'dim'),
      ...gutter(wrapSpans(spans, width - GUTTER.length, mark), options),
    ];
  });
  const legend =
    examples.length === 0 || prompts
      ? []
      : [paint(color ? 'scored text is ' : 'scored text is in [brackets]', 'dim')];
  if (color && legend.length > 0) legend[0] += mark('highlighted', true);
  return [title(`${body.stage}: audit`, options), ...wrap(facts.join(' · '), width), ...legend, ...examples];
}

function packingFacts(packing: EventBody<'audit'>['packing']): string[] {
  if (packing === undefined) return [];
  const { microbatches, fill_mean, fill_min } = packing;
  return [
    `${formatCounted(microbatches, 'microbatch', 'microbatches')} ${(fill_mean * 100).toFixed(1)}% full (the emptiest ${(fill_min * 100).toFixed(1)}%)`,
  ];
}

/**
 * Wraps text that is made of spans of two kinds, and styles each piece after it was placed. Wrapping works on the
 * joined text, so a border between spans never moves a word.
 */
export function wrapSpans(
  spans: { text: string; scored: boolean }[],
  width: number,
  style: (part: string, scored: boolean) => string,
): string[] {
  const text = spans.map((span) => span.text).join('');
  const flags = spans.flatMap((span) => Array.from({ length: span.text.length }, () => span.scored));
  let at = 0;
  return wrap(text, width).map((line) => {
    // `wrap` drops only white space between lines.
    while (line !== '' && !text.startsWith(line, at)) at++;
    let out = '';
    let from = 0;
    for (let i = 1; i <= line.length; i++) {
      if (i < line.length && flags[at + i] === flags[at + from]) continue;
      out += style(line.slice(from, i), flags[at + from] ?? false);
      from = i;
    }
    at += line.length;
    return out;
  });
}

function reportBlock(body: EventBody<'report'>, options: BlockOptions): string[] {
  const { paint, width } = options;
  const examples = body.examples.flatMap((example) => {
    const prompt = `${paint('?', 'cyan', 'bold')} ${truncate(clean(example.prompt).replaceAll('\n', ' '), width - 2)}`;
    const expected = example.expected === '' ? [] : [['expected', example.expected] as const];
    const answers = [...expected, ...Object.entries(example.outputs)];
    const nameWidth = Math.min(20, Math.max(...answers.map(([name]) => name.length)));
    return [
      prompt,
      ...answers.map(([name, text]) => {
        const label = truncate(name, nameWidth).padEnd(nameWidth);
        const answer = clean(text).trim().replaceAll('\n', ' ⏎ ');
        return `  ${paint(label, 'dim')}  ${truncate(answer || '(nothing)', width - nameWidth - 4)}`;
      }),
    ];
  });
  const table = renderTable(body.columns, body.rows, width, paint);
  return [
    title(body.title, options),
    ...table,
    ...(body.overlap ? ['', ...overlapLines(body.columns, body.overlap, options)] : []),
    ...(examples.length > 0 ? ['', ...examples] : []),
    '',
  ];
}

function overlapLines(
  columns: string[],
  { models, others, hint }: ReportOverlap,
  { width, paint }: BlockOptions,
): string[] {
  const lines = models.flatMap(({ model, contaminated, text }) => {
    const [first = '', ...more] = wrap(clean(`${model}: ${text}`), width - 2);
    const mark = contaminated > 0 ? paint('!', 'yellow', 'bold') : paint('i', 'blue', 'bold');
    return [`${mark} ${first}`, ...more.map((line) => `  ${line}`)];
  });
  return [
    ...lines,
    ...(others.length > 0
      ? ['', 'On the rows that are not contaminated:', ...renderTable(columns, others, width, paint)]
      : []),
    ...(hint === undefined ? [] : ['', ...wrap(hint, width).map((line) => paint(line, 'dim'))]),
  ];
}

function completionBlock(body: EventBody<'completion'>, options: BlockOptions): string[] {
  return [
    ...gutter(wrap(clean(body.text), options.width - GUTTER.length), options),
    options.paint(
      `${formatCount(body.completion_tokens)} tokens in ${formatDuration(body.seconds)} (${body.finish})`,
      'dim',
    ),
  ];
}

function stateBlock(body: EventBody<'state'>, { paint }: BlockOptions): string[] {
  if (body.state === 'running' && body.attempt > 1) {
    return [`${paint('i', 'blue', 'bold')} runs again (attempt ${body.attempt})`];
  }
  return [];
}
