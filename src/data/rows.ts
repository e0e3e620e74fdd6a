/** Data files as rows of text, conversations, or prompts with completions, with the bytes read so far for progress. */
import { type RowContent, SUPERVISED } from './shapes/content.ts';
import { type ReadRow, type RowSource, readRows } from './shapes/read.ts';

export type Row = Pick<ReadRow<RowContent>, 'origin' | 'line' | 'unit' | 'bytesRead'> & RowContent;

/** The rows of a stage's data, in order. */
export async function* readAllRows(source: RowSource): AsyncGenerator<Row> {
  for await (const { content, origin, line, unit, bytesRead } of readRows(source, SUPERVISED))
    yield { origin, line, unit, bytesRead, ...content };
}
