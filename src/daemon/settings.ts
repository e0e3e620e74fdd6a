/**
 * Limits of the daemon. Each may be set in the environment of `anneald` (the systemd unit shows how); the defaults
 * suit a workstation.
 */
export interface Settings {
  /** A worker whose event loop says nothing for so long hangs. ANNEAL_HANG_SECONDS */
  hangSeconds: number;
  /** A single engine call that takes so long hangs. ANNEAL_CALL_SECONDS */
  callSeconds: number;
  /** How long a worker may take to checkpoint when the daemon goes down or a job is cancelled. ANNEAL_STOP_SECONDS */
  stopSeconds: number;
  /** How long a worker that serves a model stays loaded without a request. ANNEAL_SERVE_IDLE_SECONDS */
  serveIdleSeconds: number;
  /** How long events of a generation are kept after its end. ANNEAL_GENERATION_KEEP_SECONDS */
  generationKeepSeconds: number;
  logLevel: string;
}

/** The settings that the environment names. */
export function readSettings(env: NodeJS.ProcessEnv = process.env): Settings {
  return {
    hangSeconds: seconds(env, 'ANNEAL_HANG_SECONDS', 120),
    callSeconds: seconds(env, 'ANNEAL_CALL_SECONDS', 3600),
    stopSeconds: seconds(env, 'ANNEAL_STOP_SECONDS', 75),
    serveIdleSeconds: seconds(env, 'ANNEAL_SERVE_IDLE_SECONDS', 60),
    generationKeepSeconds: seconds(env, 'ANNEAL_GENERATION_KEEP_SECONDS', 3600),
    logLevel: env.ANNEAL_LOG_LEVEL || 'info',
  };
}

function seconds(env: NodeJS.ProcessEnv, name: string, fallback: number): number {
  const value = Number(env[name] || fallback);
  if (!(value > 0)) throw new Error(`${name} must be a number of seconds above 0, not '${env[name]}'`);
  return value;
}

/**
 * Environment of every worker. One place, because the speed of the arithmetic hangs on it.
 * OpenMP threads that wait do so asleep: spinning ones would take the cores that the daemon answers on.
 */
export function workerEnvironment(env: NodeJS.ProcessEnv = process.env): NodeJS.ProcessEnv {
  return { OMP_WAIT_POLICY: 'passive', ...env };
}
