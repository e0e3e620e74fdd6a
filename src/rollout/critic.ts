/**
 * The critic: a model of its own that gives the value of the state before each sampled token. It is a session, or an
 * adapter with a scalar head over the base of the policy's session, and is trained beside the policy.
 */
import { AnnealError } from '../../proto/errors.ts';
import { DataRandom } from '../data/random.ts';
import { importAdapter } from '../models/adapter.ts';
import { type ModelFolder, openBase } from '../models/load.ts';
import type { Batch, Session } from '../native/addon.ts';
import type { StageContext } from '../stages/stage.ts';
import { loadTokenizer, type Tokenizer } from '../tokenizer/tokenizer.ts';
import { ADAPTER_INITS } from '../training/model.ts';
import { parameterGroups } from '../training/optimizer.ts';
import type { CriticSettings, Place } from './models.ts';
import type { RolloutSettings } from './settings.ts';

/** A critic, open. */
export interface Critic {
  session: Session;
  /** The adapter that is trained and asked; absent: the session's base is. */
  fields: Pick<Batch, 'adapter'>;
  learningRate: number;
}

/** A session of its own holds the trained adapter first. */
const OWN = 0;

/** Opens the critic where it has its place; the caller closes a session that is not the policy's. */
export async function openCritic(
  context: Pick<
    StageContext<RolloutSettings & CriticSettings>,
    'name' | 'settings' | 'seed' | 'addon' | 'threads'
  >,
  place: Place,
  policy: Session,
  tokenizer: Tokenizer,
): Promise<Critic> {
  const { settings, name, threads } = context;
  const folder = place.model.folder!;
  if ((await loadTokenizer(folder.path, { threads })).hash !== tokenizer.hash) {
    throw new AnnealError(
      'tokenizer_invalid',
      `The critic of stage ${name} would begin as ${folder.path}, which has another tokenizer than the policy.`,
      {
        path: `stages.${name}.critic_model`,
        hint: 'Values are of the very tokens that the policy draws: name a critic_model with its tokenizer, such as the policy itself.',
      },
    );
  }
  const session = place.session ? await ownSession(context, folder, place) : policy;
  try {
    const { lora } = settings;
    const adapter = place.session ? (lora ? OWN : undefined) : place.adapter;
    if (adapter !== undefined) await beginAdapter(context, session, adapter, place);
    // `learning_rates` names tensors of the policy.
    const groups = parameterGroups({ ...settings, learning_rates: {} }, session.tensors(adapter), name);
    await session.setParameterGroups(groups, adapter);
    return {
      session,
      fields: adapter === undefined ? {} : { adapter },
      learningRate: settings.critic_learning_rate ?? settings.learning_rate,
    };
  } catch (error) {
    if (session !== policy) await session.close();
    throw error;
  }
}

/** The weights that the critic begins as, an adapter merged into them; a scalar head that they lack is new. */
async function ownSession(
  { addon, seed }: Pick<StageContext<unknown>, 'addon' | 'seed'>,
  folder: ModelFolder,
  place: Place & { adapter: undefined },
): Promise<Session> {
  const session = await openBase(addon, folder, place.session, { seed: ownSeed(seed) });
  try {
    if (folder.adapter) {
      const merged = place.session.adapters!.length - 1;
      await importAdapter(session, merged, folder.adapter);
      await session.mergeAdapter(merged);
    }
    return session;
  } catch (error) {
    await session.close();
    throw error;
  }
}

/** A new adapter, or the one that the critic begins as. */
async function beginAdapter(
  { settings, seed }: Pick<StageContext<RolloutSettings>, 'settings' | 'seed'>,
  session: Session,
  adapter: number,
  { model, session: own }: Place,
): Promise<void> {
  const goesOn = own === undefined ? model.folder!.adapter : undefined;
  const kind = goesOn ? 'default' : ADAPTER_INITS.get(settings.lora!.init_lora_weights)!;
  await session.initAdapter(adapter, { seed: ownSeed(seed), kind });
  if (goesOn) await importAdapter(session, adapter, goesOn);
}

/** Another seed than the policy's: their new weights have nothing in common. */
function ownSeed(seed: number): number {
  return new DataRandom('critic', seed).seed();
}
