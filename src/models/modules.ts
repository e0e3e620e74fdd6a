/**
 * The modules of a model as transformers names them, known from the architecture alone: what adapters may name, and
 * what a plan counts before a session exists. A module's weight is `<name>.weight`, its bias `<name>.bias`.
 */
import type { Architecture } from '../native/addon.ts';

export interface ModelModule {
  name: string;
  /** `linear`: [out, in]; `embedding`: [rows, width]; `norm`: [width]. */
  kind: 'linear' | 'embedding' | 'norm';
  shape: number[];
  bias: boolean;
}

/** Every module that holds weights, in the order of the forward pass. A tied head has none of its own. */
export function modelModules(a: Architecture): ModelModule[] {
  const width = a.hiddenSize;
  const queries = a.numHeads * a.headDim;
  const keys = a.numKvHeads * a.headDim;
  const norm = (name: string, size = width): ModelModule => ({
    name,
    kind: 'norm',
    shape: [size],
    bias: a.norm === 'layernorm' && size === width,
  });
  const linear = (name: string, rows: number, columns: number, bias: boolean): ModelModule => ({
    name,
    kind: 'linear',
    shape: [rows, columns],
    bias,
  });
  const layer = (i: number): ModelModule[] => {
    const at = `model.layers.${i}`;
    const heads = a.qkNorm
      ? ['q_norm', 'k_norm'].map((name): ModelModule => {
          return { name: `${at}.self_attn.${name}`, kind: 'norm', shape: [a.headDim], bias: false };
        })
      : [];
    const [up, down] =
      a.activation === 'swiglu' ? [['gate_proj', 'up_proj'], 'down_proj'] : [['c_fc'], 'c_proj'];
    return [
      norm(`${at}.input_layernorm`),
      linear(`${at}.self_attn.q_proj`, queries, width, a.qkvBias),
      linear(`${at}.self_attn.k_proj`, keys, width, a.qkvBias),
      linear(`${at}.self_attn.v_proj`, keys, width, a.qkvBias),
      ...heads,
      linear(`${at}.self_attn.o_proj`, width, queries, a.outBias),
      norm(`${at}.post_attention_layernorm`),
      ...up.map((name) => linear(`${at}.mlp.${name}`, a.intermediateSize, width, a.mlpBias)),
      linear(`${at}.mlp.${down}`, width, a.intermediateSize, a.mlpBias),
    ];
  };
  return [
    { name: 'model.embed_tokens', kind: 'embedding', shape: [a.vocabSize, width], bias: false },
    ...Array.from({ length: a.numLayers }, (_, i) => layer(i)).flat(),
    norm('model.norm'),
    ...(a.tieEmbeddings ? [] : [linear('lm_head', a.vocabSize, width, false)]),
    ...(a.scoreHead ? [linear('score', 1, width, false)] : []),
  ];
}

/** The names of a module's tensors. */
export function moduleTensors({ name, bias }: ModelModule): string[] {
  return bias ? [`${name}.weight`, `${name}.bias`] : [`${name}.weight`];
}
