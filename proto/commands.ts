/**
 * Every command of the protocol with its request and reply, a sentence each. Types are inferred from here;
 * `docs/protocol.md` and `proto/schema/` are generated from here by `scripts/generate-docs`.
 */
import { z } from 'zod';
import { DATA_COMMANDS } from './data.ts';
import { EVENTS, eventSchema } from './events.ts';
import { RANK_COMMANDS } from './ranking.ts';
import { jobStates } from './states.ts';
import { parseWindow, WINDOW_RULE } from './window.ts';

/** Hours of the day in which a job may run; see `window.ts`. */
export const windowSchema = z
  .string()
  .refine((text) => parseWindow(text) !== undefined, WINDOW_RULE)
  .describe(
    'Hours of the day in which the job runs, such as `22:00-07:00`; outside of them it waits, checkpointed.',
  );

export type Waiting = z.infer<(typeof EVENTS)['queue']['body']>;

export const jobSchema = z.strictObject({
  id: z.string().describe('Short unique id, `j` and a number.'),
  name: z.string(),
  kind: z.enum(['recipe', 'generate']).describe('A training recipe, or one generation request.'),
  state: z.enum(jobStates),
  priority: z.int(),
  device: z.string(),
  created_at: z.number().describe('Unix seconds; the others likewise.'),
  started_at: z.number().nullable(),
  finished_at: z.number().nullable(),
  attempts: z.int().describe('How many workers have run it, restarts included.'),
  stage: z.string().nullable().describe('The stage that runs or ran last.'),
  last_seq: z.int().describe('Sequence number of its newest event.'),
  error: z
    .strictObject({
      code: z.string(),
      message: z.string(),
      hint: z.string().optional(),
      path: z.string().optional(),
    })
    .nullable(),
  waiting: EVENTS.queue.body.nullable().describe('What a queued job waits for.'),
  window: z.string().nullable().describe('Hours of the day in which it may run.'),
  selftest: z.boolean().describe('It tests the stages of its recipe instead of running it.'),
  tensorboard: z.string().describe("Folder of TensorBoard's event files, a folder a stage."),
});
export type Job = z.infer<typeof jobSchema>;

const overrides = z
  .array(z.strictObject({ key: z.string(), value: z.string().describe('YAML, as after `--set KEY=`.') }))
  .default([]);
const jobRef = z.string().describe('Id or name of a job; of several with one name the newest.');

const recipeSource = {
  recipe: z.string().describe('The recipe: YAML text.'),
  base_dir: z.string().describe("Folder from which the recipe's relative paths start."),
  source: z.string().default('recipe').describe('Name of the file, for messages.'),
  set: overrides,
};

export const stagePlanSchema = z.strictObject({
  stage: z.string(),
  type: z.string(),
  reused: z.boolean().describe('An artifact made from the same inputs exists already.'),
  memory_bytes: z.number(),
  disk_bytes: z.number(),
  seconds: z
    .number()
    .nullable()
    .describe('Estimate; null where it cannot be told before earlier stages ran.'),
  detail: z.record(z.string(), z.union([z.string(), z.number(), z.boolean(), z.null()])),
});

export const chatMessageSchema = z.strictObject({ role: z.string(), content: z.string() });

/** Arguments of `apply_chat_template` itself, which no variable of a template may be named like. */
export const TEMPLATE_ARGUMENTS: readonly string[] = [
  'conversation',
  'messages',
  'tools',
  'chat_template',
  'add_generation_prompt',
  'continue_final_message',
];

export const chatTemplateKwargs = z.record(z.string(), z.unknown()).superRefine((kwargs, context) => {
  for (const name of Object.keys(kwargs).filter((each) => TEMPLATE_ARGUMENTS.includes(each)))
    context.addIssue({ code: 'custom', path: [name], message: 'is no variable of a template' });
});

export const samplingSchema = z.strictObject({
  max_new_tokens: z.int().positive().default(200),
  temperature: z.number().min(0).default(0.7),
  top_k: z.int().min(0).default(0),
  top_p: z.number().gt(0).max(1).default(1),
  min_p: z.number().min(0).max(1).default(0),
  repetition_penalty: z.number().gt(0).default(1),
  stop: z.array(z.string().min(1)).default([]),
  seed: z.int().min(0).default(0),
  regex: z.string().optional().describe('The whole answer must match this regular expression.'),
  json_schema: z
    .record(z.string(), z.unknown())
    .optional()
    .describe('The answer must be JSON of this schema; instead of `regex`.'),
});
export type Sampling = z.infer<typeof samplingSchema>;

export const modelSchema = z.strictObject({
  name: z.string().describe('`<job name>/<stage>`, or a path.'),
  path: z.string(),
  hash: z.string(),
  stage_type: z.string(),
  parameters: z.number(),
  created_at: z.number(),
  job: z.string().nullable(),
});

const empty = z.strictObject({});

export const COMMANDS = {
  hello: {
    doc: 'Handshake: the only command that is answered whatever the protocol version.',
    request: z.strictObject({ client: z.string().default('unknown') }),
    reply: z.strictObject({
      protocol: z.int(),
      version: z.string(),
      pid: z.int(),
      events: z
        .string()
        .describe('Address of the event socket; a host of `*` stands for the host of the command socket.'),
    }),
  },
  status: {
    doc: 'What the daemon is doing.',
    request: empty,
    reply: z.strictObject({
      version: z.string(),
      pid: z.int(),
      home: z.string(),
      uptime_seconds: z.number(),
      memory_bytes: z.number().describe('Resident memory of the daemon itself.'),
      devices: z.array(
        z.strictObject({
          device: z.string(),
          job: z.string().nullable().describe('The job that runs there.'),
          memory_bytes: z.number().nullable().describe("Resident memory of that job's worker."),
        }),
      ),
      jobs: z.record(z.string(), z.int()).describe('Number of jobs in each state.'),
      queue: z
        .array(z.strictObject({ job: z.string(), name: z.string(), text: z.string() }))
        .describe('Queued jobs by priority, then age, and what each waits for.'),
    }),
  },
  doctor: {
    doc: 'What this machine can do: processor, BLAS, measured matrix speed, memory, disk, versions.',
    request: empty,
    reply: z.strictObject({
      checks: z.array(
        z.strictObject({
          name: z.string(),
          ok: z.boolean(),
          value: z.string(),
          hint: z.string().optional(),
        }),
      ),
    }),
  },
  shutdown: {
    doc: 'Lets the running steps end, checkpoints the jobs and exits; they go on at the next start.',
    request: empty,
    reply: empty,
  },
  'job.submit': {
    doc: 'Checks a recipe and queues it as a job.',
    request: z.strictObject({
      ...recipeSource,
      fresh: z.boolean().default(false).describe('Make every artifact anew.'),
      priority: z.int().default(0).describe('Higher runs first.'),
      preempt: z
        .boolean()
        .default(false)
        .describe('A running job of lower priority is checkpointed, and goes on afterwards.'),
      window: windowSchema.optional(),
      selftest: z
        .array(z.string())
        .optional()
        .describe(
          'Test these training stages on this machine instead of running the recipe; none: all that can be.',
        ),
    }),
    reply: z.strictObject({ job: jobSchema }),
  },
  'job.plan': {
    doc: 'Memory, disk and time of a recipe, from the sizing code of the engine; nothing is started.',
    request: z.strictObject(recipeSource),
    reply: z.strictObject({
      stages: z.array(stagePlanSchema),
      memory_bytes: z.number().describe('The largest of the stages.'),
      memory_available_bytes: z.number(),
      disk_bytes: z.number(),
      disk_available_bytes: z.number(),
      seconds: z.number().nullable(),
      fits: z.boolean(),
    }),
  },
  'job.list': {
    doc: 'Jobs, newest first.',
    request: z.strictObject({
      states: z.array(z.enum(jobStates)).optional(),
      kinds: z.array(z.enum(['recipe', 'generate'])).default(['recipe']),
      limit: z.int().positive().max(10_000).default(100),
    }),
    reply: z.strictObject({ jobs: z.array(jobSchema) }),
  },
  'job.get': {
    doc: 'One job.',
    request: z.strictObject({ job: jobRef }),
    reply: z.strictObject({ job: jobSchema }),
  },
  'job.pause': {
    doc: 'Stops a job at its next microstep, after a checkpoint.',
    request: z.strictObject({ job: jobRef }),
    reply: z.strictObject({ job: jobSchema }),
  },
  'job.resume': {
    doc: 'Queues a paused, failed or cancelled job again; it goes on from its last checkpoint.',
    request: z.strictObject({ job: jobRef }),
    reply: z.strictObject({ job: jobSchema }),
  },
  'job.cancel': {
    doc: 'Ends a job; its checkpoints stay.',
    request: z.strictObject({ job: jobRef }),
    reply: z.strictObject({ job: jobSchema }),
  },
  'job.events': {
    doc: 'Stored events with a sequence number above `since`, oldest first.',
    request: z.strictObject({
      job: jobRef,
      since: z.int().min(0).default(0),
      limit: z.int().positive().max(10_000).default(1_000),
      kinds: z.array(z.string()).optional(),
    }),
    reply: z.strictObject({ events: z.array(eventSchema), last_seq: z.int() }),
  },
  'model.list': {
    doc: 'Models that jobs of this home have made.',
    request: empty,
    reply: z.strictObject({ models: z.array(modelSchema) }),
  },
  'model.generate': {
    doc:
      'Generates from a model: a folder, a name of `model.list`, or `job:<id>` for the current weights of a ' +
      'running job. Replies at once with a job of kind `generate`, whose `token` and `completion` events carry ' +
      'the text.',
    request: z.strictObject({
      model: z.string(),
      prompt: z.string().optional().describe('Raw text to go on from; or `messages`, not both.'),
      messages: z.array(chatMessageSchema).min(1).optional(),
      chat_template_kwargs: chatTemplateKwargs
        .optional()
        .describe('Variables for the chat template, with `messages`: `{ enable_thinking: false }`.'),
      sampling: samplingSchema.prefault({}),
    }),
    reply: z.strictObject({ job: jobSchema }),
  },
  ...DATA_COMMANDS,
  ...RANK_COMMANDS,
} as const;

export type CommandName = keyof typeof COMMANDS;
/** What a client sends (defaults may be left out). */
export type CommandInput<C extends CommandName> = z.input<(typeof COMMANDS)[C]['request']>;
/** What the daemon works with, and what it answers. */
export type CommandRequest<C extends CommandName> = z.output<(typeof COMMANDS)[C]['request']>;
export type CommandReply<C extends CommandName> = z.output<(typeof COMMANDS)[C]['reply']>;

/** Body of a request frame: `{ command, ...fields }`. Body of a reply: `{ ok: true, ...reply }` or `{ ok: false, error }`. */
export const requestBodySchema = z.looseObject({ command: z.string() });
