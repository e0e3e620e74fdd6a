/**
 * A teacher that is asked while its student trains: a session of its own, with room for the student's microbatches and,
 * where the teacher writes answers too, for those. The same options tell `anneal plan` its size.
 */
import { AnnealError } from '../../proto/errors.ts';
import { loadModel, openLanguageModel, openModelFolder } from '../models/load.ts';
import type { Addon, Architecture, Session, SessionOptions } from '../native/addon.ts';
import type { PlannedInput } from '../stages/stage.ts';
import type { Tokenizer } from '../tokenizer/tokenizer.ts';
import { plannedArchitecture } from '../training/planned.ts';
import { requireTokenizer } from './reference_model.ts';

/** What a teacher's session has room for. */
export interface TeacherRoom {
  /** Tokens, scored rows and sequences of a microbatch, and targets of a row. */
  maxRows: number;
  targets: number;
  /** Answers that it writes side by side, and rows of the longest with its prompt; 0: it writes none. */
  generationSlots: number;
  generationLength: number;
}

/** Options of the session of a teacher that is only asked. */
function teacherOptions(
  threads: number,
  room: TeacherRoom,
): Omit<SessionOptions, 'architecture' | 'adapters'> {
  const { maxRows, targets, generationSlots, generationLength } = room;
  return {
    threads,
    trainable: false,
    recompute: false,
    maxTokens: maxRows,
    maxSequences: maxRows,
    maxScored: maxRows,
    maxTargets: maxRows * targets,
    generationSlots,
    generationLength,
  };
}

/** Bytes of that session; an adapter's folder has its base in it, and itself until it is merged. */
export async function teacherBytes(
  addon: Addon,
  teacher: PlannedInput,
  threads: number,
  room: TeacherRoom,
): Promise<number> {
  const adapter = 'path' in teacher ? (await openModelFolder(teacher.path)).adapter : undefined;
  const options = {
    ...teacherOptions(threads, room),
    architecture: await plannedArchitecture(teacher),
    ...(adapter ? { adapters: [adapter.options] } : {}),
  };
  return addon.planSession(options).total;
}

/** Refuses a teacher whose distributions are over other tokens than the student's. */
export async function requireTeacher(
  path: string,
  student: Pick<Architecture, 'vocabSize'>,
  tokenizer: Tokenizer,
  stage: string,
): Promise<void> {
  const place = `stages.${stage}.teacher`;
  await requireTokenizer(path, tokenizer, place);
  const { vocabSize } = (await openLanguageModel(path)).architecture;
  if (vocabSize === student.vocabSize) return;
  throw new AnnealError(
    'model_invalid',
    `${place}: ${path} has a distribution over ${vocabSize} tokens, the student over ${student.vocabSize}.`,
    {
      path: place,
      hint: 'Take a teacher with the same vocab_size, or train the student with sft on answers that the teacher writes.',
    },
  );
}

/** Opens the teacher; an adapter's folder with its base, merged. Its memory has been asked for with the student's. */
export async function openTeacher(
  addon: Addon,
  path: string,
  threads: number,
  room: TeacherRoom,
): Promise<Session> {
  return loadModel(addon, await openModelFolder(path), teacherOptions(threads, room));
}
