/** Settings of the optimisers: what a step and the parameter groups become of them, and refusals. */
import { describe, expect, it } from 'vitest';
import { z } from 'zod';
import { AnnealError } from '../../proto/errors.ts';
import {
  checkOptimizer,
  optimizerFields,
  parameterGroups,
  stepOptions,
} from '../../src/training/optimizer.ts';

const schema = z.strictObject(optimizerFields({ adam_beta2: 0.95, weight_decay: 0.1 }));
const parse = (settings: z.input<typeof schema>) => schema.parse(settings);

const tensors = [
  'model.embed_tokens.weight',
  'model.layers.0.self_attn.q_proj.weight',
  'model.layers.1.self_attn.q_proj.weight',
  'model.layers.1.mlp.down_proj.weight',
  'model.norm.weight',
].map((name) => ({ name, shape: [2, 2] }));

/** Fields that were found wrong. */
function issues(settings: z.input<typeof schema>, lora?: unknown): string[] {
  const found: string[] = [];
  checkOptimizer({ ...parse(settings), lora }, (path, message) => found.push(`${path} ${message}`));
  return found;
}

describe('steps', () => {
  it('have what the optimiser reads, with its own defaults', () => {
    const common = { learningRate: 0.5, weightDecay: 0.1, maxGradNorm: 1, step: 3 };
    expect(stepOptions(parse({ optim: 'adamw_8bit' }), 0.5, 3)).toEqual({
      ...common,
      beta1: 0.9,
      beta2: 0.95,
      epsilon: 1e-8,
    });
    expect(stepOptions(parse({ optim: 'lion' }), 0.5, 3)).toEqual({ ...common, beta1: 0.9, beta2: 0.99 });
    expect(stepOptions(parse({ optim: 'sgd' }), 0.5, 3)).toEqual({
      ...common,
      momentum: 0.9,
      nesterov: false,
    });
    expect(stepOptions(parse({ optim: 'adafactor' }), 0.5, 3)).toEqual({
      ...common,
      beta2Decay: -0.8,
      clipThreshold: 1,
    });
    expect(stepOptions(parse({ optim: 'muon', muon_adjust_lr: 'original' }), 0.5, 3)).toEqual({
      ...common,
      beta1: 0.9,
      beta2: 0.95,
      epsilon: 1e-8,
      momentum: 0.95,
      nesterov: true,
      matchRmsAdamw: false,
    });
  });
});

describe('contradictions', () => {
  it("refuses another optimiser's settings", () => {
    expect(issues({ optim: 'adamw', momentum: 0.5 })).toEqual([
      'momentum is for optim: sgd or muon, not for adamw',
    ]);
    expect(issues({ optim: 'sgd', lion_beta1: 0.5, nesterov: true })).toEqual([
      'lion_beta1 is for optim: lion, not for sgd',
    ]);
    expect(issues({ optim: 'muon', momentum: 0.5, nesterov: false })).toEqual([]);
  });

  it('refuses LoRA+ without LoRA', () => {
    expect(issues({ loraplus_lr_ratio: 16 })).toEqual([
      'loraplus_lr_ratio needs lora: it is about the B matrices of an adapter',
    ]);
    expect(issues({ loraplus_lr_ratio: 16 }, { r: 8 })).toEqual([]);
  });

  it('refuses a pattern that is no regular expression', () => {
    expect(issues({ learning_rates: { '(': 1 } })).toHaveLength(1);
  });
});

describe('parameter groups', () => {
  it('take the first pattern that matches', () => {
    const settings = parse({
      learning_rates: { 'layers\\.1\\.self_attn': 0.5, 'layers\\.1\\.': 0, norm: 2 },
    });
    expect(parameterGroups(settings, tensors, 'sft')).toEqual([
      { names: ['model.layers.1.self_attn.q_proj.weight'], learningRateFactor: 0.5 },
      { names: ['model.layers.1.mlp.down_proj.weight'], learningRateFactor: 0 },
      { names: ['model.norm.weight'], learningRateFactor: 2 },
    ]);
  });

  it('give the B matrices of LoRA+ their ratio, on top of a pattern', () => {
    const adapter = [
      'model.layers.0.self_attn.q_proj.lora_A.weight',
      'model.layers.0.self_attn.q_proj.lora_B.weight',
      'model.layers.1.self_attn.q_proj.lora_A.weight',
      'model.layers.1.self_attn.q_proj.lora_B.weight',
    ].map((name) => ({ name, shape: [2, 2] }));
    const settings = parse({ loraplus_lr_ratio: 16, learning_rates: { 'layers\\.1': 0.5 } });
    expect(parameterGroups(settings, adapter, 'sft')).toEqual([
      { names: [adapter[1]!.name], learningRateFactor: 16 },
      { names: [adapter[2]!.name], learningRateFactor: 0.5 },
      { names: [adapter[3]!.name], learningRateFactor: 8 },
    ]);
  });

  it('refuse a pattern that matches nothing, and name a tensor near it', () => {
    const refusal = (pattern: string) => {
      try {
        parameterGroups(parse({ learning_rates: { [pattern]: 0.5 } }), tensors, 'sft');
      } catch (error) {
        if (error instanceof AnnealError) return error;
      }
      throw new Error('not refused');
    };
    const near = refusal('embed_token_s');
    expect(near.code).toBe('recipe_invalid');
    expect(near.path).toBe('stages.sft.learning_rates');
    expect(near.hint).toBe('Did you mean embed_tokens? It is part of model.embed_tokens.weight.');
    expect(refusal('visual_encoder').hint).toBe(
      'Trained are model.embed_tokens.weight, model.layers.*.self_attn.q_proj.weight, ' +
        'model.layers.*.mlp.down_proj.weight, model.norm.weight.',
    );
  });
});
