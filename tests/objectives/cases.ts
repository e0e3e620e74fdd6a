/**
 * Preference objectives on random numbers, as functions from one flat array of what they are differentiated by: what
 * the finite differences and the PyTorch statements go through. Logs of probabilities are such as a trained model has.
 */
import { DataRandom } from '../../src/data/random.ts';
import { bco } from '../../src/objectives/bco.ts';
import { CPO_LOSSES, type CpoSettings, cpo } from '../../src/objectives/cpo.ts';
import { distill } from '../../src/objectives/distill.ts';
import { DIVERGENCES } from '../../src/objectives/dpo/divergence.ts';
import { type DpoSettings, dpo } from '../../src/objectives/dpo/dpo.ts';
import { PAIR_LOSSES } from '../../src/objectives/dpo/registry.ts';
import { KTO_LOSSES, klEstimate, kto } from '../../src/objectives/kto.ts';
import { orpo } from '../../src/objectives/orpo.ts';
import type { AnswerScores, PairScores } from '../../src/objectives/preference.ts';
import { rankingLoss } from '../../src/objectives/reward.ts';

/** Tokens of the answers: pairs of unequal and of equal length, and one of a single token. */
export const CHOSEN_LENGTHS = [4, 7, 1, 5, 6];
export const REJECTED_LENGTHS = [6, 3, 2, 5, 9];
const PROMPT_LENGTHS = [2, 3, 1, 4, 2];

const random = new DataRandom('objectives');
const uniform = (low: number, high: number) => low + ((high - low) * random.below(1 << 24)) / (1 << 24);
const answer = (length: number): number[] => Array.from({ length }, () => uniform(-2.5, -0.05));
const near = (logProbs: number[]): number[] => logProbs.map((x) => Math.min(-0.01, x + uniform(-0.6, 0.6)));

const chosen = CHOSEN_LENGTHS.map(answer);
const rejected = REJECTED_LENGTHS.map(answer);
const mismatched = CHOSEN_LENGTHS.map(answer);
const prompts = PROMPT_LENGTHS.map(answer);

/** What every case on answers is given; Python gets the same. */
export const NUMBERS = {
  chosen,
  rejected,
  prompts,
  ref_chosen: chosen.map(near),
  ref_rejected: rejected.map(near),
  mismatched,
  ref_mismatched: mismatched.map(near),
};

export interface ObjectiveCase {
  name: string;
  objective: 'dpo' | 'kto' | 'bco' | 'orpo' | 'cpo' | 'reward' | 'distill';
  /** By TRL's names; for Python. */
  settings: Record<string, unknown>;
  /** Where it is evaluated. */
  at: Float64Array;
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
const chosenTokens = CHOSEN_LENGTHS.reduce((a, b) => a + b, 0);
const promptTokens = PROMPT_LENGTHS.reduce((a, b) => a + b, 0);

function answersOf(values: Float64Array): AnswerScores[] {
  const reference = [...NUMBERS.ref_chosen, ...NUMBERS.ref_rejected];
  return cut(values, ANSWER_LENGTHS).map((logProbs, i) => ({ logProbs, reference: reference[i] }));
}

function pairsOf(values: Float64Array): PairScores[] {
  const answers = answersOf(values);
  return answers.slice(0, pairCount).map((side, i) => ({ chosen: side, rejected: answers[pairCount + i]! }));
}

const mean = (values: ArrayLike<number>) => Array.from(values).reduce((a, b) => a + b, 0) / values.length;
const pairDivisors = { sequences: pairCount, tokens: chosenTokens };

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
    },
    at: answersAt,
    evaluate(at) {
      const outcome = dpo(pairsOf(at), full, pairDivisors);
      const { chosenRewards: c, rejectedRewards: r } = outcome;
      return {
        loss: outcome.loss,
        gradient: flat([...outcome.chosen, ...outcome.rejected]),
        metrics: {
          'rewards/chosen': mean(c),
          'rewards/rejected': mean(r),
          'rewards/margins': mean(c.map((x, i) => x - r[i]!)),
          'rewards/accuracies': mean(c.map((x, i) => (x > r[i]! ? 1 : 0))),
          'logps/chosen': mean(outcome.chosenLogps),
          'logps/rejected': mean(outcome.rejectedLogps),
        },
      };
    },
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
    const answers = answersOf(at).map((scores, i) => ({ ...scores, desirable: i < pairCount }));
    const kl = klEstimate(
      mismatched.map((logProbs, i) => ({ logProbs, reference: NUMBERS.ref_mismatched[i] })),
    );
    const settings = { lossType, beta: 0.3, desirableWeight: 1.2, undesirableWeight: 0.7 };
    const { loss, gradients, logRatios } = kto(answers, kl, settings, {
      sequences: 2 * pairCount,
      tokens: 1,
    });
    const rewards = logRatios.map((x) => 0.3 * x);
    return {
      loss,
      gradient: flat(gradients),
      metrics: {
        'rewards/chosen': mean(rewards.subarray(0, pairCount)),
        'rewards/rejected': mean(rewards.subarray(pairCount)),
        ...(lossType === 'kto' ? { kl } : {}),
      },
    };
  },
}));

const bcoCase: ObjectiveCase = {
  name: 'bco',
  objective: 'bco',
  settings: { beta: 0.3, delta: 0.15, weights: [1, 0.5, 2, 10, 0.7] },
  at: answersAt,
  evaluate(at) {
    const answers = answersOf(at).map((scores, i) => ({
      ...scores,
      desirable: i < pairCount,
      weight: i < pairCount ? 1 : [1, 0.5, 2, 10, 0.7][i - pairCount]!,
    }));
    const { loss, gradients } = bco(answers, 0.15, { beta: 0.3 }, { sequences: 2 * pairCount, tokens: 1 });
    return { loss, gradient: flat(gradients) };
  },
};

const orpoCase: ObjectiveCase = {
  name: 'orpo',
  objective: 'orpo',
  settings: { beta: 0.25 },
  at: flat([...chosen, ...rejected, ...prompts]),
  evaluate(at) {
    const promptScores = cut(at.subarray(answersAt.length), PROMPT_LENGTHS);
    const pairs = pairsOf(at).map((pair, i) => ({ ...pair, prompt: promptScores[i]! }));
    const outcome = orpo(
      pairs,
      { beta: 0.25 },
      { sequences: pairCount, tokens: chosenTokens + promptTokens },
    );
    return {
      loss: outcome.loss,
      gradient: flat([...outcome.chosen, ...outcome.rejected, ...outcome.prompt]),
      metrics: {
        log_odds_chosen: mean(outcome.logOdds),
        nll_loss: outcome.nll / (chosenTokens + promptTokens),
      },
    };
  },
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
          evaluate(at) {
            const outcome = cpo(pairsOf(at), settings, pairDivisors);
            return {
              loss: outcome.loss,
              gradient: flat([...outcome.chosen, ...outcome.rejected]),
              metrics: {
                'rewards/chosen': mean(outcome.chosenRewards),
                'rewards/rejected': mean(outcome.rejectedRewards),
              },
            };
          },
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
      const cases = cut(at, sizes).map((values, i) => ({
        values,
        ranking: rankings[i]!,
        margin: margins[i] ?? undefined,
      }));
      const settings = { centerRewardsCoefficient: center };
      const { loss, gradients } = rankingLoss(cases, settings, { sequences: sizes.length, tokens: 1 });
      return { loss, gradient: flat(gradients) };
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
