/** Drawing tokens: what is asked for, and what comes of it. */

export interface SamplingOptions {
  maxNewTokens: number;
  /** 0: greedy. */
  temperature: number;
  /** 0: off. */
  topK: number;
  /** 1: off. */
  topP: number;
  /** 0: off. */
  minP: number;
  /** 1: off (Keskar et al. 2019, over prompt and answer as transformers does). */
  repetitionPenalty: number;
  /** Up to 2^53; random numbers depend on seed, number of the sample and position only. */
  seed: number;
  stopTokens: Int32Array;
}

/** Several samples of one prompt, whose keys and values are computed and held once. */
export interface GenerationRequest {
  prompt: Int32Array;
  samples: number;
  sampling: SamplingOptions;
  /** The adapter whose weights draw; absent: the base alone. */
  adapter?: number;
  /** What the text must match; the session needs its vocabulary (`setVocabulary`). */
  constraint?: Constraint;
}

/** A deterministic automaton over the bytes of an answer; each state leads to an accepting one. */
export interface Constraint {
  /** [states, 256], -1: none. State 0 is the start. */
  transitions: Int32Array;
  /** [states]: the answer may end here. Stop tokens are allowed in these states only. */
  accepting: Uint8Array;
}

export interface Completion {
  /** New tokens, the stop token included if one ended it. */
  tokens: Int32Array;
  /** Log-probability of each: of softmax(logits / temperature) (temperature 0: of the logits), without filters. */
  logProbs: Float32Array;
  finish: 'stop' | 'length' | 'cancelled';
}

/** What happened to samples since the last call, in order, an array for each field. */
export interface GenerationUpdates {
  requests: Int32Array;
  samples: Int32Array;
  /** -1: none was drawn, the sample has only ended. */
  tokens: Int32Array;
  logProbs: Float32Array;
  /** -1: goes on; else it has ended: 0 stop, 1 length, 2 cancelled. */
  finishes: Int32Array;
}
