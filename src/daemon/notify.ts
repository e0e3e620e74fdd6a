/**
 * Tells systemd how the daemon is (sd_notify): ready, alive, going down. Node has no Unix datagram sockets, so
 * `systemd-notify` speaks for us; where NOTIFY_SOCKET is set systemd runs, and that program is there. The unit
 * needs `NotifyAccess=all`, because the sender is a child.
 */
import { spawn } from 'node:child_process';
import type { Log } from './log.ts';

export class Notifier {
  readonly #active: boolean;
  readonly #log: Log;
  #timer: NodeJS.Timeout | undefined;

  constructor(log: Log, env: NodeJS.ProcessEnv = process.env) {
    this.#active = Boolean(env.NOTIFY_SOCKET);
    this.#log = log;
  }

  /** READY=1, and from then on keep-alives from the event loop itself: a loop that is stuck is to be noticed. */
  ready(env: NodeJS.ProcessEnv = process.env): void {
    if (!this.#active) return;
    this.#send('READY=1', `MAINPID=${process.pid}`, 'STATUS=Taking commands');
    const watchdogMs = Number(env.WATCHDOG_USEC) / 1000;
    const forUs = env.WATCHDOG_PID === undefined || Number(env.WATCHDOG_PID) === process.pid;
    if (watchdogMs > 0 && forUs) this.#timer = setInterval(() => this.#send('WATCHDOG=1'), watchdogMs / 2);
  }

  stopping(): void {
    if (this.#active) this.#send('STOPPING=1', 'STATUS=Jobs are writing their checkpoints');
  }

  close(): void {
    clearInterval(this.#timer);
  }

  #send(...assignments: string[]): void {
    const child = spawn('systemd-notify', assignments, { stdio: 'ignore' });
    child.on('error', (error) => this.#log.warn({ err: error }, 'systemd-notify cannot be run'));
    child.unref();
  }
}
