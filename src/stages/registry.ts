/** Every type of stage: adding one is its file and a line here. */
import { bcoStage } from './bco.ts';
import { compareStage } from './compare.ts';
import { cpoStage } from './cpo.ts';
import { distillStage } from './distill.ts';
import { dpoStage } from './dpo.ts';
import { evaluateStage } from './evaluate.ts';
import { generateStage } from './generate.ts';
import { grpoStage } from './grpo.ts';
import { ktoStage } from './kto.ts';
import { mergeStage } from './merge.ts';
import { onlineDpoStage } from './online_dpo.ts';
import { orpoStage } from './orpo.ts';
import { ppoStage } from './ppo.ts';
import { prepareStage } from './prepare.ts';
import { pretrainStage } from './pretrain.ts';
import { rankStage } from './rank.ts';
import { rewardStage } from './reward.ts';
import { rlooStage } from './rloo.ts';
import { sftStage } from './sft.ts';
import type { AnyStage } from './stage.ts';
import { tokenizerStage } from './tokenizer.ts';

const all: AnyStage[] = [
  tokenizerStage,
  prepareStage,
  pretrainStage,
  sftStage,
  generateStage,
  rankStage,
  dpoStage,
  ktoStage,
  orpoStage,
  cpoStage,
  bcoStage,
  rewardStage,
  distillStage,
  grpoStage,
  rlooStage,
  ppoStage,
  onlineDpoStage,
  mergeStage,
  evaluateStage,
  compareStage,
];

export const STAGES: ReadonlyMap<string, AnyStage> = new Map(all.map((stage) => [stage.type, stage]));
