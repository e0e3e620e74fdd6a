import { describe, expect, test } from 'vitest';
import type { EventBody } from '../../proto/events.ts';
import { displayWidth, painter } from '../../src/cli/text.ts';
import { renderBars, sparkline } from '../../src/cli/view/bars.ts';
import { renderBlock, wrapSpans } from '../../src/cli/view/blocks.ts';
import { shownMetrics, speaks } from '../../src/cli/view/metrics.ts';
import { CURVE_WINDOW, emptyView, type JobView, reduce } from '../../src/cli/view/model.ts';
import { createPlainRenderer } from '../../src/cli/view/plain.ts';
import { MODEL_TYPES } from '../../src/stages/model_types.ts';
import { STAGES } from '../../src/stages/registry.ts';
import { ending, eventBuilder, story, timeAt } from './story.ts';

const plain = painter(false);
const feed = (events: ReturnType<typeof story>, view: JobView = emptyView('j1', 'quickstart')) =>
  events.reduce(reduce, view);
const bars = (view: JobView, width: number, height = 20, at = 60) =>
  renderBars(view, { width, height, paint: plain, now: timeAt(at) });
const blocks = (events: ReturnType<typeof story>, width: number) =>
  events.flatMap((event) => renderBlock(event, { width, paint: plain, color: false }));

describe('the bars', () => {
  test('of a running job, on a wide terminal', () => {
    expect(bars(feed(story()), 100).join('\n')).toMatchInlineSnapshot(`
      "quickstart j1 · running · stage 3 of 4 · 59s
      ✓ tokenizer 3.2s · 8,192 merges
      ✓ prepare   reused
      ● pretrain  ━━━━━━━━━━━━━━━━────────────────────────  40% 40 of 100 steps · 50s left
                  loss 3.038 █▇▆▅▅▄▄▄▃▃▃▂▂▂▂▁▁ · val 3.456 · 12.3k tok/s · 61% of matrix speed · 1.21 GB"
    `);
  });

  test('on a narrow one, where the least important goes first', () => {
    expect(bars(feed(story()), 56).join('\n')).toMatchInlineSnapshot(`
      "quickstart j1 · running · stage 3 of 4 · 59s
      ✓ tokenizer 3.2s · 8,192 merges
      ✓ prepare   reused
      ● pretrain  ━━━━━───────  40% 40 of 100 steps · 50s left
        loss 3.038 █▆▅▄▃▂▂▁ · val 3.456 · 12.3k tok/s"
    `);
  });

  test('of a job that ended', () => {
    expect(bars(feed([...story(), ...ending()]), 100).join('\n')).toMatchInlineSnapshot(`
      "quickstart j1 · succeeded · stage 3 of 4 · 1m 51s
      ✓ tokenizer 3.2s · 8,192 merges
      ✓ prepare   reused
      ✓ pretrain  1m 44s · 40 of 100 steps · loss 3.038 · val 3.456"
    `);
  });

  test('never exceed width or height, whatever these are', () => {
    const view = feed(story());
    for (let width = 1; width <= 140; width++) {
      for (const line of bars(view, width)) expect(displayWidth(line)).toBeLessThanOrEqual(width);
    }
    for (let height = 4; height <= 8; height++)
      expect(bars(view, 80, height).length).toBeLessThanOrEqual(height);
    expect(bars(view, 80, 4)[1]).toContain('2 earlier stages');
  });

  test('count the time left down between two events, and never below zero', () => {
    const view = feed(story());
    expect(bars(view, 100, 20, 60).join()).toContain('50s left');
    expect(bars(view, 100, 20, 80).join()).toContain('30s left');
    expect(bars(view, 100, 20, 900).join()).toContain('0.0s left');
  });
});

describe('a graph of stages', () => {
  const event = eventBuilder();
  const needs = { tokenizer: [], prepare: [], pretrain: ['prepare'], dpo: ['pretrain'], grpo: ['pretrain'] };
  const names = Object.keys(needs);
  const stage = (
    at: number,
    name: string,
    phase: EventBody<'stage'>['phase'],
    rest: Partial<EventBody<'stage'>> = {},
  ) =>
    event(at, 'stage', {
      stage: name,
      type: name,
      phase,
      index: names.indexOf(name),
      count: names.length,
      artifact: null,
      seconds: null,
      ...rest,
    });
  const step = (at: number, name: string, metrics: Record<string, number>) =>
    event(at, 'progress', { stage: name, done: at, total: 40, unit: 'step', metrics });
  const error = { code: 'data_empty', message: 'pairs.jsonl has no rows.' };
  const waits = { reason: 'device', job: 'j0', until: null, text: 'waits for j0' } as const;
  const events = [
    event(0, 'state', { state: 'queued', error: null, attempt: 0 }),
    event(0, 'queue', waits),
    event(1, 'state', { state: 'running', error: null, attempt: 1 }),
    event(1, 'graph', {
      stages: Object.entries(needs).map(([name, list]) => ({ stage: name, type: name, needs: list })),
    }),
    stage(1, 'tokenizer', 'reused'),
    stage(1, 'prepare', 'reused'),
    stage(2, 'pretrain', 'started'),
    step(3, 'pretrain', { loss: 3 }),
    stage(4, 'pretrain', 'finished', { seconds: 2, artifact: 'abc' }),
    stage(5, 'dpo', 'started'),
    ...[0.2, 0.4, 0.8].map((accuracy, i) =>
      step(6 + i, 'dpo', {
        loss: 0.7 - 0.1 * i,
        'rewards/accuracies': accuracy,
        'rewards/margins': i,
        'logps/chosen': -9,
      }),
    ),
  ];
  const fails = [
    stage(9, 'dpo', 'failed', { error }),
    stage(9, 'grpo', 'started'),
    ...[0.1, 0.3, 0.9].map((reward, i) =>
      step(10 + i, 'grpo', { loss: 0.01, reward, kl: 0.02, 'completions/mean_length': 12.5 }),
    ),
  ];

  test('waits, and says for what', () => {
    expect(bars(feed(events.slice(0, 2)), 100)).toEqual(['quickstart j1 · queued · waits for j0']);
    expect(bars(feed(events.slice(0, 4)), 100, 20, 2)).toEqual([
      'quickstart j1 · running · 1.0s',
      '  then tokenizer, prepare, pretrain, dpo, grpo',
    ]);
  });

  test('shows the metrics that matter for each type of stage', () => {
    expect(bars(feed(events), 100, 20, 9).join('\n')).toMatchInlineSnapshot(`
      "quickstart j1 · running · stage 4 of 5 · 8.0s
      ✓ tokenizer reused
      ✓ prepare   reused
      ✓ pretrain  2.0s · 3 of 40 steps · loss 3
      ● dpo       ━━━━━━━━────────────────────────────────  20% 8 of 40 steps
                  loss 0.500 █▅▁ · accuracy 0.800 · margin 2
        then grpo"
    `);
    const rewarded = event(13, 'validation', { stage: 'grpo', step: 12, metrics: { eval_reward: 0.75 } });
    expect(bars(feed([...events, ...fails, rewarded]), 100, 20, 14).join('\n')).toMatchInlineSnapshot(`
      "quickstart j1 · running · stage 5 of 5 · 13s
      ✓ tokenizer reused
      ✓ prepare   reused
      ✓ pretrain  2.0s · 3 of 40 steps · loss 3
      ✗ dpo       failed: pairs.jsonl has no rows.
      ● grpo      ━━━━━━━━━━━━────────────────────────────  30% 12 of 40 steps
                  reward 0.900 ▁▃█ · val 0.750 · kl 0.020 · length 12.50"
    `);
  });

  test('gives way to a small window, first what is done, then what is to come', () => {
    const view = feed(events);
    for (let height = 4; height <= 8; height++)
      expect(bars(view, 80, height).length).toBeLessThanOrEqual(height);
    expect(bars(view, 80, 5).join('\n')).toContain('dpo');
  });

  test('prints failures and what is skipped where there is no terminal', () => {
    const render = createPlainRenderer({ width: 100, paint: plain, color: false });
    let view = emptyView('j1', 'quickstart');
    const lines = [...events, ...fails, stage(13, 'grpo', 'skipped', { error })].flatMap((each) => {
      view = reduce(view, each);
      return render(view, each);
    });
    expect(lines).toContain('quickstart (j1): waits for j0');
    expect(lines).toContain('[4/5] dpo: failed: pairs.jsonl has no rows.');
    expect(lines).toContain('[5/5] grpo: skipped: pairs.jsonl has no rows.');
  });

  test('a stage that is tried again runs again', () => {
    const again = [
      ...events,
      ...fails.slice(0, 1),
      event(20, 'state', { state: 'failed', error, attempt: 1 }),
      event(21, 'state', { state: 'running', error: null, attempt: 2 }),
      step(22, 'dpo', { loss: 0.5 }),
    ];
    expect(feed(again).stages[3]).toMatchObject({ phase: 'running', error: null, done: 22 });
  });

  test('every model can be talked to, and every stage of alignment has figures of its own', () => {
    expect([...STAGES.keys()].filter(speaks).sort()).toEqual(MODEL_TYPES.toSorted());
    const shown = (type: string) => shownMetrics(type).facts.length > 0;
    expect(
      [...STAGES.values()].filter(({ trains, type }) => trains && !shown(type)).map(({ type }) => type),
    ).toEqual(['pretrain', 'sft', 'distill']);
  });
});

describe('the model', () => {
  test('is pure: an earlier view is not changed by later events', () => {
    const half = feed(story().slice(0, 20));
    const copy = structuredClone(half);
    feed(story().slice(20), half);
    expect(half).toEqual(copy);
  });

  test('keeps a window of the losses', () => {
    const event = eventBuilder();
    const steps = Array.from({ length: CURVE_WINDOW + 50 }, (_, i) =>
      event(i, 'progress', { stage: 'sft', done: i, total: null, unit: 'step', metrics: { loss: i } }),
    );
    const started = {
      stage: 'sft',
      type: 'sft',
      phase: 'started',
      index: 0,
      count: 1,
      artifact: null,
    } as const;
    const view = feed([event(0, 'stage', { ...started, seconds: null }), ...steps]);
    expect(view.stages[0]?.curve).toHaveLength(CURVE_WINDOW);
    expect(view.stages[0]?.curve.at(-1)).toBe(CURVE_WINDOW + 49);
  });

  test('a stage stops with its job and runs again after a restart, without a second `started`', () => {
    const event = eventBuilder();
    const crash = [
      event(60, 'state', { state: 'queued', error: null, attempt: 1 }),
      event(70, 'state', { state: 'running', error: null, attempt: 2 }),
    ];
    const stopped = feed([...story(), crash[0]!]);
    expect(stopped.stages.at(-1)).toMatchObject({ phase: 'stopped', done: 40 });
    const again = feed(
      [
        crash[1]!,
        event(71, 'progress', {
          stage: 'pretrain',
          done: 41,
          total: 100,
          unit: 'step',
          metrics: { loss: 3 },
        }),
      ],
      stopped,
    );
    expect(again.stages.at(-1)).toMatchObject({ phase: 'running', done: 41, seconds: null });
    expect(again.stages).toHaveLength(3);
    expect(blocks(crash, 80)).toEqual(['i runs again (attempt 2)']);
  });

  test('a failed job marks its stage', () => {
    const event = eventBuilder();
    const error = { code: 'worker_died', message: 'The worker was killed.' };
    const view = feed([...story(), event(60, 'state', { state: 'failed', error, attempt: 3 })]);
    expect(view.error).toEqual(error);
    expect(bars(view, 80).at(-2)).toMatch(/^✗ pretrain/);
  });
});

describe('above the bars', () => {
  test('samples, audits with their scored spans, notices and reports', () => {
    expect(blocks([...story(), ...ending()], 72).join('\n')).toMatchInlineSnapshot(`
      "── pretrain: audit ────────────────────────
      1,234 rows · 45,678 tokens · 97% scored · BOS 0 · EOS 1,234 (1,234
      scored) · too long 2
      scored text is in [brackets]
      row facts.txt:17
      │ Question: What is the capital of France? Answer:[ Paris.<|endoftext|>]
      ── pretrain: sample at step 40 ────────────────────────
      │ The whale was seen
      │ by the 鯨捕り of the ship, and they cried aloud that it was the
      │ largest whale of all the sea.
      ! pretrain: The loss rose to 9.1: back to step 30.
      ── Base and assistant on the same questions ────────────────────────
      model      known  exact_match  perplexity
      base         120        0.013       18.25
      assistant    120        0.875           -

      ? What is the capital of France?
        expected   Paris
        base       What is the capital of Peru? ⏎ What
        assistant  Paris
      "
    `);
  });

  test('scored spans are coloured piece by piece where there are colours', () => {
    const audit = story().find((event) => event.kind === 'audit')!;
    const lines = renderBlock(audit, { width: 80, paint: painter(true), color: true });
    expect(lines.at(-1)).toContain('\x1b[32;1m Paris.<|endoftext|>\x1b[0m');
    expect(lines.join('')).not.toContain('[ Paris');
  });

  test('an audit of prompts says nothing of scores', () => {
    const audit = story().find((event) => event.kind === 'audit')!;
    const examples = [{ row: 'q.jsonl:1', spans: [{ text: 'Why?', scored: false }] }];
    const body = { ...audit.body, rows: 1, scored_tokens: 0, scored_eos: 0, examples };
    expect(renderBlock({ ...audit, body }, { width: 100, paint: plain, color: false }).slice(1)).toEqual([
      '1 prompt · 45,678 tokens · BOS 0 · EOS 1,234 · too long 2',
      'row q.jsonl:1',
      '│ Why?',
    ]);
  });

  test('spans keep their styles over line breaks', () => {
    const spans = [
      { text: 'aa bb ', scored: false },
      { text: 'cc dd', scored: true },
    ];
    const style = (part: string, scored: boolean) => (scored ? part.toUpperCase() : part);
    for (let width = 2; width < 14; width++) {
      const text = wrapSpans(spans, width, style).join(' ').replaceAll(/\s+/g, ' ');
      expect(text).toBe('aa bb CC DD');
    }
  });
});

test('without a terminal: a line for what happens, progress every ten seconds of the job', () => {
  const render = createPlainRenderer({ width: 100, paint: plain, color: false });
  let view = emptyView('j1', 'quickstart');
  const lines = [...story(), ...ending()].flatMap((event) => {
    view = reduce(view, event);
    return render(view, event);
  });
  expect(
    lines.filter((line) => /^(quickstart|\[|tokenizer|pretrain:)/.test(line)).join('\n'),
  ).toMatchInlineSnapshot(`
    "quickstart (j1): queued
    quickstart (j1): running
    [1/4] tokenizer: started
    tokenizer: merge 8,192 of 8,192 (100%)
    [1/4] tokenizer: finished in 3.2s
    [2/4] prepare: reused
    [3/4] pretrain: started
    pretrain: step 6 of 100 (6.0%), loss 4.939, learning_rate 0.001, grad_norm 1.250
    pretrain: step 16 of 100 (16%), loss 4.163, learning_rate 0.001, grad_norm 1.250
    pretrain: step 26 of 100 (26%), loss 3.628, learning_rate 0.001, grad_norm 1.250
    pretrain: step 36 of 100 (36%), loss 3.194, learning_rate 0.001, grad_norm 1.250
    pretrain: validation at step 40: eval_loss 3.456
    pretrain: checkpoint at step 40 (56.0 MB)
    [3/4] pretrain: finished in 1m 44s
    quickstart (j1): succeeded"
  `);
});

test('the curve of losses: scaled, averaged to the width, without what is no number', () => {
  expect(sparkline([1, 2, 3, 4, 5, 6, 7, 8], 8)).toBe('▁▂▃▄▅▆▇█');
  expect(sparkline([1, 1, 8, 8], 2)).toBe('▁█');
  expect(sparkline([2, Number.NaN, 2], 8)).toBe('▁▁');
  expect(sparkline([], 8)).toBe('');
});
