/** Generation through the addon: sharing of passes, several samples, constraints, cancelling while others run. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { compile } from '../../src/generation/automaton.ts';
import { constraintOf } from '../../src/generation/constraint.ts';
import { parseRegex } from '../../src/generation/regex.ts';
import { type Completion, loadAddon, type Session } from '../../src/native/addon.ts';
import { architecture, requests, sampling, sessionOptions } from './support.ts';

const addon = loadAddon();

async function makeSession(changes: Parameters<typeof sessionOptions>[0] = {}): Promise<Session> {
  const session = await addon.createSession(
    sessionOptions({ trainable: false, generationSlots: 8, generationLength: 256, ...changes }),
  );
  await session.initWeights(1, 0.3);
  return session;
}

const prompts = [Int32Array.of(3), Int32Array.of(1, 2, 3, 4), Int32Array.from({ length: 40 }, (_, i) => i)];

describe('generate', () => {
  it('gives callers that come together what each gets alone', async () => {
    const session = await makeSession();
    const ask = (seed: number) => session.generate(requests(prompts, sampling({ seed, maxNewTokens: 30 })));
    const alone: Completion[][] = [];
    for (const seed of [1, 2, 3]) alone.push(await ask(seed));
    expect(await Promise.all([1, 2, 3].map(ask))).toEqual(alone);
    await session.close();
  });

  it('draws several samples of a prompt, told apart', async () => {
    const session = await makeSession();
    const seen: string[] = [];
    const asked = prompts.map((prompt, i) => ({
      prompt,
      samples: i + 1,
      sampling: sampling({ maxNewTokens: 5 }),
    }));
    const completions = await session.generate(asked, (request, sample, token) =>
      seen.push(`${request}.${sample} ${token}`),
    );
    expect(completions).toHaveLength(6);
    const owners = ['0.0', '1.0', '1.1', '2.0', '2.1', '2.2'];
    for (const [i, { tokens }] of completions.entries()) {
      expect(seen.filter((line) => line.startsWith(owners[i]!))).toEqual(
        Array.from(tokens, (token) => `${owners[i]} ${token}`),
      );
    }
    expect(completions[3]!.tokens).not.toEqual(completions[4]!.tokens);
    await session.close();
  });

  it('goes on with the others when one is aborted', async () => {
    const session = await makeSession();
    const options = sampling({ maxNewTokens: 60 });
    const [whole] = await session.generate(requests([prompts[1]!], options));
    const controller = new AbortController();
    const first = session.generate(
      requests([prompts[0]!], options),
      () => controller.abort(),
      controller.signal,
    );
    const second = session.generate(requests([prompts[1]!], options));
    expect((await first)[0]!.finish).toBe('cancelled');
    expect((await second)[0]).toEqual(whole);
    expect(session.generations.size).toBe(0);
    await session.close();
  });

  it('submits without waiting: such a request gets on in the passes of others', async () => {
    const session = await makeSession();
    const ended: string[] = [];
    const [request] = requests([prompts[2]!], sampling({ maxNewTokens: 4 }));
    session.generations.submit(request!, {
      onToken: () => undefined,
      onEnd: (sample, finish) => ended.push(`${sample} ${finish}`),
    });
    await session.generate(requests([prompts[0]!], sampling({ maxNewTokens: 20 })));
    expect(ended).toEqual(['0 length']);
    await session.close();
  });
});

describe('adapters', () => {
  const update = (name: string) => ({ name, rank: 4, scale: 1, dropout: 0, dora: name.includes('mlp') });
  const adapters = [0, 1].map((layer) => ({
    modules: ['self_attn.q_proj', 'self_attn.v_proj', 'mlp.down_proj'].map((name) =>
      update(`model.layers.${layer}.${name}`),
    ),
    replaces: [],
    trainable: false,
  }));
  const fill = async (session: Session) => {
    for (const adapter of [0, 1]) {
      await session.initAdapter(adapter, { seed: adapter, kind: 'gaussian' });
      for (const { name, shape } of session.tensors(adapter)) {
        if (!name.endsWith('lora_B.weight')) continue;
        const size = shape.reduce((a, b) => a * b, 1);
        const path = join(folder, 'tensor');
        writeFileSync(
          path,
          Float32Array.from({ length: size }, (_, i) => Math.sin(i + adapter) / 4),
        );
        await session.importTensors([{ name, path, offset: 0, dtype: 'F32' }], adapter);
      }
    }
  };
  let folder: string;
  beforeAll(() => {
    folder = mkdtempSync(join(tmpdir(), 'anneal-generation-'));
  });
  afterAll(() => rmSync(folder, { recursive: true }));

  it('generate side by side over one base, each as alone, with the log-probs of a forward', async () => {
    const session = await makeSession({ adapters });
    await fill(session);
    const asked = [undefined, 0, 1].flatMap((adapter) =>
      prompts.map((prompt, seed) => ({
        prompt,
        samples: 3,
        sampling: sampling({ seed, maxNewTokens: 12, temperature: 1 }),
        ...(adapter === undefined ? {} : { adapter }),
      })),
    );
    const together = await session.generate(asked);
    const alone: Completion[] = [];
    for (const request of asked) alone.push(...(await session.generate([request])));
    expect(together).toEqual(alone);
    expect(new Set(together.map(({ tokens }) => tokens.join())).size).toBe(27);
    for (const [i, { tokens, logProbs }] of together.entries()) {
      const { prompt, adapter } = asked[Math.floor(i / 3)]!;
      const ids = Int32Array.from([...prompt, ...tokens]);
      const scores = await session.forward({
        tokens: ids,
        cuSeqlens: Int32Array.of(0, ids.length),
        scored: Int32Array.from(tokens, (_, k) => prompt.length - 1 + k),
        targets: tokens,
        ...(adapter === undefined ? {} : { adapter }),
      });
      for (const [k, value] of logProbs.entries())
        expect(Math.abs(value - scores.logProbs[k]!)).toBeLessThan(1e-5);
    }
    const [request] = asked;
    await expect(session.generate([{ ...request!, adapter: 2 }])).rejects.toThrow('adapter is 2');
    await session.close();
  });
});

/** Tokens: one for each letter from a to z, the digits, and some longer ones. */
const TOKENS = [
  ...'abcdefghijklmnopqrstuvwxyz0123456789"{}:,[]-. ',
  'ab',
  'abc',
  'true',
  'fal',
  'se"',
  '{"',
  '": ',
];
const EOS = 60;

describe('constraints', () => {
  const vocabulary = (() => {
    const texts = Array.from({ length: architecture.vocabSize }, (_, id) => Buffer.from(TOKENS[id] ?? ''));
    let end = 0;
    return { bytes: Buffer.concat(texts), ends: Int32Array.from(texts, (text) => (end += text.length)) };
  })();
  const text = ({ tokens }: Completion) => Array.from(tokens, (token) => TOKENS[token] ?? '').join('');

  it.each(['ab(c|d)*e', '[a-c]{3,7}', 'true|false', '(abc){1,3}x?', '-?(0|[1-9][0-9]{0,5})'])(
    'every answer of a random model matches %s',
    async (pattern) => {
      const session = await makeSession();
      session.setVocabulary(vocabulary);
      const constraint = compile(parseRegex(pattern).node);
      const asked = [0.5, 1, 3, 0].map((temperature, seed) => ({
        prompt: prompts[seed % 3]!,
        samples: 8,
        sampling: sampling({ maxNewTokens: 100, temperature, seed, stopTokens: Int32Array.of(EOS) }),
        constraint,
      }));
      for (const completion of await session.generate(asked)) {
        if (completion.finish === 'length') continue; // greedy answers may go round for ever
        expect(completion.finish).toBe('stop');
        expect(completion.tokens.at(-1)).toBe(EOS);
        expect(text(completion)).toMatch(new RegExp(`^(?:${pattern})$`));
      }
      await session.close();
    },
  );

  it('end by themselves without stop tokens; log-probs stay those of the model', async () => {
    const session = await makeSession();
    session.setVocabulary(vocabulary);
    const constraint = compile(parseRegex('[ab]{4}').node);
    const [completion] = await session.generate([
      { prompt: prompts[0]!, samples: 1, sampling: sampling({ temperature: 1 }), constraint },
    ]);
    expect(completion!.finish).toBe('stop');
    expect(text(completion!)).toMatch(/^[ab]{4}$/);
    const ids = Int32Array.from([...prompts[0]!, ...completion!.tokens]);
    const scores = await session.forward({
      tokens: ids,
      cuSeqlens: Int32Array.of(0, ids.length),
      scored: Int32Array.from(completion!.tokens, (_, i) => i),
      targets: completion!.tokens,
    });
    for (const [i, value] of completion!.logProbs.entries())
      expect(value).toBeCloseTo(scores.logProbs[i]!, 5);
    await session.close();
  });

  it('write JSON of a schema', async () => {
    const session = await makeSession({ generationLength: 512 });
    session.setVocabulary(vocabulary);
    const constraint = constraintOf({
      json_schema: {
        type: 'object',
        properties: { a: { type: 'integer' }, b: { type: 'array', items: { type: 'boolean' }, maxItems: 2 } },
        required: ['a', 'b'],
      },
    })!;
    const completions = await session.generate([
      {
        prompt: prompts[1]!,
        samples: 16,
        sampling: sampling({ maxNewTokens: 200, stopTokens: Int32Array.of(EOS) }),
        constraint,
      },
    ]);
    for (const completion of completions) {
      expect(completion.finish).toBe('stop');
      const value = JSON.parse(text(completion)) as { a: number; b: boolean[] };
      expect(Number.isInteger(value.a)).toBe(true);
      expect(value.b.length).toBeLessThanOrEqual(2);
    }
    await session.close();
  });
});
