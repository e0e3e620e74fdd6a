/** The reading half of training a tokenizer: all rows of a stage's files go to the trainer, a sample of each source
 * is kept. The trainer counts a part while the next one is read. */
import { AnnealError } from '../../proto/errors.ts';
import { type Row, readAllRows } from '../data/rows.ts';
import { stageRows } from '../data/shapes/read.ts';
import type { RowSettings } from '../data/shapes/settings.ts';
import { listUnits } from '../data/sources/list.ts';
import type { BpeTrainer } from '../native/addon.ts';
import { TextBatchBuilder } from '../native/text_batch.ts';
import { type StageContext, StageStopped } from '../stages/stage.ts';
import { Sample } from './samples.ts';

/** Documents are handed to the trainer in parts of about this size for each of its threads. */
const PART_BYTES_A_THREAD = 512 << 10;

export interface CountedText {
  documents: number;
  /** Bytes of text. */
  bytes: number;
  /** By the entry of `files` that named them. */
  samples: Map<string, Sample>;
}

/** Plain text of a row, as the words are counted. */
function rowTexts(row: Row): Buffer[] {
  if (row.kind === 'text') return [typeof row.text === 'string' ? Buffer.from(row.text) : row.text];
  if (row.kind === 'completion') return [Buffer.from(row.prompt), Buffer.from(row.completion)];
  return row.messages.map(({ content }) => Buffer.from(content ?? ''));
}

/** Counts the words of all files. */
export async function countWords(
  trainer: BpeTrainer,
  context: StageContext<RowSettings & { files: string[] }>,
): Promise<CountedText> {
  const { settings, name, baseDir } = context;
  const counted: CountedText = { documents: 0, bytes: 0, samples: new Map() };
  const sampleOf = new Map<string, Sample>();
  let total = 0;
  for (const pattern of settings.files) {
    const sample = new Sample();
    counted.samples.set(pattern, sample);
    for (const unit of await listUnits([pattern], settings, baseDir)) {
      // A file that several entries name belongs to the first, and so do all units of a file.
      if ((sampleOf.get(unit.location) ?? sample) !== sample) continue;
      sampleOf.set(unit.location, sample);
      total += unit.bytes;
    }
  }

  const part = new TextBatchBuilder();
  let counting: Promise<void> | undefined;
  let done = 0;
  const flush = async (): Promise<void> => {
    await counting;
    if (context.checkpointRequested()) throw new StageStopped();
    counting = trainer.feed(part.take());
    // It is waited for with the next part: until then an error is not one that nobody handles.
    counting.catch(() => undefined);
    const metrics = { documents: counted.documents };
    context.emit('progress', { stage: name, done, total, unit: 'byte', metrics }, `${name}/byte/${done}`);
  };
  try {
    for await (const row of readAllRows(stageRows(context, settings.files, 'files'))) {
      done = row.bytesRead;
      const sample = sampleOf.get(row.unit.location);
      for (const text of rowTexts(row)) {
        counted.documents += 1;
        counted.bytes += text.length;
        sample?.add(text);
        part.add(text);
      }
      if (part.byteLength >= PART_BYTES_A_THREAD * context.threads) await flush();
    }
    await flush();
  } finally {
    await counting;
  }
  if (counted.documents > 0) return counted;
  throw new AnnealError(
    'data_empty',
    `The files of stage ${name} hold no text: ${settings.files.slice(0, 3).join(', ')}.`,
    { path: 'files', hint: 'Name files with text in them.' },
  );
}
