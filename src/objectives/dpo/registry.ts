/** Every loss type of `dpo`: adding one is its file and a line here. */
import { aotLoss, aotUnpairedLoss } from './aot.ts';
import { apoDownLoss, apoZeroLoss } from './apo.ts';
import { bcoPairLoss } from './bco_pair.ts';
import { discopopLoss } from './discopop.ts';
import { exoPairLoss } from './exo_pair.ts';
import { hingeLoss } from './hinge.ts';
import { ipoLoss } from './ipo.ts';
import type { PairLoss } from './loss.ts';
import { ncaPairLoss } from './nca_pair.ts';
import { flippedLabelLoss } from './robust.ts';
import { sftLoss } from './sft.ts';
import { sigmoidLoss, sigmoidNormLoss } from './sigmoid.ts';
import { sppoHardLoss } from './sppo_hard.ts';

const all: PairLoss[] = [
  sigmoidLoss,
  sigmoidNormLoss,
  hingeLoss,
  ipoLoss,
  exoPairLoss,
  ncaPairLoss,
  flippedLabelLoss,
  bcoPairLoss,
  sppoHardLoss,
  aotLoss,
  aotUnpairedLoss,
  apoZeroLoss,
  apoDownLoss,
  discopopLoss,
  sftLoss,
];

export const PAIR_LOSSES: ReadonlyMap<string, PairLoss> = new Map(all.map((loss) => [loss.name, loss]));
