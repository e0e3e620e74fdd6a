/**
 * Where things lie under `$ANNEAL_HOME`: what daemon, worker and clients must agree on.
 * Default home: `$XDG_STATE_HOME/anneal`, else `~/.local/state/anneal`.
 */
import { homedir } from 'node:os';
import { join, resolve } from 'node:path';

export interface HomeLayout {
  home: string;
  /** Held locked while a daemon lives. */
  lock: string;
  commandSocket: string;
  eventSocket: string;
  database: string;
  logs: string;
  /** CURVE keys: `server.key`, `client.key`, `server.pub`, `authorized`. */
  keys: string;
  jobs: string;
  artifacts: string;
  /** What people say about responses: a folder a dataset, a file a labeller. */
  labels: string;
  /** Links `<job name>/<stage>` to datasets of responses. */
  datasets: string;
}

/** The home that the environment names. */
export function annealHome(env: NodeJS.ProcessEnv = process.env): string {
  if (env.ANNEAL_HOME) return resolve(env.ANNEAL_HOME);
  return join(env.XDG_STATE_HOME || join(homedir(), '.local', 'state'), 'anneal');
}

/** The places of one home. */
export function homeLayout(home: string): HomeLayout {
  return {
    home,
    lock: join(home, 'anneald.lock'),
    commandSocket: join(home, 'anneald.sock'),
    eventSocket: join(home, 'events.sock'),
    database: join(home, 'state.db'),
    logs: join(home, 'logs'),
    keys: join(home, 'keys'),
    jobs: join(home, 'jobs'),
    artifacts: join(home, 'artifacts'),
    labels: join(home, 'labels'),
    datasets: join(home, 'datasets'),
  };
}

/** TensorBoard's event files of a job, a folder a stage: `tensorboard --logdir` takes it, or the folder of all jobs. */
export function tensorboardFolder(home: string, job: string): string {
  return join(home, 'tensorboard', job);
}
