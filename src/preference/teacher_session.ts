/**
 * A teacher that is asked while its student trains: a session of its own, with room for the student's microbatches and,
 * where the teacher writes answers too, for those. The same options tell `anneal plan` its size.
 */
import { AnnealError } from '../../proto/errors.ts';
import { loadModel, openModelFolder } from '../models/load.ts';
import type { Addon, Architecture, Session, SessionOptions } from '../native/addon.ts';
import type { StageContext } from '../stages/stage.ts';
import type { Tokenizer } from '../tokenizer/tokenizer.ts';
import { requireMemory } from '../util/memory.ts';
import { requireTokenizer } from './reference_model.ts';

/** What a teacher's session has room for. */
export interface TeacherRoom {
  /** Tokens, scored rows and sequences of a microbatch, and targets of a row. */
  maxRows: number;
  targets: number;
  /** Answers that it writes side by side; 0: it writes none. */
  generationSlots: number;
}

/** Options of the session of a teacher that is only asked. */
export function teacherOptions(
  architecture: Architecture,
  threads: number,
  room: TeacherRoom,
): SessionOptions {
  const { maxRows, targets, generationSlots } = room;
  return {
    architecture,
    threads,
    trainable: false,
    recompute: false,
    maxTokens: maxRows,
    maxSequences: maxRows,
    maxScored: maxRows,
    maxTargets: maxRows * targets,
    generationSlots,
    generationLength: generationSlots === 0 ? 0 : architecture.maxPositions,
  };
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
  const { vocabSize } = (await openModelFolder(path)).architecture;
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

/** Opens the teacher; an adapter's folder with its base, merged. */
export async function openTeacher(
  { addon, threads, name }: { addon: Addon; threads: number } & Pick<StageContext<unknown>, 'name'>,
  path: string,
  room: TeacherRoom,
): Promise<Session> {
  const folder = await openModelFolder(path);
  const { architecture, ...options } = teacherOptions(folder.architecture, threads, room);
  const adapters = folder.adapter ? { adapters: [folder.adapter.options] } : {};
  const { total } = addon.planSession({ ...options, ...adapters, architecture });
  requireMemory(total, `The teacher of stage ${name}`);
  return loadModel(addon, folder, options);
}
