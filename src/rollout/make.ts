/**
 * Makes a rollout: prompts in their order, completions of each, rewards, and the measures. With dynamic sampling
 * (DAPO, Yu et al. 2025) a group whose rewards are all the same is thrown away and another prompt drawn for, as long
 * as the bound on draws allows; then groups are taken as they come, so that a rollout always has its size.
 */

import type { Completion, Session } from '../native/addon.ts';
import { isUniform } from '../objectives/advantages.ts';
import { type KlController, nextKlCoefficient } from '../objectives/kl.ts';
import { offsetsOf, sumOf } from '../objectives/spans.ts';
import type { Response } from '../rewards/scorer.ts';
import { templateInputs } from '../tokenizer/chat_template.ts';
import type { Tokenizer } from '../tokenizer/tokenizer.ts';
import { type DrawSettings, drawCompletions, drawSeed } from './draw.ts';
import { type Measures, measure } from './measure.ts';
import type { RolloutPlan } from './plan.ts';
import type { Prompt } from './prompts.ts';
import { mixRewards, scoreResponses, type WeightedScorer } from './rewards.ts';
import type { Rollout, RolloutState } from './rollout.ts';

/** What draws, asks, scores and measures. */
export interface RolloutMakerOptions {
  session: Session;
  adapter: number | undefined;
  tokenizer: Tokenizer;
  prompts: readonly Prompt[];
  /** Which prompt comes at a place. */
  order: { at(position: number): number };
  scorers: readonly WeightedScorer[];
  measures: Measures;
  draw: DrawSettings;
  seed: number;
  /** Groups of a rollout, and samples of a group. */
  groups: number;
  groupSize: number;
  /** Groups drawn for side by side. */
  groupsAtOnce: number;
  missingEosPenalty: number;
  /** Dynamic sampling: groups drawn at most, as a multiple of those wanted; undefined: off. */
  maxDraws: number | undefined;
  /** undefined: the coefficient stays. */
  klController: KlController | undefined;
}

interface Group {
  prompt: number;
  completions: Completion[];
  rewards: Float64Array;
  scores: Float64Array;
}

export class RolloutMaker {
  readonly #options: RolloutMakerOptions;

  constructor(options: RolloutMakerOptions) {
    this.#options = options;
  }

  /** Draws and measures rollout `index`, going on from `state`. */
  async make(
    index: number,
    state: RolloutState,
    plan: RolloutPlan,
    boundary: () => Promise<void>,
  ): Promise<Rollout> {
    const { prompts, measures, groupSize, scorers, klController } = this.#options;
    const { groups, thrownAway, position } = await this.#draw(index, state.position, boundary);
    const completions = groups.flatMap((group) => group.completions);
    const drawn = {
      groupSize,
      offsets: offsetsOf(completions.map(({ tokens }) => tokens.length)),
      ids: concat(
        Int32Array,
        completions.map(({ tokens }) => tokens),
      ),
      sampledLogProbs: concat(
        Float32Array,
        completions.map(({ logProbs }) => logProbs),
      ),
    };
    const promptOf = (group: number) => prompts[groups[group]!.prompt]!.ids;
    const measured = await measure(measures, drawn, plan.pass(0), promptOf, boundary);
    const { klCoefficient } = state;
    const samples = completions.length;
    return {
      ...drawn,
      ...measured,
      index,
      prompts: Int32Array.from(groups, ({ prompt }) => prompt),
      stopped: Uint8Array.from(completions, ({ finish }) => (finish === 'stop' ? 1 : 0)),
      scorers: scorers.map(({ scorer }) => scorer.name),
      rewards: concat(
        Float64Array,
        groups.map(({ rewards }) => rewards),
      ),
      scores: concat(
        Float64Array,
        groups.map(({ scores }) => scores),
      ),
      klCoefficient,
      groupsThrownAway: thrownAway,
      next: {
        position,
        klCoefficient: klController
          ? nextKlCoefficient(klCoefficient, divergence(measured) / samples, samples, klController)
          : klCoefficient,
      },
    };
  }

  async #draw(
    index: number,
    from: number,
    boundary: () => Promise<void>,
  ): Promise<{ groups: Group[]; thrownAway: number; position: number }> {
    const { groups: wanted, groupsAtOnce, maxDraws, order } = this.#options;
    const bound = maxDraws === undefined ? 0 : maxDraws * wanted;
    const groups: Group[] = [];
    let drawn = 0;
    let thrownAway = 0;
    while (groups.length < wanted) {
      await boundary();
      const count = Math.min(groupsAtOnce, wanted - groups.length);
      const places = Array.from({ length: count }, (_, i) => drawn + i);
      const made = await this.#groups(
        places.map((place) => ({
          prompt: order.at(from + place),
          seed: drawSeed(this.#options.seed, index, place),
        })),
      );
      drawn += count;
      for (const group of made) {
        // What is thrown away has to be replaced within the bound.
        const replaceable = drawn + (wanted - groups.length) <= bound;
        if (replaceable && isUniform(group.scores)) thrownAway += 1;
        else groups.push(group);
      }
    }
    return { groups, thrownAway, position: from + drawn };
  }

  /** Completions of some prompts and their rewards. */
  async #groups(asked: { prompt: number; seed: number }[]): Promise<Group[]> {
    const { session, adapter, prompts, groupSize, draw, scorers, missingEosPenalty } = this.#options;
    const completions = await drawCompletions(
      session,
      adapter,
      asked.map(({ prompt, seed }) => ({ prompt: prompts[prompt]!.ids, seed })),
      groupSize,
      draw,
    );
    const responses = completions.map((completion, i) =>
      this.#response(prompts[asked[Math.floor(i / groupSize)]!.prompt]!, completion),
    );
    const rewards = await scoreResponses(scorers, responses);
    return asked.map(({ prompt }, g) => {
      const [first, last] = [g * groupSize, (g + 1) * groupSize];
      const own = rewards.subarray(first * scorers.length, last * scorers.length);
      const mine = completions.slice(first, last);
      const stopped = Uint8Array.from(mine, ({ finish }) => (finish === 'stop' ? 1 : 0));
      const scores = mixRewards(scorers, own, stopped, missingEosPenalty);
      return { prompt, completions: mine, rewards: own, scores };
    });
  }

  #response(prompt: Prompt, { tokens, finish }: Completion): Response {
    return {
      prompt: prompt.text,
      messages: prompt.messages,
      ...templateInputs(prompt),
      promptIds: prompt.ids,
      text: this.#options.tokenizer.decode(tokens, { skipSpecials: true }),
      ids: tokens,
      finish: finish === 'stop' ? 'stop' : 'length',
      fields: prompt.fields,
    };
  }
}

/** Sum over all tokens of log policy - log reference. */
function divergence({ oldLogProbs, referenceLogProbs }: Pick<Rollout, 'oldLogProbs' | 'referenceLogProbs'>) {
  return referenceLogProbs.length === 0 ? 0 : sumOf(oldLogProbs) - sumOf(referenceLogProbs);
}

function concat<Values extends Int32Array | Float32Array | Float64Array>(
  Type: new (length: number) => Values,
  pieces: readonly Values[],
): Values {
  const joined = new Type(pieces.reduce((sum, piece) => sum + piece.length, 0));
  let at = 0;
  for (const piece of pieces) {
    joined.set(piece, at);
    at += piece.length;
  }
  return joined;
}
