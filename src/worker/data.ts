/** Answers a question about data with a page. */
import { availableParallelism } from 'node:os';
import type { DataQuery } from '../../proto/data.ts';
import type { Page } from '../../proto/page.ts';
import type { WorkerTask } from '../../proto/worker.ts';
import { pageHtml } from '../data/page/html.ts';
import { diff } from '../data/queries/diff.ts';
import { grep } from '../data/queries/grep.ts';
import { inspect } from '../data/queries/inspect.ts';
import type { QueryContext } from '../data/queries/place.ts';
import { sample } from '../data/queries/sample.ts';
import { stats } from '../data/queries/stats.ts';
import { trace } from '../data/queries/trace.ts';
import { writeFileAtomic } from '../util/files.ts';
import type { WorkerChannel } from './channel.ts';

/** Runs the task `data`. */
export async function runData(
  { home, request }: Extract<WorkerTask, { task: 'data' }>,
  channel: WorkerChannel,
): Promise<void> {
  const context = { home, baseDir: request.base_dir, threads: availableParallelism() };
  const page = await answer(request.ask, context);
  if (request.html !== undefined) await writeFileAtomic(request.html, pageHtml(page));
  channel.send({ type: 'answered', answer: { page } });
}

function answer(ask: DataQuery, context: QueryContext): Promise<Page> {
  switch (ask.query) {
    case 'inspect':
      return inspect(ask, context);
    case 'stats':
      return stats(ask, context);
    case 'grep':
      return grep(ask, context);
    case 'sample':
      return sample(ask, context);
    case 'trace':
      return trace(ask, context);
    case 'diff':
      return diff(ask, context);
  }
}
