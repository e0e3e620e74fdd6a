/**
 * The events of an invented job, as a daemon would send them: every kind that the view shows, in the order in which
 * a training run brings them.
 */
import type { EventBody, EventKind, JobEvent } from '../../proto/events.ts';

const START = 1_700_000_000;

/** Builds events with increasing numbers; `at` is in seconds from the start of the job. */
export function eventBuilder(job = 'j1') {
  let seq = 0;
  return <K extends EventKind>(at: number, kind: K, body: EventBody<K>): JobEvent => {
    seq++;
    return { job, seq, kind, time: START + at, body } as JobEvent;
  };
}

/** Unix time of `at` seconds after the start of the job. */
export const timeAt = (at: number): number => START + at;

/** A whole job: a tokenizer, a reused dataset, training with validation and a sample, an evaluation. */
export function story(): JobEvent[] {
  const event = eventBuilder();
  const stage = (
    at: number,
    name: string,
    phase: 'started' | 'finished' | 'reused',
    index: number,
    seconds: number | null = null,
  ) => event(at, 'stage', { stage: name, type: name, phase, index, count: 4, artifact: null, seconds });
  const steps = Array.from({ length: 40 }, (_, i) =>
    event(10 + i, 'progress', {
      stage: 'pretrain',
      done: i + 1,
      total: 100,
      unit: 'step',
      metrics: { loss: 6 - 3 * (i / 40) ** 0.5, learning_rate: 1e-3, grad_norm: 1.25 },
    }),
  );
  return [
    event(0, 'state', { state: 'queued', error: null, attempt: 0 }),
    event(1, 'state', { state: 'running', error: null, attempt: 1 }),
    stage(1, 'tokenizer', 'started', 0),
    event(2, 'progress', { stage: 'tokenizer', done: 8192, total: 8192, unit: 'merge', metrics: {} }),
    stage(4, 'tokenizer', 'finished', 0, 3.2),
    stage(4, 'prepare', 'reused', 1),
    stage(5, 'pretrain', 'started', 2),
    event(6, 'audit', {
      stage: 'pretrain',
      rows: 1234,
      tokens: 45_678,
      scored_tokens: 44_444,
      bos: 0,
      eos: 1234,
      scored_eos: 1234,
      too_long: 2,
      examples: [
        {
          row: 'facts.txt:17',
          spans: [
            { text: 'Question: What is the capital of France? Answer:', scored: false },
            { text: ' Paris.<|endoftext|>', scored: true },
          ],
        },
      ],
    }),
    ...steps,
    event(50, 'speed', {
      stage: 'pretrain',
      tokens_per_second: 12_345,
      matrix_share: 0.613,
      memory_bytes: 1.21e9,
      eta_seconds: 60,
    }),
    event(50, 'validation', { stage: 'pretrain', step: 40, metrics: { eval_loss: 3.456 } }),
    event(50, 'checkpoint', { stage: 'pretrain', step: 40, bytes: 5.6e7 }),
    event(51, 'sample', {
      stage: 'pretrain',
      step: 40,
      prompt: 'The whale',
      text: ' was\x1b[31m seen\nby the 鯨捕り of the ship, and they cried aloud that it was the largest whale of all the sea.',
    }),
    event(52, 'notice', {
      stage: 'pretrain',
      level: 'warning',
      text: 'The loss rose to 9.1: back to step 30.',
    }),
  ];
}

/** What follows the story when it ends well. */
export function ending(): JobEvent[] {
  const event = eventBuilder();
  return [
    event(110, 'stage', {
      stage: 'pretrain',
      type: 'pretrain',
      phase: 'finished',
      index: 2,
      count: 4,
      artifact: 'abc',
      seconds: 104,
    }),
    event(111, 'report', {
      stage: 'evaluate',
      title: 'Base and assistant on the same questions',
      columns: ['model', 'known', 'exact_match', 'perplexity'],
      rows: [
        ['base', 120, 0.0125, 18.25],
        ['assistant', 120, 0.875, null],
      ],
      examples: [
        {
          prompt: 'What is the capital of France?',
          expected: 'Paris',
          outputs: { base: 'What is the capital of Peru?\nWhat', assistant: 'Paris' },
        },
      ],
    }),
    event(112, 'state', { state: 'succeeded', error: null, attempt: 1 }),
  ];
}
