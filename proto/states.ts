/** States of a job. Apart from the schemas so that a client need not load those. */
export const jobStates = [
  'queued', // waits for its device
  'running',
  'paused', // checkpointed, holds no memory; `job.resume` queues it again
  'succeeded',
  'failed',
  'cancelled',
] as const;
export type JobState = (typeof jobStates)[number];

/** Whether a job in this state goes on by no means but `job.resume`. */
export function isFinal(state: string): boolean {
  return state === 'succeeded' || state === 'failed' || state === 'cancelled';
}
