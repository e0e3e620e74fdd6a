/** Every command with its handler; the type holds this map to the protocol. */
import type { CommandName } from '../../../proto/commands.ts';
import { dataQuery } from './data-query.ts';
import { doctor } from './doctor.ts';
import type { Handler } from './handler.ts';
import { hello } from './hello.ts';
import { jobCancel } from './job-cancel.ts';
import { jobEvents } from './job-events.ts';
import { jobGet } from './job-get.ts';
import { jobList } from './job-list.ts';
import { jobPause } from './job-pause.ts';
import { jobPlan } from './job-plan.ts';
import { jobResume } from './job-resume.ts';
import { jobSubmit } from './job-submit.ts';
import { modelGenerate } from './model-generate.ts';
import { modelList } from './model-list.ts';
import { rankImport } from './rank-import.ts';
import { rankLabel } from './rank-label.ts';
import { rankLabels } from './rank-labels.ts';
import { rankOpen } from './rank-open.ts';
import { rankTask } from './rank-task.ts';
import { shutdown } from './shutdown.ts';
import { status } from './status.ts';

export const HANDLERS: { [C in CommandName]: Handler<C> } = {
  hello,
  status,
  doctor,
  shutdown,
  'job.submit': jobSubmit,
  'job.plan': jobPlan,
  'job.list': jobList,
  'job.get': jobGet,
  'job.pause': jobPause,
  'job.resume': jobResume,
  'job.cancel': jobCancel,
  'job.events': jobEvents,
  'model.list': modelList,
  'model.generate': modelGenerate,
  'data.query': dataQuery,
  'rank.open': rankOpen,
  'rank.task': rankTask,
  'rank.label': rankLabel,
  'rank.labels': rankLabels,
  'rank.import': rankImport,
};
