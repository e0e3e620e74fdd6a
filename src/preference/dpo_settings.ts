/** The settings of `dpo` beside the shared ones: loss types by name or by file, weights, divergence. */
import { resolve } from 'node:path';
import { z } from 'zod';
import { loadPairLoss } from '../objectives/dpo/custom.ts';
import { DIVERGENCES } from '../objectives/dpo/divergence.ts';
import type { DpoSettings } from '../objectives/dpo/dpo.ts';
import type { PairLoss } from '../objectives/dpo/loss.ts';
import { PAIR_LOSSES } from '../objectives/dpo/registry.ts';
import { nearest } from '../util/nearest.ts';

const name = z.string().min(1);

export const dpoFields = {
  beta: z.number().positive().default(0.1).describe('How near to the reference the policy is held.'),
  loss_type: z
    .union([name.transform((type) => [type]), z.array(name).min(1)])
    .default(['sigmoid'])
    .describe(`One or several of ${[...PAIR_LOSSES.keys()].join(', ')}, or an .mjs file with a loss.`),
  loss_weights: z.array(z.number()).optional().describe('Weights of the loss types. Default: 1 each.'),
  label_smoothing: z
    .number()
    .min(0)
    .lt(0.5)
    .default(0)
    .describe('Share of labels taken as flipped (robust, aot, aot_unpaired), or the smoothing of exo_pair.'),
  ld_alpha: z
    .number()
    .min(0)
    .max(1)
    .optional()
    .describe('Weight of the tokens of an answer beyond the length of the shorter one (LD-DPO).'),
  f_divergence_type: z
    .enum(DIVERGENCES)
    .default('reverse_kl')
    .describe('The divergence from the reference that rewards are of (f-DPO).'),
  f_alpha_divergence_coef: z.number().default(0.5).describe('Alpha of alpha_divergence.'),
  discopop_tau: z.number().positive().default(0.05).describe('Temperature of the blend of discopop.'),
};

/** Weighting by the policy: for pairs that were written beforehand, and so of `dpo` alone. */
export const weightingFields = {
  use_weighting: z
    .boolean()
    .default(false)
    .describe('Weight each pair by how likely the policy is to write its answers (WPO).'),
};

export type DpoFields = z.output<z.ZodObject<typeof dpoFields>>;

/** Whether a loss type names a file. */
function isFile(type: string): boolean {
  return /\.m?js$/.test(type);
}

/** Files of losses that the settings name. */
export function lossFiles({ loss_type }: DpoFields, baseDir: string): string[] {
  return loss_type.filter(isFile).map((file) => resolve(baseDir, file));
}

/** Losses of sorted numbers are of no one pair, which could have a weight. */
export function checkWeighting(
  { use_weighting, loss_type }: { use_weighting: boolean; loss_type: string[] },
  context: z.RefinementCtx,
): void {
  const sorted = loss_type.filter((type) => PAIR_LOSSES.get(type)?.sorted);
  if (!use_weighting || sorted.length === 0) return;
  context.addIssue({
    code: 'custom',
    path: ['use_weighting'],
    message: `cannot weight ${sorted.join(', ')}, which compare sorted answers instead of pairs`,
  });
}

/** Unknown loss types, and settings that none of the loss types takes. */
export function checkDpo(settings: DpoFields, context: z.RefinementCtx): void {
  const issue = (path: string, message: string) =>
    context.addIssue({ code: 'custom', path: [path], message });
  const { loss_type, loss_weights, label_smoothing, f_divergence_type } = settings;
  for (const type of loss_type) {
    if (isFile(type) || PAIR_LOSSES.has(type)) continue;
    const guess = nearest(type, PAIR_LOSSES.keys());
    issue(
      'loss_type',
      `${type} is not a loss type${guess === undefined ? '' : `; did you mean ${guess}`}? Known: ${[...PAIR_LOSSES.keys()].join(', ')}, or an .mjs file`,
    );
  }
  if (loss_weights !== undefined && loss_weights.length !== loss_type.length) {
    issue('loss_weights', `has ${loss_weights.length} weights for ${loss_type.length} loss types`);
  }
  const known = loss_type.flatMap((type) => PAIR_LOSSES.get(type) ?? []);
  const anyUses = (setting: 'label_smoothing') =>
    loss_type.some(isFile) || known.some(({ uses }) => uses?.includes(setting));
  if (label_smoothing > 0 && !anyUses('label_smoothing')) {
    issue(
      'label_smoothing',
      `is not used by ${loss_type.join(', ')}; robust takes flipped labels into account`,
    );
  }
  if (label_smoothing === 0 && loss_type.includes('exo_pair')) {
    issue('label_smoothing', 'must be above 0 for exo_pair; its authors recommend 1e-3');
  }
  const absolute = loss_type.filter((type) => PAIR_LOSSES.get(type)?.on === 'ratios' || isFile(type));
  if (f_divergence_type !== 'reverse_kl' && absolute.length > 0) {
    issue(
      'f_divergence_type',
      `cannot be ${f_divergence_type} with ${absolute.join(', ')}: only differences of rewards have other divergences`,
    );
  }
}

/** The objective's settings, with files of losses loaded. */
export async function readDpoSettings(
  settings: DpoFields & { use_weighting?: boolean },
  baseDir: string,
  stage: string,
): Promise<DpoSettings> {
  const { loss_type, loss_weights } = settings;
  const losses = await Promise.all(
    loss_type.map(
      async (type, i): Promise<{ loss: PairLoss; weight: number }> => ({
        loss:
          PAIR_LOSSES.get(type) ?? (await loadPairLoss(resolve(baseDir, type), `stages.${stage}.loss_type`)),
        weight: loss_weights?.[i] ?? 1,
      }),
    ),
  );
  return {
    losses,
    beta: settings.beta,
    labelSmoothing: settings.label_smoothing,
    discopopTau: settings.discopop_tau,
    ldAlpha: settings.ld_alpha,
    divergence: settings.f_divergence_type,
    divergenceAlpha: settings.f_alpha_divergence_coef,
    useWeighting: settings.use_weighting ?? false,
  };
}
