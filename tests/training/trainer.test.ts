/** The trainer's numbers and promises, on real runs of tiny models. */
import { appendFileSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';
import { samplingSchema } from '../../proto/commands.ts';
import { modelSettingsSchema, newArchitecture } from '../../src/models/settings.ts';
import { loadAddon } from '../../src/native/addon.ts';
import { crossEntropyWeights } from '../../src/objectives/cross_entropy.ts';
import { packBatch, supervisedRows } from '../../src/training/rows.ts';
import { type Fixture, makeFixture, modelFolder, recipeText, runHere, type TestChannel } from './fixture.ts';

const fixtures: Fixture[] = [];
const fixture = () => {
  fixtures.push(makeFixture());
  return fixtures.at(-1)!;
};
afterEach(() => {
  for (const each of fixtures.splice(0)) each.remove();
});

interface MetricsLine {
  step: number;
  loss: number;
  num_tokens: number;
}
const metrics = (of: Fixture): MetricsLine[] =>
  readFileSync(join(modelFolder(of, 'pretrain'), 'metrics.jsonl'), 'utf8')
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as MetricsLine);

describe('gradient accumulation', () => {
  it('equals one large batch to 1e-6', async () => {
    const { architecture } = newArchitecture(
      modelSettingsSchema.parse({ hidden_size: 32, num_hidden_layers: 2, num_attention_heads: 4 }),
      300,
    );
    const options = {
      architecture,
      threads: 2,
      trainable: true,
      maxTokens: 256,
      maxSequences: 16,
      maxScored: 256,
      recompute: false,
      generationSlots: 0,
      generationLength: 0,
    };
    // Rows of unequal length and unequal numbers of scored tokens: a mean of means would differ.
    const rows = supervisedRows(
      Array.from({ length: 8 }, (_, r) => {
        const length = 5 + 3 * r;
        const scored = new Uint8Array(length).fill(1, 1 + (r % 3) * 2);
        return {
          ids: Int32Array.from({ length }, (_, i) => (r * 37 + i * 11) % 300),
          scored,
          origin: `${r}`,
        };
      }),
    );
    const divisor = rows.scoredCounts.reduce((sum, count) => sum + count, 0);
    const all = Array.from({ length: rows.count }, (_, i) => i);
    const groups = [[all], [all.slice(0, 1), all.slice(1, 3), all.slice(3, 7), all.slice(7)]];
    const gradients = await Promise.all(
      groups.map(async (microbatches) => {
        const session = await loadAddon().createSession(options);
        await session.initWeights(3, 0.05);
        for (const indices of microbatches) {
          const batch = packBatch(rows, indices);
          await session.forwardBackward(batch, crossEntropyWeights(batch.scored.length, divisor));
        }
        const values = await Promise.all(
          session.tensors().map(({ name }) => session.readTensor(name, 'gradient')),
        );
        await session.close();
        return values;
      }),
    );
    gradients[0]!.forEach((whole, t) => {
      const parts = gradients[1]![t]!;
      const largest = whole.reduce((max, value) => Math.max(max, Math.abs(value)), 0);
      const worst = whole.reduce((max, value, i) => Math.max(max, Math.abs(value - parts[i]!)), 0);
      expect(worst).toBeLessThan(1e-6 * Math.max(1, largest));
    });
  });
});

describe('pretrain', () => {
  it('learns, by epochs, steps or tokens', async () => {
    const epochs = fixture();
    expect((await runHere(epochs, recipeText({ pretrain: ['num_train_epochs: 3'] }))).outcome().outcome).toBe(
      'succeeded',
    );
    const lines = metrics(epochs);
    expect(lines.at(-1)!.loss).toBeLessThan(lines[0]!.loss - 1);

    const tokens = fixture();
    await runHere(tokens, recipeText({ pretrain: ['max_tokens: 3000'] }));
    const trained = metrics(tokens);
    expect(trained.at(-1)!.num_tokens).toBeGreaterThanOrEqual(3000);
    expect(trained.at(-2)!.num_tokens).toBeLessThan(3000);
  });

  it('keeps the best model beside the last, or takes it', async () => {
    // A rate that first helps and then harms: the best model is not the last.
    const settings = [
      'max_steps: 30',
      'learning_rate: 0.3',
      'lr_scheduler_type: constant',
      'warmup_steps: 25',
      'eval_steps: 2',
    ];
    const beside = fixture();
    const channel = await runHere(beside, recipeText({ pretrain: settings }));
    const losses = channel
      .events('validation')
      .map((event) => ({ step: event.body.step, loss: event.body.metrics.eval_loss! }));
    const best = losses.reduce((a, b) => (b.loss < a.loss ? b : a));
    expect(best.step).toBeLessThan(30);
    const read = (of: Fixture, ...path: string[]) =>
      readFileSync(join(modelFolder(of, 'pretrain'), ...path, 'model.safetensors'));
    const taken = fixture();
    await runHere(taken, recipeText({ pretrain: [...settings, 'load_best_model_at_end: true'] }));
    expect(read(taken).equals(read(beside, 'best'))).toBe(true);
    expect(read(beside).equals(read(beside, 'best'))).toBe(false);
  });

  it('keeps the last checkpoints only, and none once the stage is done', async () => {
    const of = fixture();
    const seen: number[] = [];
    const channel = await runHere(
      of,
      recipeText({ pretrain: ['max_steps: 12', 'save_steps: 1', 'keep_last: 3'] }),
      {
        during: (ch) => {
          ch.onMessage = (message) => {
            if (message.type !== 'event' || message.kind !== 'checkpoint') return;
            const dir = join(of.home, 'jobs', 'j1', 'work', 'pretrain', 'checkpoints');
            seen.push(readdirSync(dir).filter((name) => !name.startsWith('.')).length);
          };
        },
      },
    );
    expect(channel.outcome().outcome).toBe('succeeded');
    expect(Math.max(...seen)).toBe(3);
    expect(readdirSync(join(of.home, 'jobs', 'j1', 'work'))).toEqual([]);
  });

  it('goes back to the checkpoint before a damaged one, and to the start when all are damaged', async () => {
    const stopped = async (damage: (files: string[]) => void) => {
      const of = fixture();
      const text = recipeText({ pretrain: ['max_steps: 9', 'save_steps: 2'] });
      await runHere(of, text, {
        during: (ch) => {
          ch.onMessage = (message) => {
            if (message.type === 'event' && message.key === 'pretrain/step/7') ch.stop();
          };
        },
      });
      const dir = join(of.home, 'jobs', 'j1', 'work', 'pretrain', 'checkpoints');
      damage(
        readdirSync(dir)
          .sort()
          .map((name) => join(dir, name, 'snapshot.bin')),
      );
      return { of, channel: await runHere(of, text) };
    };
    const flip = (path: string) => {
      const bytes = readFileSync(path);
      bytes[bytes.length >> 1]! ^= 1;
      writeFileSync(path, bytes);
    };
    const one = await stopped((files) => flip(files.at(-1)!));
    expect(one.channel.outcome().outcome).toBe('succeeded');
    expect(one.channel.events('notice').map((event) => event.body.text)).toEqual([
      expect.stringMatching(/damaged: snapshot\.bin does not match its checksum/),
    ]);
    const all = await stopped((files) => files.forEach(flip));
    expect(all.channel.events('notice')).toHaveLength(2);
    const weights = (of: Fixture) => readFileSync(join(modelFolder(of, 'pretrain'), 'model.safetensors'));
    expect(weights(one.of).equals(weights(all.of))).toBe(true);
  });

  it('answers generate requests between microsteps without changing the training', async () => {
    const asked = fixture();
    const text = recipeText({ pretrain: ['max_steps: 8'] });
    const answers: TestChannel[] = [];
    const channel = await runHere(asked, text, {
      during: (ch) => {
        ch.onMessage = (message) => {
          if (message.type === 'event' && message.key === 'pretrain/step/3') {
            ch.generate({
              request: 'g1',
              prompt: 'Anna lives',
              sampling: samplingSchema.parse({ max_new_tokens: 9, stop: ['. '] }),
            });
            ch.generate({
              request: 'g2',
              messages: [{ role: 'user', content: 'Hi' }],
              sampling: samplingSchema.parse({}),
            });
            ch.cancel('g2');
          }
        };
        answers.push(ch);
      },
    });
    expect(channel.outcome().outcome).toBe('succeeded');
    const ended = channel.sent.filter((message) => message.type === 'generated');
    expect(ended).toEqual([
      { type: 'generated', request: 'g2', error: null },
      { type: 'generated', request: 'g1', error: null },
    ]);
    const completions = channel.events('completion').map((event) => event.body);
    expect(completions).toHaveLength(2);
    expect(completions[0]!.finish).toBe('cancelled');
    const told = channel.sent.flatMap((message) =>
      message.type === 'event' && message.kind === 'token' && message.request === 'g1'
        ? [message.body.text]
        : [],
    );
    expect(told.join('')).toBe(completions[1]!.text);

    const silent = fixture();
    await runHere(silent, text);
    const weights = (of: Fixture) => readFileSync(join(modelFolder(of, 'pretrain'), 'model.safetensors'));
    expect(weights(asked).equals(weights(silent))).toBe(true);
  });
});

describe('samples', () => {
  it('are told before and after training, side by side, also by who reuses the model', async () => {
    const of = fixture();
    const text = recipeText({
      pretrain: ['max_steps: 8', 'sample_prompts: [Anna lives, Ben]', 'sample_max_new_tokens: 6'],
    });
    const channel = await runHere(of, text);
    const samples = channel.events('sample').map(({ body }) => body);
    expect(samples.map(({ step, prompt }) => [step, prompt])).toEqual([
      [0, 'Anna lives'],
      [0, 'Ben'],
      [8, 'Anna lives'],
      [8, 'Ben'],
    ]);
    const [report] = channel.events('report');
    expect(report!.body.examples).toEqual(
      ['Anna lives', 'Ben'].map((prompt, i) => ({
        prompt,
        expected: '',
        outputs: { before: samples[i]!.text, after: samples[i + 2]!.text },
      })),
    );
    const again = await runHere(of, text, { job: 'j2' });
    expect(again.events('report').map(({ body }) => body)).toEqual([report!.body]);
  });
});

describe('refusals before the first step', () => {
  const failure = async (of: Fixture, text: string) => (await runHere(of, text)).outcome().error;
  const chats = (of: Fixture, rows: unknown[]) =>
    writeFileSync(join(of.dir, 'chats.jsonl'), rows.map((row) => `${JSON.stringify(row)}\n`).join(''));
  const turn = (role: string, content: string) => ({ role, content });

  it('refuses data with no scored token', async () => {
    const of = fixture();
    chats(of, [{ messages: [turn('user', 'Hello?')] }]);
    expect(await failure(of, recipeText({ sft: ['max_steps: 1'] }))).toMatchObject({ code: 'audit_refused' });
  });

  it('refuses an answer that never ends', async () => {
    const of = fixture();
    const template = `"{% for m in messages %}{% if m.role == 'assistant' %}{% generation %}{{ m.content }}{% endgeneration %}{% else %}{{ m.content }}{% endif %}{% endfor %}"`;
    const error = await failure(of, recipeText({ sft: ['max_steps: 1', `chat_template: ${template}`] }));
    expect(error).toMatchObject({ code: 'audit_refused' });
    expect(error!.message).toMatch(/never learn to stop/);
  });

  it('refuses rows that are too long unless the recipe says what to do', async () => {
    const long = turn('assistant', 'word '.repeat(200));
    const rows = [
      { messages: [turn('user', 'Hi'), long] },
      { messages: [turn('user', 'Hi'), turn('assistant', 'Yes.')] },
    ];
    const of = fixture();
    chats(of, rows);
    const error = await failure(of, recipeText({ sft: ['max_steps: 1'] }));
    expect(error).toMatchObject({ code: 'data_row_too_long', path: 'stages.sft.max_length' });
    expect(error!.message).toMatch(/1 of 2 rows.*chats\.jsonl:1/);
    expect(await failure(of, recipeText({ sft: ['max_steps: 1', 'too_long: drop'] }))).toBeNull();
    expect(await failure(of, recipeText({ sft: ['max_steps: 1', 'too_long: truncate'] }))).toBeNull();
    const split = recipeText({ sft: ['max_steps: 1', 'packing_strategy: bfd_split'] });
    const channel = await runHere(of, split);
    expect(channel.outcome().error).toBeNull();
    const audit = channel.events('audit').at(-1)!.body;
    expect(audit).toMatchObject({ too_long: 1, packing: { strategy: 'bfd_split' } });
  });

  it('refuses documents that are too long unless the recipe says what to do', async () => {
    const pretrain = (tooLong: string) => recipeText({ pretrain: ['max_steps: 1', `too_long: ${tooLong}`] });
    const of = fixture();
    const document = (text: string) => `${JSON.stringify({ text })}\n`;
    appendFileSync(join(of.dir, 'corpus.jsonl'), document('a long way home '.repeat(300)));
    const undecided = pretrain('split').replace(/ *too_long:.*\n/, '');
    const error = await failure(of, undecided);
    expect(error).toMatchObject({ code: 'data_row_too_long', path: 'stages.pretrain.max_length' });
    expect(error!.hint).toMatch(/split or drop/);
    expect(await failure(of, pretrain('split'))).toBeNull();
    expect(await failure(of, pretrain('drop'))).toBeNull();
  });

  it('refuses a session that does not fit into memory', async () => {
    const text = recipeText({ pretrain: ['max_steps: 1'] }).replace('hidden_size: 32', 'hidden_size: 65536');
    expect(await failure(fixture(), text)).toMatchObject({ code: 'out_of_memory' });
  });

  it('names file and line of broken data', async () => {
    const of = fixture();
    writeFileSync(
      join(of.dir, 'chats.jsonl'),
      '{"messages": [{"role": "user", "content": "a"}]}\n{"messages": 3\n',
    );
    const error = await failure(of, recipeText({ sft: ['max_steps: 1'] }));
    expect(error).toMatchObject({ code: 'data_syntax' });
    expect(error!.message).toMatch(/chats\.jsonl:2/);
  });
});
