/**
 * Preference objectives on random numbers, as functions from one flat array of what they are differentiated by: what
 * the finite differences and the PyTorch statements go through. Logs of probabilities are such as a trained model has.
 */
import type { AnswerGroup } from '../../src/data/preference.ts';
import { CPO_LOSSES, type CpoSettings } from '../../src/objectives/cpo.ts';
import { distill } from '../../src/objectives/distill.ts';
import { DIVERGENCES } from '../../src/objectives/dpo/divergence.ts';
import type { DpoSettings } from '../../src/objectives/dpo/dpo.ts';
import { PAIR_LOSSES } from '../../src/objectives/dpo/registry.ts';
import { KTO_LOSSES, klEstimate } from '../../src/objectives/kto.ts';
import { bcoObjective, ktoObjective } from '../../src/preference/labelled.ts';
import {
  type AnswerNumbers,
  type GroupScores,
  metricsOf,
  type PreferenceObjective,
} from '../../src/preference/objective.ts';
import { cpoObjective, dpoObjective, orpoObjective } from '../../src/preference/pairs.ts';
import { rewardObjective } from '../../src/preference/rankings.ts';
import {
  CHOSEN_LENGTHS,
  chosen,
  NUMBERS,
  PROMPT_LENGTHS,
  REJECTED_LENGTHS,
  rejected,
  uniform,
} from './numbers.ts';

export interface ObjectiveCase {
  name: string;
  objective: 'dpo' | 'kto' | 'bco' | 'orpo' | 'cpo' | 'reward' | 'distill';
  /** By TRL's names; for Python. */
  settings: Record<string, unknown>;
  /** Where it is evaluated. */
  at: Float64Array;
  /** Some of what the loss is made of is no part of its gradient: finite differences would see it. */
  detached?: true;
  /** Why TRL's numbers are others. Absent: they are the same. */
  differs?: string;
  evaluate(at: Float64Array): { loss: number; gradient: Float64Array; metrics?: Record<string, number> };
}

function flat(arrays: Iterable<Iterable<number>>): Float64Array {
  return Float64Array.from([...arrays].flatMap((array) => [...array]));
}

/** The flat array cut into arrays of these lengths. */
function cut(values: Float64Array, lengths: readonly number[]): Float64Array[] {
  let at = 0;
  return lengths.map((length) => {
    at += length;
    return values.subarray(at - length, at);
  });
}

const ANSWER_LENGTHS = [...CHOSEN_LENGTHS, ...REJECTED_LENGTHS];
const answersAt = flat([...chosen, ...rejected]);
const pairCount = chosen.length;

/** The answers with these log-probabilities, the chosen ones first. */
function answersOf(values: Float64Array): AnswerNumbers[] {
  const reference = [...NUMBERS.ref_chosen, ...NUMBERS.ref_rejected];
  return cut(values, ANSWER_LENGTHS).map((logProbs, i) => ({
    logProbs,
    reference: reference[i],
    entropies: NUMBERS.entropies[i]!,
    meanLogits: NUMBERS.mean_logits[i]!,
    logSumSquares: NUMBERS.log_sum_squares[i]!,
    hits: NUMBERS.hits[i]!,
  }));
}

function group(prompt: number, answers: number[], fields: Partial<AnswerGroup>): AnswerGroup {
  return {
    origin: 'rows.jsonl:1',
    prompt: new Int32Array(prompt + 1),
    answers: answers.map((length) => new Int32Array(length)),
    ranking: [[0], [1]],
    margin: undefined,
    desirable: undefined,
    teacher: undefined,
    ...fields,
  };
}

/** An objective as a step of one microbatch has it. */
function run(
  objective: PreferenceObjective,
  groups: AnswerGroup[],
  scores: GroupScores[],
  shared: Record<string, number> = {},
) {
  const tokens = groups.reduce((sum, each) => sum + objective.tokens(each), 0);
  const divisors = { sequences: groups.length, tokens };
  const { loss, gradients, means } = objective.evaluate(groups, scores, { divisors, shared });
  return { loss, gradients, metrics: metricsOf(objective, means.sums) };
}

const pairGroups = CHOSEN_LENGTHS.map((length, i) =>
  group(PROMPT_LENGTHS[i]!, [length, REJECTED_LENGTHS[i]!], {}),
);

/** An objective over pairs, by the log-probabilities of chosen and rejected answers and, behind them, of prompts. */
function runPairs(objective: PreferenceObjective, at: Float64Array) {
  const answers = answersOf(at);
  const promptScores = at.length > answersAt.length ? cut(at.subarray(answersAt.length), PROMPT_LENGTHS) : [];
  const scores = pairGroups.map((_, i) => ({
    answers: [answers[i]!, answers[pairCount + i]!],
    prompt: promptScores[i] ?? [],
    values: [],
  }));
  const { gradients, ...outcome } = run(objective, pairGroups, scores);
  const side = (a: number) => gradients.map((own) => Array.from(own.answers[a]!));
  const ofPrompts = gradients.map((own) => Array.from(own.prompt ?? []));
  return { ...outcome, gradient: flat([...side(0), ...side(1), ...ofPrompts]) };
}

const labelledGroups = ANSWER_LENGTHS.map((length, i) => group(1, [length], { desirable: i < pairCount }));

/** An objective over labelled answers: the chosen ones are desirable. */
function runLabelled(objective: PreferenceObjective, at: Float64Array, shared: Record<string, number>) {
  const scores = answersOf(at).map((answer) => ({ answers: [answer], prompt: [], values: [] }));
  const { gradients, ...outcome } = run(objective, labelledGroups, scores, shared);
  return { ...outcome, gradient: flat(gradients.map(({ answers }) => Array.from(answers[0]!))) };
}

function dpoCase(name: string, settings: Partial<DpoSettings>, losses: [string, number][]): ObjectiveCase {
  const full: DpoSettings = {
    beta: 0.3,
    labelSmoothing: 0,
    discopopTau: 0.05,
    ldAlpha: undefined,
    divergence: 'reverse_kl',
    divergenceAlpha: 0.5,
    losses: losses.map(([type, weight]) => ({ loss: PAIR_LOSSES.get(type)!, weight })),
    ...settings,
  };
  return {
    name: `dpo ${name}`,
    objective: 'dpo',
    settings: {
      loss_type: losses.map(([type]) => type),
      loss_weights: losses.map(([, weight]) => weight),
      beta: full.beta,
      label_smoothing: full.labelSmoothing,
      discopop_tau: full.discopopTau,
      ld_alpha: full.ldAlpha ?? null,
      f_divergence_type: full.divergence,
      f_alpha_divergence_coef: full.divergenceAlpha,
      use_weighting: full.useWeighting ?? false,
    },
    at: answersAt,
    ...(full.useWeighting ? { detached: true } : {}),
    ...(full.useWeighting && losses.some(([type]) => type === 'sft')
      ? { differs: 'it scales an expanded tensor in place and fails' }
      : {}),
    evaluate: (at) => runPairs(dpoObjective(full), at),
  };
}

/** Every loss type alone, those with settings under several of them, and what can be combined. */
const dpoCases: ObjectiveCase[] = [
  ...[...PAIR_LOSSES.values()].flatMap((loss) => {
    const values = loss.uses?.includes('label_smoothing')
      ? loss.name === 'exo_pair'
        ? [0.001, 0.2]
        : [0, 0.1]
      : [0];
    return values.map((labelSmoothing) =>
      dpoCase(`${loss.name}, smoothing ${labelSmoothing}`, { labelSmoothing }, [[loss.name, 1]]),
    );
  }),
  ...DIVERGENCES.flatMap((divergence) =>
    ['sigmoid', 'hinge', 'ipo', 'robust', 'sigmoid_norm'].map((loss) =>
      dpoCase(`${loss} by ${divergence}`, { divergence, labelSmoothing: loss === 'robust' ? 0.1 : 0 }, [
        [loss, 1],
      ]),
    ),
  ),
  dpoCase('sigmoid by an alpha divergence near 1', { divergence: 'alpha_divergence', divergenceAlpha: 1 }, [
    ['sigmoid', 1],
  ]),
  ...[0, 0.4].map((ldAlpha) => dpoCase(`sigmoid, ld_alpha ${ldAlpha}`, { ldAlpha }, [['sigmoid', 1]])),
  dpoCase('MPO: sigmoid, bco_pair and sft', {}, [
    ['sigmoid', 0.8],
    ['bco_pair', 0.2],
    ['sft', 1],
  ]),
  dpoCase('WPO: sigmoid and ipo, ld_alpha 0.5', { useWeighting: true, ldAlpha: 0.5 }, [
    ['sigmoid', 1],
    ['ipo', 0.5],
  ]),
  dpoCase('WPO: apo_zero and sft', { useWeighting: true }, [
    ['apo_zero', 1],
    ['sft', 0.3],
  ]),
  dpoCase('aot and sft, ld_alpha 0.5', { ldAlpha: 0.5 }, [
    ['aot', 0.7],
    ['sft', 0.1],
  ]),
];

const ktoCases: ObjectiveCase[] = KTO_LOSSES.map((lossType) => ({
  name: `kto ${lossType}`,
  objective: 'kto',
  settings: { loss_type: lossType, beta: 0.3, desirable_weight: 1.2, undesirable_weight: 0.7 },
  at: answersAt,
  evaluate(at) {
    const settings = { lossType, beta: 0.3, desirableWeight: 1.2, undesirableWeight: 0.7 };
    const kl = klEstimate(
      NUMBERS.mismatched.map((logProbs, i) => ({ logProbs, reference: NUMBERS.ref_mismatched[i] })),
    );
    return runLabelled(ktoObjective(settings, new Map()), at, { kl });
  },
}));

const bcoCase: ObjectiveCase = {
  name: 'bco',
  differs: 'it has no trainer for it',
  objective: 'bco',
  settings: { beta: 0.3, delta: 0.15, weights: [1, 0.5, 2, 10, 0.7] },
  at: answersAt,
  evaluate(at) {
    const weights = [1, 0.5, 2, 10, 0.7].map(
      (weight, i) => [labelledGroups[pairCount + i]!, weight] as const,
    );
    return runLabelled(bcoObjective({ beta: 0.3 }, new Map(weights)), at, { delta: 0.15 });
  },
};

const orpoCase: ObjectiveCase = {
  name: 'orpo',
  objective: 'orpo',
  settings: { beta: 0.25 },
  at: flat([...chosen, ...rejected, ...NUMBERS.prompts]),
  evaluate: (at) => runPairs(orpoObjective({ beta: 0.25 }), at),
};

const cpoCases: ObjectiveCase[] = CPO_LOSSES.flatMap((lossType) =>
  [0, 0.1].flatMap((alpha) =>
    (lossType === 'sigmoid' || lossType === 'simpo' ? [0, 0.15] : [0]).map(
      (labelSmoothing): ObjectiveCase => {
        const settings: CpoSettings = {
          lossType,
          alpha,
          labelSmoothing,
          beta: 0.4,
          simpoGamma: 0.5,
          cpoAlpha: alpha === 0 ? 0.7 : 0,
        };
        return {
          name: `cpo ${lossType}, alpha ${alpha}, smoothing ${labelSmoothing}`,
          objective: 'cpo',
          settings: {
            loss_type: lossType,
            alpha,
            label_smoothing: labelSmoothing,
            beta: 0.4,
            simpo_gamma: 0.5,
            cpo_alpha: settings.cpoAlpha,
          },
          at: answersAt,
          evaluate: (at) => runPairs(cpoObjective(settings), at),
        };
      },
    ),
  ),
);

const RANKINGS = [
  [[2], [0, 3], [1]],
  [[0], [1]],
  [[1, 0], [2]],
  [[3], [2], [1], [0]],
];
const RANKING_SIZES = [5, 2, 3, 4];

const pairRewards = {
  rankings: [
    [[0], [1]],
    [[0], [1]],
    [[0], [1]],
  ],
  sizes: [2, 2, 2],
};

function rewardCase(
  name: string,
  rankings: number[][][],
  sizes: number[],
  margins: (number | null)[],
  center: number,
): ObjectiveCase {
  return {
    name: `reward ${name}`,
    objective: 'reward',
    settings: { rankings, sizes, margins, center_rewards_coefficient: center },
    at: Float64Array.from({ length: sizes.reduce((a, b) => a + b, 0) }, () => uniform(-3, 3)),
    evaluate(at) {
      const groups = rankings.map((ranking, i) =>
        group(1, Array(sizes[i]).fill(1), { ranking, margin: margins[i] ?? undefined }),
      );
      const scores = cut(at, sizes).map((values) => ({ answers: [], prompt: [], values }));
      const { gradients, ...outcome } = run(
        rewardObjective({ centerRewardsCoefficient: center }),
        groups,
        scores,
      );
      return { ...outcome, gradient: flat(gradients.map(({ values }) => Array.from(values!))) };
    },
  };
}

const rewardCases = [
  rewardCase('pairs', pairRewards.rankings, pairRewards.sizes, [null, null, null], 0),
  rewardCase('pairs with margins, centred', pairRewards.rankings, pairRewards.sizes, [0.5, 1, 2], 0.01),
  rewardCase('rankings with ties and gaps', RANKINGS, RANKING_SIZES, [null, null, null, null], 0),
  rewardCase('rankings, centred', RANKINGS, RANKING_SIZES, [null, null, null, null], 0.05),
];

/** Logits of 6 tokens, a teacher's and a student's; the last case is of a token that the teacher all but rules out. */
const VOCABULARY = 6;
const POSITIONS = 4;
const logits = () => Array.from({ length: VOCABULARY }, () => uniform(-2, 2));
const teacher = Array.from({ length: POSITIONS }, logits).map((row, i) => (i === 3 ? row.with(1, -30) : row));
const student = Array.from({ length: POSITIONS }, logits);

function logSoftmax(row: readonly number[]): number[] {
  const total = Math.log(row.reduce((sum, z) => sum + Math.exp(z), 0));
  return row.map((z) => z - total);
}

/** The first k tokens and the others together, by the log-probabilities of the k. */
const distillCases: ObjectiveCase[] = [0, 0.3, 0.5, 1].flatMap((beta) =>
  [1, 3, 5].map((k): ObjectiveCase => {
    const top = (rows: number[][]) => flat(rows.map((row) => logSoftmax(row).slice(0, k)));
    return {
      name: `distill beta ${beta}, ${k} of 6`,
      objective: 'distill',
      settings: { beta, k, rest: true, teacher: top(teacher) },
      at: top(student),
      evaluate: (at) => distill(at, top(teacher), k, { beta, rest: true }, { tokens: POSITIONS }),
    };
  }),
);

/** All tokens, by the student's logits: the gradient goes through the softmax as it does in the engine. */
const fullDistillCases: ObjectiveCase[] = [0, 0.3, 0.5, 1].map((beta) => ({
  name: `distill beta ${beta}, all tokens`,
  objective: 'distill',
  settings: { beta, k: VOCABULARY, rest: false, teacher: flat(teacher) },
  at: flat(student),
  evaluate(at) {
    const rows = cut(at, Array(POSITIONS).fill(VOCABULARY)).map((row) => logSoftmax([...row]));
    const { loss, gradient } = distill(
      flat(rows),
      flat(teacher.map(logSoftmax)),
      VOCABULARY,
      { beta, rest: false },
      { tokens: POSITIONS },
    );
    const byLogits = rows.flatMap((row, r) => {
      const own = gradient.subarray(r * VOCABULARY, (r + 1) * VOCABULARY);
      const total = own.reduce((a, b) => a + b, 0);
      return row.map((logProb, i) => own[i]! - Math.exp(logProb) * total);
    });
    return { loss, gradient: Float64Array.from(byLogits) };
  },
}));

export const CASES: readonly ObjectiveCase[] = [
  ...dpoCases,
  ...ktoCases,
  bcoCase,
  orpoCase,
  ...cpoCases,
  ...rewardCases,
  ...distillCases,
  ...fullDistillCases,
];
