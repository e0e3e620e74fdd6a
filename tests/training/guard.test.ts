/** The guard: spikes go back to the snapshot, their rows are set aside, three in a row end the job. */
import { appendFileSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';
import { differences, type Fixture, makeFixture, modelFolder, recipeText, runHere } from './fixture.ts';
import { runWithStops } from './kills.ts';

describe('guard', () => {
  const fixtures: Fixture[] = [];
  const fixture = () => {
    fixtures.push(makeFixture());
    return fixtures.at(-1)!;
  };
  afterEach(() => {
    for (const each of fixtures.splice(0)) each.remove();
  });

  // One document of letters that occur nowhere else: the more the model knows of the others, the less it expects it.
  const withOddDocument = () => {
    const of = fixture();
    let text = '';
    for (let i = 0; i < 45; i++) text += String.fromCodePoint(0x3b1 + ((i * i * 7 + i) % 24));
    appendFileSync(join(of.dir, 'corpus.jsonl'), `${JSON.stringify({ text })}\n`);
    return of;
  };
  const spiky = (saveSteps: number) =>
    recipeText({
      pretrain: [
        'max_steps: 24',
        'learning_rate: 0.01',
        'gradient_accumulation_steps: 2',
        'max_loss_spike: 0.4',
        `save_steps: ${saveSteps}`,
      ],
    })
      .replace('    gradient_accumulation_steps: 3\n', '')
      .replace('validation_fraction: 0.1', 'validation_fraction: 0');

  it('sets the rows of a spike aside and goes on, with the same numbers wherever the snapshot was', async () => {
    const often = withOddDocument();
    const channel = await runHere(often, spiky(1));
    expect(channel.outcome()).toEqual({ outcome: 'succeeded', error: null });
    const notices = channel.warnings();
    expect(notices.length).toBeGreaterThan(0);
    expect(notices[0]!.body.text).toMatch(/loss .* rows set aside: corpus\.jsonl:\d+/);

    const ledger = readFileSync(join(modelFolder(often, 'pretrain'), 'ledger.jsonl'), 'utf8')
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line) as { step: number; rows?: number[][]; set_aside?: number[] });
    const steps = ledger.filter((line) => line.rows);
    expect(steps.map((line) => line.step)).toEqual(Array.from({ length: 24 }, (_, i) => i + 1));
    const gone = ledger.filter((line) => line.set_aside);
    expect(gone).toHaveLength(notices.length);
    for (const { step, set_aside } of gone) {
      const later = steps.filter((line) => line.step >= step).flatMap((line) => line.rows!.flat());
      expect(later.filter((row) => set_aside!.includes(row))).toEqual([]);
    }

    const seldom = withOddDocument();
    await runHere(seldom, spiky(1000));
    expect(
      differences(modelFolder(often, 'pretrain'), modelFolder(seldom, 'pretrain')).filter(
        (name) => name !== 'rows.txt',
      ),
    ).toEqual([]);
  });

  it('gives the same numbers when stopped at every microstep, with gradients of set-aside rows in the snapshot', async () => {
    const undisturbed = withOddDocument();
    await runHere(undisturbed, spiky(1000));
    const stopped = withOddDocument();
    const { keys } = await runWithStops(stopped, spiky(1000));
    expect([...keys].filter((key) => key.startsWith('pretrain/set_aside/')).length).toBeGreaterThan(0);
    expect(
      differences(modelFolder(undisturbed, 'pretrain'), modelFolder(stopped, 'pretrain')).filter(
        (name) => name !== 'rows.txt',
      ),
    ).toEqual([]);
  });

  it('ends a job that diverges and keeps its last good checkpoint', async () => {
    const diverging = fixture();
    const text = recipeText({
      pretrain: [
        'max_steps: 60',
        'learning_rate: 5',
        'lr_scheduler_type: constant',
        'warmup_steps: 5',
        'max_loss_spike: 0.5',
        'save_steps: 1',
      ],
    });
    const channel = await runHere(diverging, text);
    const { outcome, error } = channel.outcome();
    expect(outcome).toBe('failed');
    expect(error).toMatchObject({ code: 'training_diverged', path: 'stages.pretrain.learning_rate' });
    expect(channel.events('notice').filter((event) => /set aside/.test(event.body.text))).toHaveLength(2);
    const last = channel.events('checkpoint').at(-1)!.body.step;
    const failed = Number(/step (\d+) failed/.exec(error!.message)![1]);
    expect(last).toBe(failed - 1);

    // What was kept is whole: the job goes on from there, and fails at the same step.
    const again = await runHere(diverging, text);
    expect(again.events('progress').filter((event) => event.body.stage === 'pretrain')).toEqual([]);
    expect(again.outcome().error).toEqual(error);
  });

  it('takes a loss that is no number for a spike, with no bound in the recipe', async () => {
    const channel = await runHere(
      fixture(),
      recipeText({ pretrain: ['max_steps: 30', 'learning_rate: 1e30', 'max_grad_norm: 0'] }),
    );
    expect(channel.outcome()).toMatchObject({ outcome: 'failed', error: { code: 'training_diverged' } });
  });
});
