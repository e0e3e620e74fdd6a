/** The commands, in the order of `anneal --help`. The file of a command is loaded only when it is called. */
import type { CommandSpec } from './command.ts';

export interface CommandEntry {
  name: string;
  summary: string;
  group: string;
  load(): Promise<{ default: CommandSpec<never> }>;
}

const daemon = 'Daemon';
const jobs = 'Jobs';
const models = 'Models';
const data = 'Data';
const more = 'More';

// biome-ignore format: one line per command
export const registry: CommandEntry[] = [
  { group: daemon, name: 'up', summary: 'start the daemon and wait until it answers', load: () => import('./commands/up.ts') },
  { group: daemon, name: 'down', summary: 'stop the daemon; running jobs checkpoint and go on at the next start', load: () => import('./commands/down.ts') },
  { group: daemon, name: 'status', summary: 'what the daemon is doing', load: () => import('./commands/status.ts') },
  { group: daemon, name: 'doctor', summary: 'what this machine can do, and what is missing', load: () => import('./commands/doctor.ts') },
  { group: jobs, name: 'run', summary: 'run a recipe and follow it', load: () => import('./commands/run.ts') },
  { group: jobs, name: 'plan', summary: 'memory, disk and time of a recipe; nothing is started', load: () => import('./commands/plan.ts') },
  { group: jobs, name: 'selftest', summary: 'check on this machine that a recipe is trained rightly', load: () => import('./commands/selftest.ts') },
  { group: jobs, name: 'jobs', summary: 'list jobs', load: () => import('./commands/jobs.ts') },
  { group: jobs, name: 'watch', summary: 'follow a job, or look at one that has ended', load: () => import('./commands/watch.ts') },
  { group: jobs, name: 'logs', summary: 'log lines and notices of a job', load: () => import('./commands/logs.ts') },
  { group: jobs, name: 'pause', summary: 'checkpoint a job and free the machine', load: () => import('./commands/pause.ts') },
  { group: jobs, name: 'resume', summary: 'go on with a paused, failed or cancelled job', load: () => import('./commands/resume.ts') },
  { group: jobs, name: 'cancel', summary: 'end a job; its checkpoints stay', load: () => import('./commands/cancel.ts') },
  { group: models, name: 'models', summary: 'list the models that jobs have made', load: () => import('./commands/models.ts') },
  { group: models, name: 'generate', summary: 'go on from a prompt', load: () => import('./commands/generate.ts') },
  { group: models, name: 'chat', summary: 'talk to a model', load: () => import('./commands/chat.ts') },
  { group: models, name: 'evaluate', summary: 'perplexity and exact match of a model on a file', load: () => import('./commands/evaluate.ts') },
  { group: models, name: 'merge', summary: 'merge an adapter into its base', load: () => import('./commands/merge.ts') },
  { group: models, name: 'rank', summary: 'rank responses by hand, or bring labels in and out', load: () => import('./commands/rank.ts') },
  { group: data, name: 'data', summary: 'look at data and prepare it: inspect, prepare, stats, grep, sample, trace, diff', load: () => import('./commands/data.ts') },
  { group: more, name: 'keys', summary: 'keys for clients on other machines', load: () => import('./commands/keys.ts') },
  { group: more, name: 'completion', summary: 'print a completion script for a shell', load: () => import('./commands/completion.ts') },
];
