/**
 * Which metrics of a training stage a person sees, by its type: the one whose curve is drawn, and a few figures beside
 * it. The names are TRL's; all metrics are in the events and files of the job.
 */

export interface Shown {
  /** The metric whose curve is drawn, with its word. */
  curve: readonly [metric: string, word: string];
  /** Further figures, the most important first. */
  facts: readonly (readonly [metric: string, word: string])[];
}

const LOSS = ['loss', 'loss'] as const;
const PAIRS: Shown = {
  curve: LOSS,
  facts: [
    ['rewards/accuracies', 'accuracy'],
    ['rewards/margins', 'margin'],
  ],
};
const SAMPLES: Shown = {
  curve: ['reward', 'reward'],
  facts: [
    ['kl', 'kl'],
    ['completions/mean_length', 'length'],
    ['frac_reward_zero_std', 'groups of one reward'],
  ],
};

const SHOWN: Readonly<Record<string, Shown>> = {
  dpo: PAIRS,
  orpo: PAIRS,
  cpo: PAIRS,
  kto: {
    curve: LOSS,
    facts: [
      ['rewards/margins', 'margin'],
      ['kl', 'kl'],
    ],
  },
  bco: {
    curve: LOSS,
    facts: [
      ['rewards/margins', 'margin'],
      ['delta', 'delta'],
    ],
  },
  reward: {
    curve: LOSS,
    facts: [
      ['accuracy', 'accuracy'],
      ['margin', 'margin'],
    ],
  },
  distill: { curve: LOSS, facts: [] },
  grpo: SAMPLES,
  rloo: SAMPLES,
  online_dpo: {
    curve: ['objective/scores', 'reward'],
    facts: [['objective/kl', 'kl'], ...PAIRS.facts],
  },
  ppo: {
    curve: ['objective/scores', 'reward'],
    facts: [
      ['objective/kl', 'kl'],
      ['loss/policy_avg', 'policy loss'],
      ['loss/value_avg', 'value loss'],
    ],
  },
};

const PLAIN: Shown = { curve: LOSS, facts: [] };

/** Whether a stage of this type makes a model that one can talk to; a reward model has no words. */
export function speaks(type: string): boolean {
  return ['pretrain', 'sft', 'merge'].includes(type) || (type in SHOWN && type !== 'reward');
}

/** What is shown of a stage of this type. */
export function shownMetrics(type: string): Shown {
  return SHOWN[type] ?? PLAIN;
}
