import { AnnealError } from '../../../proto/errors.ts';
import { heldOver } from '../../models/adapter_base.ts';
import type { WorkerProcess } from '../worker-process.ts';
import { changeOnce, type Handler, type Services } from './handler.ts';

/** Hands the request to the worker that has the weights; text and end come as events of the new job. */
export const modelGenerate: Handler<'model.generate'> = async (request, services, context) => {
  const { model, prompt, messages, chat_template_kwargs, sampling } = request;
  if ((prompt === undefined) === (messages === undefined)) {
    throw new AnnealError('bad_request', 'model.generate: give either `prompt` or `messages`.', {
      hint: '`prompt` is raw text to go on from; `messages` go through the chat template of the model.',
      path: prompt === undefined ? 'prompt' : 'messages',
    });
  }
  if (prompt !== undefined && chat_template_kwargs !== undefined) {
    throw new AnnealError('bad_request', 'model.generate: `prompt` goes through no chat template.', {
      hint: 'Give `messages`, or leave out chat_template_kwargs.',
      path: 'chat_template_kwargs',
    });
  }
  const running = model.startsWith('job:') ? runningWorker(model.slice('job:'.length), services) : undefined;
  const held = running ? undefined : await heldOver(await services.artifacts.resolveModel(model));
  const reply = changeOnce(services, context, () => services.generations.create(model));
  services.generations.start(running ?? held!.base, {
    request: reply.job.id,
    ...(held?.adapter === undefined ? {} : { adapter: held.adapter }),
    ...(prompt === undefined ? {} : { prompt }),
    ...(messages === undefined ? {} : { messages }),
    ...(chat_template_kwargs === undefined ? {} : { chat_template_kwargs }),
    sampling,
  });
  return reply;
};

function runningWorker(reference: string, { store, supervisor }: Services): WorkerProcess {
  const { job } = store.find(reference);
  const worker = supervisor.worker(job.id);
  if (worker) return worker;
  throw new AnnealError(
    'job_state',
    `${job.id} (${job.name}) has no weights in memory: it is ${job.state}.`,
    {
      hint: 'Ask for a model that it has made: `anneal models`.',
      path: 'model',
    },
  );
}
