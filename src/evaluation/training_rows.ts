/** How each type of stage reads the files that it trains on, as texts that the rows of an evaluation are looked for in. */
import type { Lineage } from '../artifacts/lineage.ts';
import { type AskedRow, askedText, rowText } from '../data/dedup/evaluation_sets.ts';
import type { RawGroup } from '../data/shapes/answers.ts';
import { messagesText, PART_END, plainText, SUPERVISED } from '../data/shapes/content.ts';
import { type GroupKind, groupKind } from '../data/shapes/groups.ts';
import type { RowKind } from '../data/shapes/shaper.ts';
import type { ShapeName } from '../data/shapes/shapes.ts';
import { type DistillSettings, writesAll } from '../preference/distillation_settings.ts';
import { PROMPTS } from '../rollout/prompts.ts';

export interface TrainingRows {
  kind: RowKind<ShapeName, (Buffer | string)[]>;
  /** What is looked for of a row of the evaluation: of prompts without answers its question alone. */
  sought: 'row' | 'question';
}

/** The text of a row that is looked for. */
export function soughtText(row: AskedRow, sought: TrainingRows['sought']): string {
  return sought === 'question' ? askedText(row) : rowText(row);
}

const supervised: TrainingRows = { kind: texts(SUPERVISED, (row) => [plainText(row)]), sought: 'row' };

const prompts: TrainingRows = {
  kind: texts(PROMPTS, ({ asked }) => [typeof asked === 'string' ? asked : messagesText(asked)]),
  sought: 'question',
};

const answers = (kind: GroupKind): TrainingRows => ({
  kind: texts(groupKind(kind), (groups) => [...new Set(groups.flatMap(groupTexts))]),
  sought: 'row',
});

const readers: Readonly<Record<string, (settings: Lineage['settings']) => TrainingRows>> = {
  sft: () => supervised,
  dpo: () => answers('pairs'),
  cpo: () => answers('pairs'),
  orpo: () => answers('pairs'),
  kto: () => answers('labels'),
  bco: () => answers('labels'),
  reward: () => answers('rankings'),
  rank: () => answers('completions'),
  distill: (settings) =>
    writesAll(settings as unknown as DistillSettings) ? prompts : answers('completions'),
  generate: () => prompts,
  ppo: () => prompts,
  grpo: () => prompts,
  rloo: () => prompts,
  online_dpo: () => prompts,
};

/** How a stage read the rows of its `dataset`; undefined: it is not known of its type. */
export function trainingRows({
  type,
  settings,
}: Pick<Lineage, 'type' | 'settings'>): TrainingRows | undefined {
  return Object.hasOwn(readers, type) ? readers[type]!(settings) : undefined;
}

function texts<Name extends ShapeName, T>(
  kind: RowKind<Name, T>,
  of: (content: T) => (Buffer | string)[],
): TrainingRows['kind'] {
  return { ...kind, parse: (row, shape) => of(kind.parse(row, shape as Name)) };
}

/** A prompt with each of its answers, good and bad. */
function groupTexts({ prompt, answers }: RawGroup): string[] {
  const asked = prompt.messages ? messagesText(prompt.messages) : (prompt.text ?? '');
  return answers.map(({ text }) => `${asked}${PART_END}${text}`);
}
