/** What the cleaning of a dataset came to: counts and examples by rule, unit by unit and for all of them. */
import { z } from 'zod';
import type { Section } from '../../../proto/page.ts';
import type { CleanedBatch, Cleaner } from '../../native/addon.ts';
import { documentOf, type TextBatch } from '../../native/text_batch.ts';

/** Examples that a report keeps of a rule. */
const EXAMPLES = 3;

/** Rules whose examples say the document's language. */
const OF_LANGUAGE = new Set(['languages', 'min_language_score', 'c4_badwords']);

const ruleReport = z.strictObject({
  dropped: z.number(),
  /** Documents that stayed and were changed, and the places in them. */
  changed: z.number(),
  changes: z.number(),
  examples: z.array(
    z.strictObject({
      origin: z.string(),
      excerpt: z.string(),
      measure: z.number().optional(),
      language: z.string().optional(),
    }),
  ),
});
type RuleReport = z.output<typeof ruleReport>;

export const cleaningReportSchema = z.strictObject({
  documents: z.number(),
  dropped: z.number(),
  changed: z.number(),
  bytes_in: z.number(),
  bytes_out: z.number(),
  rules: z.record(z.string(), ruleReport).describe('Rules that did something, by name.'),
});
export type CleaningReport = z.output<typeof cleaningReportSchema>;

export function emptyCleaningReport(): CleaningReport {
  return { documents: 0, dropped: 0, changed: 0, bytes_in: 0, bytes_out: 0, rules: {} };
}

/** Adds a batch; `originOf` names a document's place (`file:12`). */
export function addBatch(
  report: CleaningReport,
  batch: TextBatch,
  cleaned: CleanedBatch,
  { rules: names, languages }: Pick<Cleaner, 'rules' | 'languages'>,
  originOf: (document: number) => string,
): void {
  const { verdicts, changed, texts, measures } = cleaned;
  report.documents += verdicts.length;
  report.bytes_in += batch.ends.at(-1) ?? 0;
  for (let i = 0; i < verdicts.length; i++) {
    const verdict = verdicts[i]!;
    if (verdict > 0) {
      report.dropped += 1;
      ruleOf(report, names[verdict - 1]!).dropped += 1;
      continue;
    }
    report.changed += changed[i]!;
    report.bytes_out += texts.ends[i]! - (i === 0 ? 0 : texts.ends[i - 1]!);
  }
  names.forEach((name, i) => {
    if (cleaned.changedDocuments[i] === 0) return;
    const rule = ruleOf(report, name);
    rule.changed += cleaned.changedDocuments[i]!;
    rule.changes += cleaned.changes[i]!;
  });
  const decoder = new TextDecoder();
  cleaned.exampleRules.forEach((index, i) => {
    const name = names[index]!;
    const { examples } = ruleOf(report, name);
    if (examples.length >= EXAMPLES) return;
    const document = cleaned.exampleDocuments[i]!;
    const measure = measures[document]!;
    const says = OF_LANGUAGE.has(name) && languages.length > 0;
    examples.push({
      origin: originOf(document),
      excerpt: decoder.decode(documentOf(cleaned.excerpts, i)),
      ...(Number.isNaN(measure) ? {} : { measure }),
      ...(says && { language: languages[cleaned.languages[document]!] ?? 'none' }),
    });
  });
}

/** The report of several units, in their order. */
export function mergeCleaningReports(reports: readonly CleaningReport[]): CleaningReport {
  const merged = emptyCleaningReport();
  for (const report of reports) {
    for (const key of ['documents', 'dropped', 'changed', 'bytes_in', 'bytes_out'] as const) {
      merged[key] += report[key];
    }
    for (const [name, from] of Object.entries(report.rules)) {
      const rule = ruleOf(merged, name);
      rule.dropped += from.dropped;
      rule.changed += from.changed;
      rule.changes += from.changes;
      rule.examples.push(...from.examples.slice(0, EXAMPLES - rule.examples.length));
    }
  }
  return merged;
}

function ruleOf(report: CleaningReport, name: string): RuleReport {
  report.rules[name] ??= { dropped: 0, changed: 0, changes: 0, examples: [] };
  return report.rules[name];
}

/** The report as sections of a page: facts, a table of the rules, examples of each. */
export function cleaningSections(report: CleaningReport): Section[] {
  const rules = Object.entries(report.rules).sort(
    ([, a], [, b]) => b.dropped - a.dropped || b.changed - a.changed,
  );
  const share = (part: number) => `${((100 * part) / Math.max(1, report.documents)).toFixed(2)}%`;
  return [
    {
      kind: 'facts',
      title: 'Cleaning',
      facts: [
        { name: 'Documents', value: report.documents },
        { name: 'Dropped', value: report.dropped, note: share(report.dropped) },
        { name: 'Kept and changed', value: report.changed, note: share(report.changed) },
        { name: 'Bytes in', value: report.bytes_in },
        { name: 'Bytes out', value: report.bytes_out },
      ],
    },
    {
      kind: 'table',
      title: 'Cleaning by rule',
      note: 'A document is dropped by the first rule that it fails. Changes are counted in documents that stayed.',
      columns: ['rule', 'dropped', 'share', 'changed', 'places'],
      rows: rules.map(([name, rule]) => [
        name,
        rule.dropped,
        share(rule.dropped),
        rule.changed,
        rule.changes,
      ]),
    },
    {
      kind: 'rows',
      title: 'Examples of what was cleaned',
      note: 'Of drops the beginning of the document or what was found in it, of changes the text around one, after it.',
      rows: rules.flatMap(([name, rule]) =>
        rule.examples.map(({ origin, excerpt, measure, language }) => ({
          origin,
          label: labelOf(name, language, measure),
          spans: [{ text: excerpt, marked: false }],
        })),
      ),
    },
  ];
}

/** `languages: de 0.624`. */
function labelOf(name: string, language: string | undefined, measure: number | undefined): string {
  const found = [language, measure === undefined ? undefined : Number(measure.toPrecision(3))];
  const text = found.filter((part) => part !== undefined).join(' ');
  return text === '' ? name : `${name}: ${text}`;
}
