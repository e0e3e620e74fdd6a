/** The thread of src/data/sources/columnar.ts: does one task after the other, a few groups ahead of its reader. */
import { parentPort } from 'node:worker_threads';
import { arrowRanges } from '../formats/arrow.ts';
import { damagedContainer } from '../formats/damaged.ts';
import { parquetRanges } from '../formats/parquet.ts';
import { DataFile, FilePart } from './bytes.ts';
import { type ColumnarReply, type ColumnarTask, GROUPS_AHEAD } from './columnar.ts';
import type { Range } from './ranges.ts';
import { readUnitHere } from './read_here.ts';
import type { SourceUnit } from './unit.ts';

const port = parentPort!;
// hyparquet reads columns at a time; when one is damaged, nobody waits for the others any more. What matters is
// what the task itself ends with.
process.on('unhandledRejection', () => undefined);
let credit = 0;
let wake = (): void => undefined;

port.on('message', (message: ColumnarTask | 'more') => {
  if (message === 'more') {
    credit += 1;
    wake();
    return;
  }
  credit = GROUPS_AHEAD;
  run(message)
    .then(() => send({ done: true }))
    .catch((error: unknown) => {
      const { location, format } = message.unit;
      send({ error: damagedContainer(error, location, `${format} file`).toBody() });
    });
});

function send(reply: ColumnarReply): void {
  port.postMessage(reply);
}

async function run(task: ColumnarTask): Promise<void> {
  if (task.task === 'ranges') {
    send({ ranges: await listRanges(task.unit, task.unitBytes) });
    return;
  }
  for await (const records of readUnitHere(task.unit, task.settings)) {
    while (credit === 0) {
      await new Promise<void>((resolve) => {
        wake = resolve;
      });
    }
    credit -= 1;
    send({ records });
  }
}

async function listRanges(unit: SourceUnit, unitBytes: number): Promise<Range[]> {
  const { path, location, within, format } = unit;
  const file = await DataFile.open(path, location, unit.file);
  try {
    const part = within === undefined ? file : new FilePart(file, within.offset, within.bytes);
    return await (format === 'arrow' ? arrowRanges(part, unit, unitBytes) : parquetRanges(part, unitBytes));
  } finally {
    await file.close();
  }
}
