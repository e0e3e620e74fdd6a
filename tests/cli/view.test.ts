import { describe, expect, test } from 'vitest';
import { displayWidth, painter } from '../../src/cli/text.ts';
import { renderBars, sparkline } from '../../src/cli/view/bars.ts';
import { renderBlock, wrapSpans } from '../../src/cli/view/blocks.ts';
import { CURVE_WINDOW, emptyView, type JobView, reduce } from '../../src/cli/view/model.ts';
import { createPlainRenderer } from '../../src/cli/view/plain.ts';
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
