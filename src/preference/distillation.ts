/** The objective of distillation from a teacher's likeliest tokens that the rows have. */
import { distill, supportMass } from '../objectives/distill.ts';
import { addEntropy, Means, type PreferenceObjective } from './objective.ts';

/** What the divergence is taken with, and over how many tokens of how large a vocabulary. */
export interface DivergenceSettings {
  beta: number;
  /** Of both distributions. */
  temperature: number;
  k: number;
  vocabSize: number;
}

/** GKD's divergence over the teacher's k tokens of each position; all rows have k of them. */
export function distillObjective(settings: DivergenceSettings): PreferenceObjective {
  const { beta, temperature, k, vocabSize } = settings;
  return {
    outputs: 'tokens',
    reference: false,
    scorePrompt: false,
    targets: k,
    temperature,
    tokens: ({ answers }) => answers[0]!.length,
    evaluate(groups, scores, { divisors }) {
      let loss = 0;
      const means = new Means();
      const gradients = groups.map(({ teacher }, i) => {
        const student = scores[i]!.answers[0]!.logProbs;
        const outcome = distill(student, teacher!.logProbs, k, { beta, rest: k < vocabSize }, divisors);
        loss += outcome.loss;
        addSupport(means, student, teacher!.logProbs, k);
        return { answers: [outcome.gradient] };
      });
      addEntropy(means, scores);
      return { loss, gradients, means };
    },
  };
}

/** The mass that student and teacher have on the k tokens: what is left is compared as one outcome. */
export function addSupport(
  means: Means,
  student: ArrayLike<number>,
  teacher: ArrayLike<number>,
  k: number,
): void {
  const positions = student.length / k;
  means.add('loss_top_k/student_mass', [supportMass(student)], positions);
  means.add('loss_top_k/teacher_mass', [supportMass(teacher)], positions);
}
