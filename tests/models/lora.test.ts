/** LoRA settings: what they take of a model, and what is refused before anything is trained. */
import { describe, expect, it } from 'vitest';
import { FAMILIES, rewardArchitecture } from '../../src/models/families.ts';
import { adapterParameters, loraSettings, resolveLora } from '../../src/models/lora.ts';
import { compareLogits } from '../../src/models/merge.ts';
import { modelModules, moduleTensors } from '../../src/models/modules.ts';
import { modelSettingsSchema, newArchitecture } from '../../src/models/settings.ts';
import { type Architecture, loadAddon } from '../../src/native/addon.ts';

function architectureOf(family: string, changes: Record<string, unknown> = {}): Architecture {
  const settings = modelSettingsSchema.parse({
    architecture: family,
    hidden_size: 32,
    num_hidden_layers: 2,
    num_attention_heads: 4,
    num_key_value_heads: 2,
    intermediate_size: 48,
    max_position_embeddings: 64,
    ...changes,
  });
  return newArchitecture(settings, 50).architecture;
}
const llama = architectureOf('LlamaForCausalLM', { tie_word_embeddings: false });
const tied = architectureOf('LlamaForCausalLM');
const resolve = (settings: Record<string, unknown>, architecture = llama) =>
  resolveLora(loraSettings.parse(settings), architecture, 'stages.sft.lora');
const taken = (settings: Record<string, unknown>, architecture = llama) =>
  resolve(settings, architecture).modules.map(({ name }) => name);
const refused = (settings: Record<string, unknown>, architecture = llama) => {
  try {
    resolve(settings, architecture);
  } catch (error) {
    return error;
  }
  throw new Error('nothing was refused');
};

describe('modules of a model', () => {
  it.each([...FAMILIES.keys()].flatMap((family) => [true, false].map((tie) => [family, tie] as const)))(
    'are those of the engine: %s, tied %s',
    async (family, tie) => {
      const architecture = architectureOf(family, { tie_word_embeddings: tie });
      const session = await loadAddon().createSession({
        architecture,
        threads: 1,
        trainable: false,
        maxTokens: 8,
        maxSequences: 1,
        maxScored: 8,
        recompute: false,
        generationSlots: 0,
        generationLength: 0,
      });
      const shapes = new Map(session.tensors().map(({ name, shape }) => [name, shape]));
      await session.close();
      const modules = modelModules(architecture);
      expect(new Set(modules.flatMap(moduleTensors))).toEqual(new Set(shapes.keys()));
      for (const { name, shape } of modules) expect(shape).toEqual(shapes.get(`${name}.weight`));
    },
  );
});

describe('LoRA settings', () => {
  it('take queries and values by default', () => {
    expect(taken({})).toEqual(
      [0, 1].flatMap((l) => ['q', 'v'].map((m) => `model.layers.${l}.self_attn.${m}_proj`)),
    );
  });

  it('take whole parts of names only', () => {
    expect(taken({ target_modules: ['self_attn.o_proj'] })).toHaveLength(2);
    expect(refused({ target_modules: ['_proj'] })).toMatchObject({ code: 'recipe_invalid' });
  });

  it('scale by rank, its root, and the first pattern that fits', () => {
    const of = (settings: Record<string, unknown>) =>
      resolve({ target_modules: ['q_proj'], ...settings }).modules;
    expect(of({ r: 4, lora_alpha: 6 })[0]).toMatchObject({ rank: 4, scale: 1.5 });
    expect(of({ r: 4, lora_alpha: 6, use_rslora: true })[0]).toMatchObject({ rank: 4, scale: 3 });
    const patterned = of({ r: 4, lora_alpha: 6, rank_pattern: { '0\\.self_attn\\.q_proj': 2, q_proj: 3 } });
    expect(patterned).toMatchObject([
      { rank: 2, scale: 3 },
      { rank: 3, scale: 2 },
    ]);
  });

  it('train a whole module with all that lies in it, and give it no update', () => {
    const { modules, replaces } = resolve({
      target_modules: ['up_proj', 'q_proj'],
      modules_to_save: ['0.mlp'],
    });
    expect(modules.map(({ name }) => name)).not.toContain('model.layers.0.mlp.up_proj');
    expect(modules).toHaveLength(3);
    expect(replaces).toEqual(['gate', 'up', 'down'].map((m) => `model.layers.0.mlp.${m}_proj.weight`));
  });

  it("save what ends with a name, by PEFT's rule", () => {
    expect(resolve({ modules_to_save: ['head'] }).replaces).toEqual(['lm_head.weight']);
  });

  it('train the head of a reward model', () => {
    const reward = rewardArchitecture(llama);
    expect(resolve({ target_modules: 'all-linear' }, reward)).toMatchObject({
      scoreHead: true,
      replaces: [],
    });
    expect(taken({ target_modules: 'all-linear' }, reward)).not.toContain('score');
  });

  it('count parameters', () => {
    const settings = { target_modules: ['q_proj'], modules_to_save: ['lm_head'], use_dora: true, r: 4 };
    expect(adapterParameters(resolve(settings), llama)).toBe(2 * (4 * (32 + 32) + 32) + 50 * 32);
  });

  it.each([
    ['a name that fits nothing', { target_modules: ['q_prj'] }, /q_prj/, /Did you mean q_proj\?.*up_proj/],
    ['a pattern that fits nothing', { target_modules: 'layers.*' }, /layers\.\*/, /It has q_proj/],
    ['an embedding as target', { target_modules: ['embed_tokens'] }, /not linear/, /modules_to_save/],
    ['layers that are not there', { layers_to_transform: [0, 7] }, /names layer 7/, /0 to 1/],
    ['a rank for a module that is no target', { rank_pattern: { k_proj: 4 } }, /k_proj/, /q_proj, v_proj/],
    ['an alpha for nothing', { alpha_pattern: { q_prj: 4 } }, /alpha_pattern\.q_prj/, /q_proj, v_proj/],
    ['a module to save that is not there', { modules_to_save: ['gate'] }, /gate/, /Did you mean gate_proj/],
    [
      'targets that are all trained whole',
      { modules_to_save: ['self_attn'] },
      /takes no module/,
      /modules_to_save/,
    ],
  ])('refuse %s', (_, settings, message, hint) => {
    const error = refused(settings) as { message: string; hint: string; path: string };
    expect(error).toMatchObject({
      code: 'recipe_invalid',
      path: expect.stringMatching(/^stages\.sft\.lora\./),
    });
    expect(error.message).toMatch(message);
    expect(error.hint).toMatch(hint);
  });

  it('refuse one end of a model whose ends are one', () => {
    for (const name of ['lm_head', 'embed_tokens'])
      expect(refused({ modules_to_save: [name] }, tied)).toMatchObject({
        path: 'stages.sft.lora.modules_to_save',
        hint: expect.stringContaining('ensure_weight_tying'),
      });
  });

  it.each([
    [{ target_modules: '(' }, 'target_modules'],
    [{ target_modules: 'all-linear', layers_to_transform: [0] }, 'layers_to_transform'],
    [{ use_dora: true, init_lora_weights: 'pissa' }, 'init_lora_weights'],
    [{ rank_pattern: { '[': 3 } }, 'rank_pattern'],
    [{ r: 65_537 }, 'r'],
  ])('contradict themselves: %j', (settings, path) => {
    expect(loraSettings.safeParse(settings).error?.issues[0]?.path[0]).toBe(path);
  });
});

describe('the report of a merge', () => {
  it('says divergence and agreement', () => {
    const before = Float32Array.of(0, Math.log(3), 0, 0, 1, 2);
    expect(compareLogits(before, before, 2)).toEqual({
      positions: 3,
      kl: { mean: 0, max: 0 },
      topAgreement: 1,
    });
    // (1/4, 3/4) against (1/2, 1/2), and one position whose likeliest token is another.
    const after = Float32Array.of(0, 0, 0, 0, 2, 1);
    const { kl, topAgreement } = compareLogits(before, after, 2);
    const first = 0.25 * Math.log(0.25 / 0.5) + 0.75 * Math.log(0.75 / 0.5);
    const p = 1 / (1 + Math.E);
    const third = p * Math.log(p / (1 - p)) + (1 - p) * Math.log((1 - p) / p);
    expect(kl!.max).toBeCloseTo(Math.max(first, third), 6);
    expect(kl!.mean).toBeCloseTo((first + third) / 3, 6);
    expect(topAgreement).toBeCloseTo(1 / 3);
  });
});
