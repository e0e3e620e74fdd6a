/** The objective of distillation from a teacher's likeliest tokens. */
import { distill } from '../objectives/distill.ts';
import { addEntropy, Means, type PreferenceObjective } from './objective.ts';

/** GKD's divergence over the teacher's k tokens of each position; `k` is the same for all rows. */
export function distillObjective(
  settings: { beta: number; temperature: number },
  k: number,
): PreferenceObjective {
  return {
    outputs: 'tokens',
    reference: false,
    scorePrompt: false,
    targets: k,
    temperature: settings.temperature,
    tokens: ({ answers }) => answers[0]!.length,
    evaluate(groups, scores, { divisors }) {
      let loss = 0;
      const means = new Means();
      const gradients = groups.map(({ teacher }, i) => {
        const student = scores[i]!.answers[0]!.logProbs;
        const outcome = distill(student, teacher!.logProbs, k, settings, divisors);
        loss += outcome.loss;
        let overlap = 0;
        for (const logProb of Array.from(student)) overlap += Math.exp(logProb);
        means.add('teacher_tokens/student_mass', [overlap], student.length / k);
        return { answers: [outcome.gradient] };
      });
      addEntropy(means, scores);
      return { loss, gradients, means };
    },
  };
}
