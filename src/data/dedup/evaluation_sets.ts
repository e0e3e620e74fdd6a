/** Evaluation sets as decontamination sees them: each row a text, and a key that the stage `evaluate` knows it by. */
import { createHash } from 'node:crypto';
import { type EvaluationRow, readEvaluationRows } from '../../evaluation/rows.ts';
import { rowSettings } from '../shapes/settings.ts';
import type { DecontaminationSettings } from './settings.ts';

export interface EvaluationSet {
  name: string;
  texts: string[];
  keys: string[];
}

export type AskedRow = Pick<EvaluationRow, 'question' | 'answers' | 'text'>;

/** What training must not have seen of a row: its question and its first answer, or its text. */
export function rowText(row: AskedRow): string {
  const asked = askedText(row);
  return row.answers.length === 0 ? asked : `${asked}\n${row.answers[0]}`;
}

/** What a row asks, or its text. */
export function askedText({ question, text = '' }: AskedRow): string {
  if (question === undefined) return text;
  return 'prompt' in question
    ? question.prompt
    : question.messages.map(({ content }) => content ?? '').join('\n');
}

/** A hash of the row's text: the same row in another file, or in a file with fewer rows, has the same. */
export function rowKey(row: AskedRow): string {
  return createHash('sha256').update(rowText(row)).digest('hex').slice(0, 16);
}

/** Reads all sets, in order. */
export async function readEvaluationSets(
  settings: DecontaminationSettings,
  { stage, baseDir }: { stage: string; baseDir: string },
): Promise<EvaluationSet[]> {
  const sets: EvaluationSet[] = [];
  for (const { name, files, ...rows } of settings.sets) {
    const read = await readEvaluationRows({
      patterns: files,
      baseDir,
      settings: rowSettings.parse(rows),
      stage,
      setting: 'decontamination.sets',
    });
    sets.push({ name: name ?? files[0]!, texts: read.map(rowText), keys: read.map(rowKey) });
  }
  return sets;
}
