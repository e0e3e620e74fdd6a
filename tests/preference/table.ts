/** The preference stages as the tests run them: settings, and what each is to get better at. */
import type { MetricsLine } from './fixture.ts';

/** Settings of every stage. */
export const COMMON = [
  'max_steps: 12',
  'per_device_train_batch_size: 4',
  'gradient_accumulation_steps: 2',
  'learning_rate: 1e-3',
  'save_steps: 4',
];

export interface TestedStage {
  type: string;
  settings: string[];
  /** A metric that training is to move, up or down. */
  metric: string;
  rises: boolean;
  /** All the metrics that a step has. */
  metrics: string[];
  /** Calls of the engine from the audit to the end of the first microbatch: sessions, weights, passes. */
  calls: number;
}

const PAIR_METRICS = [
  'rewards/chosen',
  'rewards/rejected',
  'rewards/accuracies',
  'rewards/margins',
  'logps/chosen',
  'logps/rejected',
  'logits/chosen',
  'logits/rejected',
  'mean_token_accuracy',
  'entropy',
];
const LABEL_METRICS = [
  'rewards/chosen',
  'rewards/rejected',
  'rewards/margins',
  'logps/chosen',
  'logps/rejected',
  'logits/chosen',
  'logits/rejected',
  'entropy',
];

export const STAGES: TestedStage[] = [
  {
    type: 'dpo',
    settings: ['dataset: pairs.jsonl', 'eval_dataset: eval.jsonl', 'eval_steps: 6', 'beta: 0.1'],
    metric: 'rewards/margins',
    rises: true,
    metrics: PAIR_METRICS,
    // Behind a validation, too.
    calls: 22,
  },
  {
    type: 'orpo',
    settings: ['dataset: pairs.jsonl'],
    metric: 'loss',
    rises: false,
    metrics: [...PAIR_METRICS, 'nll_loss', 'log_odds_chosen', 'log_odds_ratio'],
    calls: 6,
  },
  {
    type: 'cpo',
    settings: ['dataset: pairs.jsonl', 'loss_type: simpo', 'beta: 2', 'cpo_alpha: 0'],
    metric: 'rewards/margins',
    rises: true,
    metrics: [...PAIR_METRICS, 'nll_loss'],
    calls: 6,
  },
  {
    type: 'kto',
    settings: ['dataset: labels.jsonl', 'beta: 0.5'],
    metric: 'loss',
    rises: false,
    metrics: [...LABEL_METRICS, 'kl'],
    calls: 14,
  },
  {
    type: 'bco',
    settings: ['dataset: labels.jsonl', 'beta: 0.5'],
    metric: 'loss',
    rises: false,
    metrics: [...LABEL_METRICS, 'delta'],
    calls: 14,
  },
  {
    type: 'reward',
    settings: ['dataset: rankings.jsonl', 'center_rewards_coefficient: 0.01'],
    metric: 'accuracy',
    rises: true,
    metrics: ['accuracy', 'margin', 'mean_reward', 'min_reward', 'max_reward'],
    calls: 6,
  },
  {
    type: 'distill',
    settings: ['dataset: completions.jsonl', 'teacher: teacher', 'lmbda: 0', 'loss_top_k: 16', 'beta: 0.5'],
    metric: 'loss',
    rises: false,
    metrics: ['entropy', 'loss_top_k/student_mass', 'loss_top_k/teacher_mass'],
    calls: 12,
  },
];

/** Mean of a metric over steps. */
export const mean = (lines: MetricsLine[], metric: string) =>
  lines.reduce((sum, line) => sum + line[metric]!, 0) / lines.length;
