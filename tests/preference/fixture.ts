/** The tiny recipe of tests/training with judgements about answers: pairs, labels, rankings, completions. */
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type Fixture, makeFixture, modelFolder, recipeText } from '../training/fixture.ts';

interface Chat {
  messages: { role: string; content: string }[];
}

/** The fixture with pairs.jsonl, eval.jsonl (other people), labels.jsonl, rankings.jsonl and completions.jsonl. */
export function makePreferenceFixture(): Fixture {
  const fixture = makeFixture();
  const chats = readFileSync(join(fixture.dir, 'chats.jsonl'), 'utf8')
    .trimEnd()
    .split('\n')
    .map((line) => (JSON.parse(line) as Chat).messages);
  const write = (name: string, rows: unknown[]) =>
    writeFileSync(join(fixture.dir, name), `${rows.map((row) => JSON.stringify(row)).join('\n')}\n`);
  const pairs = chats.map(([question, answer]) => ({
    prompt: [question],
    chosen: [answer],
    rejected: [{ role: 'assistant', content: 'I do not know.' }],
  }));
  const held = 8;
  write('pairs.jsonl', pairs.slice(held));
  write('eval.jsonl', pairs.slice(0, held));
  write(
    'labels.jsonl',
    pairs.slice(held).map(({ prompt, chosen, rejected }, i) => ({
      prompt,
      completion: i % 2 === 0 ? chosen : rejected,
      label: i % 2 === 0,
    })),
  );
  write(
    'rankings.jsonl',
    pairs.map(({ prompt, chosen, rejected }) => ({
      messages: prompt,
      responses: [rejected[0]!.content, chosen[0]!.content, 'No.', 'Who is that?'],
      ranking: [[1], [0, 3], [2]],
    })),
  );
  write(
    'completions.jsonl',
    chats.map((messages) => ({ messages })),
  );
  return fixture;
}

/** The recipe up to the assistant that the stages train. */
const SFT = ['per_device_train_batch_size: 4', 'learning_rate: 3e-3'];
const TEACHER = ['type: sft', 'model: pretrain', 'dataset: chats.jsonl', 'max_steps: 40', ...SFT];
export const ASSISTANT = `${recipeText({
  pretrain: ['max_steps: 30'],
  sft: ['max_steps: 12', ...SFT],
})}${['  teacher:', ...TEACHER.map((line) => `    ${line}`)].join('\n')}\n`;

/** The recipe up to the assistant, and one stage more: a line of YAML for each setting. */
export function preferenceRecipe(stage: string, settings: readonly string[]): string {
  return `${ASSISTANT}${[`  ${stage}:`, '    model: sft', ...settings.map((line) => `    ${line}`)].join('\n')}\n`;
}

export interface MetricsLine {
  step: number;
  [name: string]: number;
}

/** Lines of a stage's metrics.jsonl. */
export function metricsOf(fixture: Fixture, stage: string): MetricsLine[] {
  return readFileSync(join(modelFolder(fixture, stage), 'metrics.jsonl'), 'utf8')
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line) as MetricsLine);
}
