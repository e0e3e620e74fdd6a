/** Types of stages that make language models: what other stages take where they name a model. */
export const MODEL_TYPES = [
  'pretrain',
  'sft',
  'dpo',
  'kto',
  'orpo',
  'cpo',
  'bco',
  'distill',
  'ppo',
  'grpo',
  'rloo',
  'online_dpo',
  'merge',
];
