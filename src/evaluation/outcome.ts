/** What a model did with a row of an evaluation. */
import type { Likelihood } from './likelihood.ts';

export interface Outcome {
  /** What it said, for a question. */
  output: string | undefined;
  /** How likely it found the text, for a text. */
  likelihood: Likelihood | undefined;
}
