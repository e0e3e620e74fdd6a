/** How well a new tokenizer compresses each source of its text, beside other tokenizers. */
import type { EventBody } from '../../proto/events.ts';
import { bytesPerToken, type Sample } from './samples.ts';
import type { Tokenizer } from './tokenizer.ts';

type Report = EventBody<'report'>;

/** A row a source, a column a tokenizer; `tokenizers` by name, the new one first. */
export async function compressionReport(
  stage: string,
  samples: ReadonlyMap<string, Sample>,
  tokenizers: ReadonlyMap<string, Tokenizer>,
): Promise<Report> {
  const rows: Report['rows'] = [];
  for (const [source, sample] of samples) {
    if (sample.documents.length === 0) continue;
    const row: (string | number)[] = [source];
    for (const tokenizer of tokenizers.values()) {
      row.push(Number((await bytesPerToken(tokenizer, sample)).toFixed(3)));
    }
    rows.push(row);
  }
  const sizes = [...tokenizers].map(([name, { vocabSize }]) => `${name} (${vocabSize})`);
  return { stage, title: 'Bytes a token', columns: ['source', ...sizes], rows, examples: [] };
}
