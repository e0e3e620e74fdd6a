/** Data files as rows of text, conversations, or prompts with completions, with the bytes read so far for progress. */
import { type RowContent, SUPERVISED } from './shapes/content.ts';
import { type ReadRow, type RowSource, readRows } from './shapes/read.ts';

export type Row = Omit<ReadRow<RowContent>, 'content'> & RowContent;

/** The rows of a stage's data, in order. */
export async function* readAllRows(source: RowSource): AsyncGenerator<Row> {
  for await (const { content, ...place } of readRows(source, SUPERVISED)) yield { ...place, ...content };
}
