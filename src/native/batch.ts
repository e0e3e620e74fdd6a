/** Passes through the model and steps of the optimiser: what goes in and what comes out. */

/** A packed batch: see DESIGN section 4. */
export interface Batch {
  tokens: Int32Array;
  /** [S + 1] */
  cuSeqlens: Int32Array;
  /** [S], -1 or an earlier sequence of this batch. Absent: no prefixes. */
  prefix?: Int32Array;
  /** Rows of `tokens` whose next-token distribution is scored; a row may occur more than once. */
  scored: Int32Array;
  /** Target ids of the scored rows, [N] or [N, targetsPerRow]; not read where `outputs` is `values`. */
  targets: Int32Array;
  /** Absent: 1. */
  targetsPerRow?: number;
  /** The adapter whose weights the pass uses; absent: the base alone. */
  adapter?: number;
  /** What is computed at the scored rows; absent: `tokens`. With `values` alone the language-model head is not run. */
  outputs?: 'tokens' | 'values' | 'both';
  /** Logits are divided by it before the softmax; absent: 1. */
  temperature?: number;
  /** Up to 2^53: decides, with module, row and column, what the adapter's dropout drops. Absent: no dropout. */
  dropoutSeed?: number;
}

/** Numbers at the scored rows; arrays of what was not asked for are empty. */
export interface Scores {
  /** [N] or [N, targetsPerRow] */
  logProbs: Float32Array;
  /** [N], in nats; logZ likewise. */
  entropies: Float32Array;
  logZ: Float32Array;
  /** [N], of the scalar head. */
  values: Float32Array;
  // The following have no gradient.
  /** [N] or [N, targetsPerRow]: 1 where the target is the most likely token (of equals the smallest id), else 0. */
  hits: Float32Array;
  /** [N]: mean over the vocabulary of the logits, divided by the temperature. */
  meanLogits: Float32Array;
  /** [N]: log of the sum of the squared probabilities, the log-probability that two draws agree. */
  logSumSquares: Float32Array;
}

/** The loss's gradient with respect to the numbers of `Scores`; absent: zeros. */
export interface ScoreGradients {
  logProbs?: Float32Array;
  entropies?: Float32Array;
  logZ?: Float32Array;
  values?: Float32Array;
}

/** The optional fields are required by the optimisers that are named beside them, and not read by the others. */
export interface StepOptions {
  learningRate: number;
  /** Decoupled (SGD: added to the gradient). On matrices only; vectors (norms, biases) are never decayed. */
  weightDecay: number;
  /** Global norm; 0: no clipping. */
  maxGradNorm: number;
  /** Optimiser step, from 1: bias correction. */
  step: number;
  /** The parameter set that is stepped: an adapter; absent: the base. */
  adapter?: number;
  /** adamw, adamw_8bit, lion; muon for what it leaves to AdamW: vectors, embeddings, heads. */
  beta1?: number;
  beta2?: number;
  /** The same without lion. */
  epsilon?: number;
  /** sgd, muon */
  momentum?: number;
  nesterov?: boolean;
  /**
   * muon: updates of a matrix times 0.2 sqrt(max(rows, columns)), which is the size of AdamW's (Liu et al. 2025);
   * false: times sqrt(max(1, rows / columns)) (Jordan et al. 2024).
   */
  matchRmsAdamw?: boolean;
  /** adafactor: 1 - beta2 is step^beta2Decay; updates are clipped to this root mean square. */
  beta2Decay?: number;
  clipThreshold?: number;
}

/** Tensors with factors of their own on the step's learning rate and decay; absent: 1. */
export interface ParameterGroup {
  names: string[];
  learningRateFactor?: number;
  weightDecayFactor?: number;
}

export interface StepResult {
  /** Before clipping. */
  gradNorm: number;
  /** false: the norm was not finite; weights and state are as before, gradients are cleared. */
  applied: boolean;
}
