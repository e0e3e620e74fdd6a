/** Folders that we save load in transformers: equal logits for every family, and the tokenizer with its template. */
import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { FAMILIES } from '../../src/models/families.ts';
import { saveModel } from '../../src/models/save.ts';
import { modelSettingsSchema, newArchitecture } from '../../src/models/settings.ts';
import { loadAddon } from '../../src/native/addon.ts';
import { encodeChat } from '../../src/tokenizer/chat.ts';
import { loadTokenizer } from '../../src/tokenizer/tokenizer.ts';
import { makeFixture, modelFolder, recipeText, runHere } from '../training/fixture.ts';

const python = process.env.ANNEAL_PEERS_PYTHON;
const script = join(import.meta.dirname, 'save_check.py');
const run = (...args: string[]) => execFileSync(python!, [script, ...args], { encoding: 'utf8' });

describe.skipIf(!python)('transformers', () => {
  const root = mkdtempSync(join(tmpdir(), 'anneal-save-'));
  afterAll(() => rmSync(root, { recursive: true, force: true }));

  it.each([...FAMILIES.keys()])('loads a saved %s with equal logits', async (architecture) => {
    const dir = join(root, architecture);
    mkdirSync(dir);
    const vocabulary = 97;
    const model = newArchitecture(
      modelSettingsSchema.parse({
        architecture,
        hidden_size: 48,
        num_hidden_layers: 2,
        num_attention_heads: 6,
        num_key_value_heads: 2,
        max_position_embeddings: 64,
        rope_theta: 5000,
        tie_word_embeddings: architecture !== 'Qwen3ForCausalLM',
      }),
      vocabulary,
    );
    const session = await loadAddon().createSession({
      architecture: model.architecture,
      threads: 2,
      trainable: false,
      maxTokens: 32,
      maxSequences: 1,
      maxScored: 32,
      recompute: false,
      generationSlots: 0,
      generationLength: 0,
    });
    await session.initWeights(2, 0.2);
    const tokenizer = { files: new Map<string, string>(), bosId: undefined, eosId: 3 };
    await saveModel(session, dir, { ...model, initializerRange: 0.2, tokenizer, stopIds: [3, 4] });
    const tokens = Int32Array.from({ length: 20 }, (_, i) => (i * 31 + 7) % vocabulary);
    const rows = Int32Array.from(tokens, (_, i) => i);
    const ours = await session.logits({
      tokens,
      cuSeqlens: Int32Array.of(0, 20),
      scored: rows,
      targets: tokens,
    });
    await session.close();
    writeFileSync(join(dir, 'tokens.json'), JSON.stringify([...tokens]));
    const report = JSON.parse(run('logits', dir)) as { logits: number[]; eos: number[]; tied: boolean };
    expect(report.eos).toEqual([3, 4]);
    expect(report.tied).toBe(model.architecture.tieEmbeddings);
    expect(report.logits).toHaveLength(ours.length);
    const largest = report.logits.reduce((max, value) => Math.max(max, Math.abs(value)), 0);
    const worst = report.logits.reduce((max, value, i) => Math.max(max, Math.abs(value - ours[i]!)), 0);
    expect(largest).toBeGreaterThan(0.1);
    expect(worst).toBeLessThan(1e-4 * largest);
  });

  it('loads what a recipe has made: model, tokenizer and chat template', async () => {
    const fixture = makeFixture();
    try {
      const text = recipeText({ pretrain: ['max_steps: 2'], sft: ['max_steps: 2'] });
      expect((await runHere(fixture, text)).outcome().outcome).toBe('succeeded');
      const dir = modelFolder(fixture, 'sft');
      const messages = [
        { role: 'user', content: 'What is Anna of Aachen?' },
        { role: 'assistant', content: 'Anna is a baker.' },
      ];
      writeFileSync(join(fixture.dir, 'messages.json'), JSON.stringify(messages));
      const report = JSON.parse(run('chat', dir, join(fixture.dir, 'messages.json'))) as {
        ids: number[];
        parameters: number;
        eos: number;
      };
      const tokenizer = await loadTokenizer(dir);
      expect(report.ids).toEqual([...encodeChat(tokenizer, messages).ids]);
      expect(report.eos).toBe(tokenizer.eosId);
      const lineage = JSON.parse(readFileSync(join(dir, 'artifact.json'), 'utf8')) as {
        results: { parameters: number };
      };
      expect(report.parameters).toBe(lineage.results.parameters);
    } finally {
      fixture.remove();
    }
  });
});
