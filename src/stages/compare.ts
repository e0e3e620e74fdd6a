/**
 * `compare`: models side by side on the same prompts, against one of them: how often each wins by the rewards, what
 * it earns, how far it has moved (KL), exact match, and what it cost: trained weights and time. Out come a table
 * (event `report`, report.json, report.md) and every response (outputs.jsonl).
 */
import { join } from 'node:path';
import type { EventBody } from '../../proto/events.ts';
import { readLineage } from '../artifacts/store.ts';
import { rowFiles, stageRows } from '../data/shapes/read.ts';
import { divergence, meanScore, winRate } from '../evaluation/compare.ts';
import { type CompareSettings, compareSchema } from '../evaluation/compare_settings.ts';
import {
  answersOf,
  contestantSession,
  type Judged,
  judgeContestant,
  openContestant,
} from '../evaluation/contestant.ts';
import { type ModelOverlap, modelOverlaps, overlapReport, promptRow } from '../evaluation/overlap.ts';
import { reportMarkdown } from '../evaluation/report.ts';
import { readingOptions } from '../models/reading.ts';
import { rewardFiles } from '../rewards/index.ts';
import { type Prompt, readPromptRows } from '../rollout/prompts.ts';
import { plannedArchitecture, requireRoom } from '../training/planned.ts';
import { readJson, writeFileAtomic } from '../util/files.ts';
import { MODEL_TYPES } from './model_types.ts';
import { type Artifact, defineStage, type StageContext } from './stage.ts';

type Context = StageContext<CompareSettings>;
type Report = EventBody<'report'>;

export const compareStage = defineStage({
  type: 'compare',
  doc: 'Compares models by win rate, reward, divergence, exact match, trained weights and time.',
  schema: compareSchema,
  inputs: {
    models: { types: MODEL_TYPES },
    reward_model: { types: ['reward'], optional: true },
  },
  async files(settings, baseDir) {
    const { rewards } = settings;
    return [...(await rowFiles(settings, baseDir)), ...(rewards ? await rewardFiles(rewards, baseDir) : [])];
  },

  async plan({ settings, addon, threads, inputs }) {
    const bytes: Record<string, number> = {};
    for (const [key, model] of Object.entries(inputs)) {
      const architecture = await plannedArchitecture(model);
      if (key.startsWith('models.'))
        requireRoom('max_new_tokens', settings.max_new_tokens, architecture.maxPositions);
      const options = key.startsWith('models.')
        ? contestantSession(settings, architecture, threads)
        : readingOptions(architecture, threads, architecture.maxPositions);
      bytes[key] = addon.planSession(options).total;
    }
    const { [`models.${settings.against}`]: against = 0, reward_model: judge = 0, ...others } = bytes;
    return {
      // The one compared with stays open beside each of the others, and beside both the reward model.
      memoryBytes: against + Math.max(...Object.values(others)) + judge,
      diskBytes: 1e6,
      seconds: null,
      detail: { models: Object.keys(settings.models).length },
    };
  },

  async run(context) {
    const { settings, outDir, name } = context;
    const labels = Object.keys(settings.models);
    const rows = await readPromptRows(stageRows(context, settings.dataset));
    const overlaps = await modelOverlaps(rows.map(promptRow), context, settings.models);
    const against = await openContestant(context, settings.against, rows);
    const judged = new Map<string, Judged>();
    try {
      for (const [index, label] of labels.entries()) {
        const own = label === settings.against ? against : await openContestant(context, label, rows);
        try {
          judged.set(label, await judgeContestant(context, own, against, index));
        } finally {
          if (own !== against) await own.served.session.close();
        }
      }
    } finally {
      await against.served.session.close();
    }
    const report = await makeReport(context, judged, against.prompts, overlaps);
    await writeFileAtomic(join(outDir, 'report.json'), `${JSON.stringify(report, null, 2)}\n`);
    await writeFileAtomic(join(outDir, 'report.md'), reportMarkdown(report));
    await writeFileAtomic(join(outDir, 'outputs.jsonl'), outputLines(judged, against.prompts));
    context.emit('report', report, `${name}/report`);
  },

  async retell(artifact, { name, emit }) {
    const report = (await readJson(join(artifact.path, 'report.json'), 'artifact_corrupt')) as Report;
    emit('report', { ...report, stage: name, title: name }, `${name}/report`);
  },
});

/**
 * The table of all models in the recipe's order, with the first greedy responses; and of those that have contaminated
 * rows, or are compared with one that has, the figures without them.
 */
async function makeReport(
  { settings, inputs, name }: Context,
  judged: ReadonlyMap<string, Judged>,
  prompts: readonly Prompt[],
  overlaps: ReadonlyMap<string, ModelOverlap>,
): Promise<Report> {
  const rows: Report['rows'] = [];
  const others: Report['rows'] = [];
  const against = judged.get(settings.against)!;
  const seen = overlaps.get(settings.against)!.contaminated;
  for (const [label, own] of judged) {
    const cost = await trainingCost(inputs[`models.${label}`]!);
    const other = own === against ? undefined : against;
    const samples = settings.num_generations;
    rows.push([label, ...figuresOf(own, other, samples), cost.parameters, cost.seconds]);
    const clean = overlaps.get(label)!.contaminated.map((is, i) => !is && !seen[i]);
    if (!clean.includes(false)) continue;
    const where = (figures: Figures) => judgedWhere(figures, clean, samples);
    others.push([
      label,
      ...figuresOf(where(own), other && where(other), samples),
      cost.parameters,
      cost.seconds,
    ]);
  }
  return {
    overlap: overlapReport(overlaps, others, settings.dataset),
    stage: name,
    title: name,
    columns: [
      'model',
      'win_rate',
      'stderr',
      ...(settings.rewards ? ['reward'] : []),
      ...(settings.reward_model === undefined ? [] : ['reward_model']),
      'kl',
      'exact_match',
      'trained_parameters',
      'seconds',
    ],
    rows,
    examples: prompts.slice(0, settings.examples).map((prompt, i) => ({
      prompt: prompt.text,
      expected: answersOf(prompt)[0] ?? '',
      outputs: Object.fromEntries([...judged].map(([label, { greedy }]) => [label, greedy[i]!.text])),
    })),
  };
}

/** A line a prompt: its row, and each model's greedy and sampled responses. */
function outputLines(judged: ReadonlyMap<string, Judged>, prompts: readonly Prompt[]): string {
  const lines = prompts.map(({ text, fields }, i) => {
    const outputs = [...judged].map(([label, { greedy, sampled }]) => [
      label,
      { greedy: greedy[i]!.text, sampled: sampled[i]!.map((response) => response.text) },
    ]);
    return JSON.stringify({ prompt: text, ...fields, outputs: Object.fromEntries(outputs) });
  });
  return `${lines.join('\n')}\n`;
}

type Figures = Pick<Judged, 'rewards' | 'modelScores' | 'logProbs' | 'exact'>;

/** What is measured of a model; `other` is undefined for the one that all are compared with. */
function figuresOf(own: Figures, other: Figures | undefined, samples: number): (number | null)[] {
  const judge = ({ rewards, modelScores }: Figures) => (rewards ?? modelScores)!;
  const wins = other && winRate(judge(own), judge(other), samples);
  const answered = own.exact.filter((exact) => exact !== null);
  return [
    wins?.rate ?? null,
    wins?.error ?? null,
    ...(own.rewards ? [meanScore(own.rewards)] : []),
    ...(own.modelScores ? [meanScore(own.modelScores)] : []),
    other ? own.logProbs && divergence(own.logProbs.own, own.logProbs.other) : 0,
    meanScore(answered.map(Number)),
  ];
}

/** What was measured on the prompts that count; each has `samples` responses. */
function judgedWhere(
  { rewards, modelScores, logProbs, exact }: Figures,
  counts: readonly boolean[],
  samples: number,
): Figures {
  const ofResponse = (_: unknown, i: number) => counts[Math.floor(i / samples)]!;
  return {
    rewards: rewards?.filter(ofResponse),
    modelScores: modelScores?.filter(ofResponse),
    logProbs: logProbs && { own: logProbs.own.filter(ofResponse), other: logProbs.other.filter(ofResponse) },
    exact: exact.filter((_, i) => counts[i]!),
  };
}

/** Weights that the model's stage trained, and how long it ran; null for a folder from elsewhere. */
async function trainingCost({
  path,
}: Artifact): Promise<{ parameters: number | null; seconds: number | null }> {
  const lineage = await readLineage(path);
  const trained = lineage?.results.trained_parameters ?? lineage?.results.parameters;
  return {
    parameters: typeof trained === 'number' ? trained : null,
    seconds: lineage ? Math.round(lineage.seconds) : null,
  };
}
