/**
 * Settings of the optimiser, shared by all training stages: which one, its hyper-parameters by the names of transformers
 * and torch.optim, and learning rates of tensors of their own. What the engine gets of them: options of a step, and
 * factors by tensor.
 */
import { z } from 'zod';
import { AnnealError } from '../../proto/errors.ts';
import type { OptimizerName, ParameterGroup, StepOptions, TensorInfo } from '../native/addon.ts';
import { nearest } from '../util/nearest.ts';

const names = [
  'adamw',
  'adamw_8bit',
  'lion',
  'muon',
  'adafactor',
  'sgd',
] as const satisfies readonly OptimizerName[];

/** Settings that belong to some optimisers only: which, and their defaults. */
const own = {
  lion_beta1: { lion: 0.9 },
  lion_beta2: { lion: 0.99 },
  momentum: { sgd: 0.9, muon: 0.95 },
  nesterov: { sgd: false, muon: true },
  muon_adjust_lr: { muon: 'match_rms_adamw' },
  adafactor_beta2_decay: { adafactor: -0.8 },
  adafactor_clip_threshold: { adafactor: 1 },
} as const satisfies Record<string, Partial<Record<OptimizerName, number | boolean | string>>>;

const decay = z.number().min(0).lt(1);

/** The fields; stages differ in a few defaults. */
export function optimizerFields(defaults: { adam_beta2: number; weight_decay: number }) {
  return {
    optim: z
      .enum(names)
      .default('adamw')
      .describe(
        'The optimiser. adamw_8bit keeps its moments in 8 bits, block by block (Dettmers et al. 2022), those of the embedding and of small tensors in 32. lion needs a learning rate some 3 to 10 times lower than adamw. muon trains the matrices of the layers and leaves vectors, embeddings and heads to AdamW. adafactor and sgd are as in torch.optim.',
      ),
    adam_beta1: decay.default(0.9).describe('adamw, adamw_8bit, muon: decay of the mean of gradients.'),
    adam_beta2: decay
      .default(defaults.adam_beta2)
      .describe('adamw, adamw_8bit, muon: decay of the mean of squares.'),
    adam_epsilon: z
      .number()
      .positive()
      .default(1e-8)
      .describe('adamw, adamw_8bit, muon: added to the root of the mean of squares.'),
    lion_beta1: decay.optional().describe('lion: share of the momentum in the direction. Default: 0.9.'),
    lion_beta2: decay.optional().describe('lion: decay of the momentum. Default: 0.99.'),
    momentum: decay.optional().describe('sgd (default 0.9), muon (default 0.95): decay of the momentum.'),
    nesterov: z
      .boolean()
      .optional()
      .describe("sgd (default false), muon (default true): Nesterov's momentum."),
    muon_adjust_lr: z
      .enum(['match_rms_adamw', 'original'])
      .optional()
      .describe(
        "muon: match_rms_adamw gives updates the size of AdamW's, so that one learning rate serves all tensors; original is sqrt(max(1, rows / columns)). Default: match_rms_adamw.",
      ),
    adafactor_beta2_decay: z
      .number()
      .max(0)
      .optional()
      .describe('adafactor: the mean of squares decays by 1 - step^this. Default: -0.8.'),
    adafactor_clip_threshold: z
      .number()
      .min(1)
      .optional()
      .describe("adafactor: the largest root mean square of a tensor's update. Default: 1."),
    weight_decay: z
      .number()
      .min(0)
      .default(defaults.weight_decay)
      .describe('Decoupled (sgd: added to the gradient); of matrices only.'),
    max_grad_norm: z
      .number()
      .min(0)
      .default(1)
      .describe('Global norm to which gradients are clipped; 0: no clipping.'),
    learning_rates: z
      .record(z.string().min(1), z.number().min(0))
      .default({})
      .describe(
        'Factors on the learning rate by a regular expression over tensor names (it may match any part of a name; the first that matches counts). 0: the tensor stays as it is.',
      ),
    loraplus_lr_ratio: z
      .number()
      .positive()
      .optional()
      .describe(
        'LoRA+ (Hayou et al. 2024): the learning rate of the B matrices over that of the A matrices.',
      ),
  };
}

export type OptimizerSettings = z.output<z.ZodObject<ReturnType<typeof optimizerFields>>>;

/** Contradictions between the fields; `issue` is told of each. */
export function checkOptimizer(
  settings: OptimizerSettings & { lora?: unknown },
  issue: (path: string, message: string) => void,
): void {
  for (const [field, owners] of Object.entries(own)) {
    if (settings[field as keyof typeof own] !== undefined && !(settings.optim in owners)) {
      issue(field, `is for optim: ${Object.keys(owners).join(' or ')}, not for ${settings.optim}`);
    }
  }
  if (settings.loraplus_lr_ratio !== undefined && settings.lora === undefined) {
    issue('loraplus_lr_ratio', 'needs lora: it is about the B matrices of an adapter');
  }
  for (const pattern of Object.keys(settings.learning_rates)) {
    try {
      new RegExp(pattern, 'u');
    } catch (error) {
      issue('learning_rates', `${pattern} is no regular expression: ${(error as Error).message}`);
    }
  }
}

/** Options of optimiser step `step` (from 1). */
export function stepOptions(settings: OptimizerSettings, learningRate: number, step: number): StepOptions {
  const common = {
    learningRate,
    weightDecay: settings.weight_decay,
    maxGradNorm: settings.max_grad_norm,
    step,
  };
  const adam = { beta1: settings.adam_beta1, beta2: settings.adam_beta2, epsilon: settings.adam_epsilon };
  switch (settings.optim) {
    case 'adamw':
    case 'adamw_8bit':
      return { ...common, ...adam };
    case 'lion':
      return {
        ...common,
        beta1: settings.lion_beta1 ?? own.lion_beta1.lion,
        beta2: settings.lion_beta2 ?? own.lion_beta2.lion,
      };
    case 'muon':
      return {
        ...common,
        ...adam,
        momentum: settings.momentum ?? own.momentum.muon,
        nesterov: settings.nesterov ?? own.nesterov.muon,
        matchRmsAdamw: (settings.muon_adjust_lr ?? own.muon_adjust_lr.muon) === 'match_rms_adamw',
      };
    case 'adafactor':
      return {
        ...common,
        beta2Decay: settings.adafactor_beta2_decay ?? own.adafactor_beta2_decay.adafactor,
        clipThreshold: settings.adafactor_clip_threshold ?? own.adafactor_clip_threshold.adafactor,
      };
    case 'sgd':
      return {
        ...common,
        momentum: settings.momentum ?? own.momentum.sgd,
        nesterov: settings.nesterov ?? own.nesterov.sgd,
      };
  }
}

/**
 * The trained tensors whose learning rate differs, from `learning_rates` and `loraplus_lr_ratio`. A pattern that matches
 * none of them is an error.
 */
export function parameterGroups(
  settings: OptimizerSettings,
  tensors: readonly TensorInfo[],
  stage: string,
): ParameterGroup[] {
  const patterns = Object.entries(settings.learning_rates).map(([pattern, factor]) => {
    const expression = new RegExp(pattern, 'u');
    if (!tensors.some(({ name }) => expression.test(name))) throw noTensor(pattern, tensors, stage);
    return { expression, factor };
  });
  const byFactor = new Map<number, string[]>();
  for (const { name } of tensors) {
    const own = patterns.find(({ expression }) => expression.test(name))?.factor ?? 1;
    const factor = own * (isLoraB(name) ? (settings.loraplus_lr_ratio ?? 1) : 1);
    if (factor !== 1) byFactor.set(factor, [...(byFactor.get(factor) ?? []), name]);
  }
  return [...byFactor].map(([learningRateFactor, found]) => ({ names: found, learningRateFactor }));
}

function isLoraB(name: string): boolean {
  return /\.lora_(?:embedding_)?B\b/u.test(name);
}

function noTensor(pattern: string, tensors: readonly TensorInfo[], stage: string): AnnealError {
  // Layers differ in their number only: one of each kind is named.
  const kinds = [...new Set(tensors.map(({ name }) => name.replace(/\.\d+\./u, '.*.')))];
  const parts = new Map(kinds.flatMap((kind) => [kind, ...kind.split('.')].map((part) => [part, kind])));
  const guess = nearest(pattern, parts.keys());
  const path = `stages.${stage}.learning_rates`;
  return new AnnealError('recipe_invalid', `${path}: ${pattern} matches no trained tensor.`, {
    path,
    hint:
      guess === undefined
        ? `Trained are ${kinds.join(', ')}.`
        : `Did you mean ${guess}? It is part of ${parts.get(guess)}.`,
  });
}
