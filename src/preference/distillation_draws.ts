/**
 * Answers of on-policy distillation (GKD, Agarwal et al. 2024, algorithm 1): for each microbatch a coin says whether the
 * student writes its answers (probability `lmbda`); otherwise the teacher does (`seq_kd`, sequence-level distillation),
 * or those of the dataset are taken. What is written for the microbatches of an optimiser step makes a rollout, kept on
 * disk as those of reinforcement learning are. Its groups are rows of the dataset, one answer each.
 */
import { DataRandom } from '../data/random.ts';
import type { Batch, Completion, Session } from '../native/addon.ts';
import { offsetsOf } from '../objectives/spans.ts';
import { type DrawSettings, drawCompletions, drawSeed } from '../rollout/draw.ts';
import { measure } from '../rollout/measure.ts';
import type { Rollout } from '../rollout/rollout.ts';

/** Who writes the answers of a microbatch. */
export type AnswerSource = 'student' | 'teacher' | 'dataset';

/** A prompt, and its answer in the dataset where there is one. */
export interface DistillRow {
  origin: string;
  prompt: Int32Array;
  answer: Int32Array | undefined;
}

/** A row whose answer is to be written: its place in the step decides the random numbers. */
export interface RowToDraw {
  row: number;
  place: number;
}

export interface DistillDrawOptions {
  student: Session;
  /** Fields of the student's passes: its adapter. */
  studentFields: Pick<Batch, 'adapter'>;
  teacher: Session;
  rows: readonly DistillRow[];
  draw: DrawSettings;
  /** Longest prompt with its answer. */
  maxLength: number;
  /** Answers that are asked for at once, between two boundaries. */
  atOnce: number;
  seed: number;
}

/** The source of microbatch `microbatch` of step `step`. */
export function answerSource(
  settings: { lmbda: number; seq_kd: boolean },
  seed: number,
  step: number,
  microbatch: number,
): AnswerSource {
  const coin = new DataRandom('gkd', seed, step, microbatch).next() / 2 ** 32;
  if (coin < settings.lmbda) return 'student';
  return settings.seq_kd ? 'teacher' : 'dataset';
}

/**
 * The answers of a step, with the weights as they are: `microbatches` by student and by teacher, in this order in the
 * rollout. The student's are measured as the trainer sees them.
 */
export async function drawAnswers(
  options: DistillDrawOptions,
  step: number,
  microbatches: { student: readonly RowToDraw[][]; teacher: readonly RowToDraw[][] },
  boundary: () => Promise<void>,
): Promise<Rollout> {
  const { student, studentFields, teacher, rows, draw } = options;
  const [byStudent, byTeacher] = [microbatches.student.flat(), microbatches.teacher.flat()];
  const completions = [
    ...(await complete(options, student, studentFields.adapter, step, byStudent, boundary)),
    ...(await complete(options, teacher, undefined, step, byTeacher, boundary)),
  ];
  const drawn = {
    groupSize: 1,
    offsets: offsetsOf(completions.map(({ tokens }) => tokens.length)),
    ids: Int32Array.from(completions.flatMap(({ tokens }) => [...tokens])),
    sampledLogProbs: Float32Array.from(completions.flatMap(({ logProbs }) => [...logProbs])),
  };
  const prompts = Int32Array.from([...byStudent, ...byTeacher], ({ row }) => row);
  let sample = 0;
  const { temperature } = draw;
  const measured = await measure(
    {
      policy: student,
      reference: undefined,
      policyFields: { ...studentFields, ...(temperature === 1 ? {} : { temperature }) },
    },
    drawn,
    microbatches.student.map((own) => own.map(() => sample++)),
    (group) => rows[prompts[group]!]!.prompt,
    boundary,
  );
  return {
    ...drawn,
    ...measured,
    index: step,
    prompts,
    stopped: Uint8Array.from(completions, ({ finish }) => (finish === 'stop' ? 1 : 0)),
    // Nothing is rewarded, and nothing but the cursor goes on from rollout to rollout.
    scorers: [],
    rewards: new Float64Array(0),
    scores: new Float64Array(0),
    klCoefficient: 0,
    groupsThrownAway: 0,
    next: { position: 0, klCoefficient: 0 },
  };
}

async function complete(
  { rows, draw, maxLength, atOnce, seed }: DistillDrawOptions,
  session: Session,
  adapter: number | undefined,
  step: number,
  wanted: readonly RowToDraw[],
  boundary: () => Promise<void>,
): Promise<Completion[]> {
  const completions: Completion[] = [];
  for (let first = 0; first < wanted.length; first += atOnce) {
    await boundary();
    const draws = wanted.slice(first, first + atOnce).map(({ row, place }) => {
      const { prompt } = rows[row]!;
      return { prompt, seed: drawSeed(seed, step, place), maxLength: maxLength - prompt.length };
    });
    completions.push(...(await drawCompletions(session, adapter, draws, 1, draw)));
  }
  return completions;
}
