/**
 * Listens to a stage that trains: an addon whose sessions remember the passes of the first optimiser step. When the
 * stage asks for that step, `onStep` gets what was recorded, and the stage ends.
 */
import type {
  Addon,
  ParameterGroup,
  ScoreGradients,
  Session,
  SessionOptions,
  StepOptions,
} from '../native/addon.ts';
import type { Pass } from './splits.ts';

/** What a stage did with one session before its first step. */
export interface Recording {
  session: Session;
  options: SessionOptions;
  /** Passes whose gradients are accumulated; without their dropout, which another packing would draw otherwise. */
  passes: Pass[];
  /** The passes are not those of the stage to the bit: they had dropout, or no gradient. */
  replaced: boolean;
  groups: { groups: ParameterGroup[]; adapter: number | undefined }[];
}

/** Thrown in the place of the first step: the test is over, and the stage need not go on. */
export class TestEnded extends Error {}

/** The addon for the stage; `onStep` is called once, with the sessions that have gradients. */
export function recordingAddon(
  addon: Addon,
  onStep: (recordings: Recording[], step: StepOptions) => Promise<void>,
): Addon {
  const recordings: Recording[] = [];
  const stepped = async (step: StepOptions): Promise<never> => {
    await onStep(
      recordings.filter(({ passes }) => passes.length > 0),
      step,
    );
    throw new TestEnded();
  };
  return new Proxy(addon, {
    get(target, key) {
      const member: unknown = Reflect.get(target, key, target);
      if (key !== 'createSession') return typeof member === 'function' ? member.bind(target) : member;
      return async (options: SessionOptions) => {
        const session = await target.createSession(options);
        const recording: Recording = { session, options, passes: [], replaced: false, groups: [] };
        recordings.push(recording);
        return recordingSession(recording, stepped);
      };
    },
  });
}

function recordingSession(recording: Recording, stepped: (step: StepOptions) => Promise<never>): Session {
  const { session, passes } = recording;
  let last: Pass['batch'] | undefined;
  const withoutDropout = ({ dropoutSeed, ...batch }: Pass['batch']): Pass['batch'] => {
    if (dropoutSeed !== undefined) recording.replaced = true;
    return batch;
  };
  const own: Partial<Session> = {
    forward(batch) {
      last = batch;
      return session.forward(batch);
    },
    backward(gradients: ScoreGradients) {
      const copies = Object.fromEntries(
        Object.entries(gradients).map(([name, values]) => [name, (values as Float32Array).slice()]),
      );
      passes.push({ batch: withoutDropout(last!), gradients: copies });
      return session.backward(gradients);
    },
    forwardBackward(batch, weights) {
      passes.push({ batch: withoutDropout(batch), weights: weights.slice() });
      return session.forwardBackward(batch, weights);
    },
    clearGradients() {
      passes.length = 0;
      return session.clearGradients();
    },
    setParameterGroups(groups, adapter) {
      recording.groups.push({ groups, adapter });
      return session.setParameterGroups(groups, adapter);
    },
    step: stepped,
  };
  return new Proxy(session, {
    get(target, key) {
      const member: unknown = Reflect.get(own, key) ?? Reflect.get(target, key, target);
      return typeof member === 'function' ? member.bind(target) : member;
    },
  });
}
