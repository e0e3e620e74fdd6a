/** Rewards of a recipe: their settings, and the scorers that they open. Adding a type is its file and a line here. */
import { z } from 'zod';
import { commandReward } from './command.ts';
import { exactMatch } from './exact_match.ts';
import { jsonSchema } from './json_schema.ts';
import { length } from './length.ts';
import { moduleReward } from './module.ts';
import { numeric } from './numeric.ts';
import { regex } from './regex.ts';
import { type RewardDefinition, rewardName } from './reward.ts';
import type { Scorer } from './scorer.ts';

/** Every type of program that rewards. */
export const REWARDS = {
  exact_match: exactMatch,
  regex,
  numeric,
  length,
  json_schema: jsonSchema,
  module: moduleReward,
  command: commandReward,
} as const;

/** A list of programs, each with its type, name and weight. */
export const rewardSettings = z
  .array(
    z.discriminatedUnion('type', [
      exactMatch.schema,
      regex.schema,
      numeric.schema,
      length.schema,
      jsonSchema.schema,
      moduleReward.schema,
      commandReward.schema,
    ]),
  )
  .min(1)
  .superRefine((rewards, context) => {
    const names = rewards.map(rewardName);
    names.forEach((name, i) => {
      if (names.indexOf(name) === i) return;
      context.addIssue({
        code: 'custom',
        path: [i, 'name'],
        message: `${name} is the name of two rewards: give each its own`,
      });
    });
  });
export type RewardSettings = z.output<typeof rewardSettings>;

/** Opens a scorer for each of the settings, in their order; weights stay with the settings. */
export async function openScorers(settings: RewardSettings, baseDir: string): Promise<Scorer[]> {
  const scorers: Scorer[] = [];
  try {
    for (const reward of settings) scorers.push(await definitionOf(reward).open(reward, baseDir));
    return scorers;
  } catch (error) {
    await Promise.all(scorers.map((scorer) => scorer.close()));
    throw error;
  }
}

/** Files that rewards name (modules, programs, schemas): their content decides the result, as data does. */
export async function rewardFiles(settings: RewardSettings, baseDir: string): Promise<string[]> {
  const files = await Promise.all(
    settings.map(async (reward) => (await definitionOf(reward).files?.(reward, baseDir)) ?? []),
  );
  return [...new Set(files.flat())];
}

function definitionOf(reward: RewardSettings[number]): RewardDefinition<z.ZodType<RewardSettings[number]>> {
  // The type that chose the schema of these settings chooses the definition.
  return REWARDS[reward.type] as unknown as RewardDefinition<z.ZodType<RewardSettings[number]>>;
}
