/**
 * Distillation on answers that are written in training, from settings to artifact: rows read and audited, the teacher
 * opened beside the student, and the training loop run over a `DistillWork`.
 */
import { AnnealError } from '../../proto/errors.ts';
import { userPrompt } from '../models/complete.ts';
import { openLanguageModel } from '../models/load.ts';
import { PROBE_TOKENS, readStopIds } from '../models/save.ts';
import type { Architecture, Session } from '../native/addon.ts';
import { stagePrompts } from '../rollout/open.ts';
import type { PackedSample } from '../rollout/pack.ts';
import { RolloutStore } from '../rollout/store.ts';
import type { StageContext } from '../stages/stage.ts';
import { loadTokenizer, type Tokenizer } from '../tokenizer/tokenizer.ts';
import { rowLength, runTraining } from '../training/run.ts';
import { type DatasetRules, readTrainingRows, readValidationRows } from './dataset.ts';
import type { DistillRow } from './distillation_draws.ts';
import { type DistillSettings, lmbdaOf, supportSize, writesAll } from './distillation_settings.ts';
import { DistillWork } from './distillation_work.ts';
import { openTeacher, requireTeacher, type TeacherRoom, teacherBytes } from './teacher_session.ts';

/** Share of the steps in which the learning rate rises, as in the preference stages. */
const DEFAULT_WARMUP_RATIO = 0.03;

/** Answers that are written side by side at most. */
const MAX_SLOTS = 64;

/** Rows of a page of the key/value cache. */
const PAGE_ROWS = 16;

/** Rollouts that are kept: that of the step in hand. Going further back writes the same answers again. */
const KEPT_ROLLOUTS = 1;

/**
 * What sessions need for the answers of a step, of at most `longest` tokens with their prompts: a student's, which also
 * answers in chats that may be as long as its context, and a teacher's.
 */
export function writingRoom(settings: DistillSettings, architecture: Architecture, longest: number) {
  const { per_device_train_batch_size, gradient_accumulation_steps, seq_kd } = settings;
  const generationSlots = Math.min(MAX_SLOTS, per_device_train_batch_size * gradient_accumulation_steps);
  const pages = Math.ceil(longest / PAGE_ROWS);
  return {
    student: {
      generationSlots,
      generationRows: Math.max(architecture.maxPositions, generationSlots * pages * PAGE_ROWS),
    },
    teacher: seq_kd
      ? { generationSlots, generationLength: longest }
      : { generationSlots: 0, generationLength: 0 },
  };
}

/** Trains and writes the artifact. */
export async function runOnPolicy(context: StageContext<DistillSettings>): Promise<void> {
  const { settings, name, addon, inputs, threads, seed } = context;
  const { path } = inputs.model!;
  const base = await openLanguageModel(path);
  const { architecture } = base;
  const tokenizer = await loadTokenizer(path, { threads });
  await requireTeacher(inputs.teacher!.path, architecture, tokenizer, name);
  const maxLength = rowLength(settings, architecture, name);
  const rules: DatasetRules = {
    kind: 'completions',
    scored: 'answers',
    maxLength,
    tooLong: settings.too_long,
  };
  const { rows, closingIds } = await readRows(context, tokenizer, rules);
  const validation =
    settings.eval_dataset === undefined
      ? []
      : (await readValidationRows(context, settings.eval_dataset, tokenizer, rules)).map(
          ({ prompt, answers }, group): PackedSample => ({ group, prompt, ids: answers[0]! }),
        );
  const stopIds = [...new Set([...(await readStopIds(path, tokenizer)), ...closingIds])];
  if (stopIds.length === 0) throw endless(name, path);

  const batchSize = settings.per_device_train_batch_size;
  const written = longestOf(rows, ({ prompt }) =>
    Math.min(maxLength, prompt.length + settings.max_new_tokens),
  );
  const given = longestOf(rows, ({ prompt, answer }) => prompt.length + (answer?.length ?? 0));
  const maxRows = Math.max(
    PROBE_TOKENS,
    batchSize * Math.max(written, given),
    longestOf(validation, ({ prompt, ids }) => prompt.length + ids.length),
  );
  const k = supportSize(settings, architecture.vocabSize);
  const writing = writingRoom(settings, architecture, written);
  const teacherRoom: TeacherRoom = { maxRows, targets: k, ...writing.teacher };
  let teacher: Session | undefined;
  try {
    await runTraining(context, {
      model: base,
      base,
      tokenizer,
      stopIds,
      samplePrompt: (text) => userPrompt(tokenizer, text, settings.chat_template_kwargs),
      defaultWarmupRatio: DEFAULT_WARMUP_RATIO,
      room: {
        maxTokens: maxRows,
        maxSequences: maxRows,
        maxScored: maxRows,
        keepLogits: true,
        maxTargets: maxRows * k,
        ...writing.student,
      },
      beside: { memory: await teacherBytes(addon, inputs.teacher!, threads, teacherRoom), snapshots: 0 },
      rows: rows.length,
      async work({ session, passFields }) {
        teacher = await openTeacher(addon, inputs.teacher!.path, threads, teacherRoom);
        return new DistillWork({
          student: session,
          // Without dropout: what is trained is the very model that wrote.
          studentFields: passFields(undefined),
          teacher,
          rows,
          draw: {
            maxCompletionLength: settings.max_new_tokens,
            temperature: settings.temperature,
            topK: 0,
            topP: 1,
            minP: 0,
            repetitionPenalty: 1,
            stopIds,
          },
          maxLength,
          atOnce: 2 * writing.student.generationSlots,
          seed,
          store: new RolloutStore(context.workDir, context.hash, KEPT_ROLLOUTS),
          lmbda: lmbdaOf(settings),
          seq_kd: settings.seq_kd,
          divergence: {
            beta: settings.beta,
            temperature: settings.teacher_temperature,
            k,
            vocabSize: architecture.vocabSize,
          },
          batchSize,
          accumulation: settings.gradient_accumulation_steps,
          length:
            settings.max_steps === undefined
              ? { epochs: settings.num_train_epochs ?? 1 }
              : { steps: settings.max_steps },
          validation: settings.eval_steps === undefined ? undefined : inBatches(validation, maxRows),
        });
      },
    });
  } finally {
    await teacher?.close();
  }
}

/** Prompts with answers, or prompts alone where all answers are written. */
async function readRows(
  context: StageContext<DistillSettings>,
  tokenizer: Tokenizer,
  rules: DatasetRules,
): Promise<{ rows: DistillRow[]; closingIds: ReadonlySet<number> }> {
  const { settings, inputs } = context;
  if (writesAll(settings)) {
    // Texts are read as they are in the rows with answers.
    const asked = { ...context, settings: { ...settings, prompting: 'raw' as const } };
    const prompts = await stagePrompts(asked, tokenizer, rules.maxLength, 1);
    return {
      rows: prompts.map(({ origin, ids }) => ({ origin, prompt: ids, answer: undefined })),
      closingIds: new Set(),
    };
  }
  const { groups, closingIds } = await readTrainingRows(
    context,
    settings.dataset,
    inputs.dataset,
    tokenizer,
    rules,
  );
  return {
    rows: groups.map(({ origin, prompt, answers }) => ({ origin, prompt, answer: answers[0]! })),
    closingIds,
  };
}

/** The most tokens that a row has. */
function longestOf<Row>(rows: readonly Row[], tokens: (row: Row) => number): number {
  return rows.reduce((most, row) => Math.max(most, tokens(row)), 0);
}

/** Samples in their order, in batches of at most `maxRows` rows. */
function inBatches(samples: readonly PackedSample[], maxRows: number): PackedSample[][] {
  const batches: PackedSample[][] = [];
  let room = 0;
  for (const sample of samples) {
    const size = sample.prompt.length + sample.ids.length;
    if (size > room) {
      batches.push([]);
      room = maxRows;
    }
    batches.at(-1)!.push(sample);
    room -= size;
  }
  return batches;
}

function endless(stage: string, path: string): AnnealError {
  return new AnnealError('audit_refused', `Stage ${stage}: no token ends an answer of ${path}.`, {
    path: `stages.${stage}.model`,
    hint: 'Give the model an eos_token in tokenizer_config.json, or eos_token_id in generation_config.json.',
  });
}
