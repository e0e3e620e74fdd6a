/**
 * Responses of one model to prompts, at each temperature, batch by batch; what a killed run had drawn is found again.
 * A response depends on the recipe's seed, the model's name, the temperature and the prompt only.
 */
import { join } from 'node:path';
import { DataRandom } from '../data/random.ts';
import type { Completion } from '../native/addon.ts';
import { type DrawSettings, drawCompletions } from '../rollout/draw.ts';
import type { Prompt } from '../rollout/prompts.ts';
import type { ServedModel } from '../stages/stage.ts';
import { RowLog } from './row_log.ts';

/** A response with where it came from, as it stands in responses.jsonl. */
export interface DrawnResponse {
  text: string;
  ids: number[];
  log_probs: number[];
  model: string;
  temperature: number;
  /** Of the samples of its prompt at its temperature, and which of them it is. */
  seed: number;
  sample: number;
  finish: 'stop' | 'length';
}

export interface DrawTask {
  /** The model's name in the recipe. */
  label: string;
  model: ServedModel;
  prompts: readonly Prompt[];
  temperatures: readonly number[];
  samples: number;
  draw: Omit<DrawSettings, 'temperature' | 'stopIds'>;
  seed: number;
  /** Prompts of a batch. */
  batch: number;
  /** Names the file of what was drawn, in the work folder. */
  log: string;
  /** Called after each batch, with how many prompts are done. */
  between(done: number): void;
}

/** The responses to each prompt, in their order: by temperature, then by sample. */
export async function drawResponses(task: DrawTask): Promise<DrawnResponse[][]> {
  const log = await RowLog.open<DrawnResponse[][]>(task.log);
  try {
    for (let from = log.pieces.length * task.batch; from < task.prompts.length; from += task.batch) {
      await log.append(await drawBatch(task, from));
      task.between(Math.min(from + task.batch, task.prompts.length));
    }
    return log.pieces.flat();
  } finally {
    await log.close();
  }
}

/** Where `drawResponses` of a model keeps its work. */
export function drawLog(workDir: string, hash: string, model: number): string {
  return join(workDir, `${hash}.${model}.jsonl`);
}

async function drawBatch(task: DrawTask, from: number): Promise<DrawnResponse[][]> {
  const prompts = task.prompts.slice(from, from + task.batch);
  const { label, model, samples, draw } = task;
  const rows: DrawnResponse[][] = prompts.map(() => []);
  for (const temperature of task.temperatures) {
    const draws = prompts.map(({ ids }, i) => ({
      prompt: ids,
      seed: new DataRandom('responses', task.seed, label, temperature, from + i).seed(),
    }));
    const settings = { ...draw, temperature, stopIds: model.stopIds };
    const completions = await drawCompletions(model.session, model.adapter, draws, samples, settings);
    completions.forEach((completion, i) => {
      const row = Math.floor(i / samples);
      const provenance = { model: label, temperature, seed: draws[row]!.seed, sample: i % samples };
      rows[row]!.push({ ...textAndIds(completion, model), ...provenance, finish: ended(completion) });
    });
  }
  return rows;
}

function textAndIds({ tokens, logProbs }: Completion, { tokenizer }: ServedModel) {
  return {
    text: tokenizer.decode(tokens, { skipSpecials: true }),
    ids: [...tokens],
    // Nine digits are a float32, exactly.
    log_probs: Array.from(logProbs, (value) => Number(value.toPrecision(9))),
  };
}

function ended({ finish }: Completion): 'stop' | 'length' {
  return finish === 'stop' ? 'stop' : 'length';
}
