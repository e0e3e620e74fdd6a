/** The addon with every call that computes made known to the channel, so that one that hangs can be told. */
import type { Addon } from '../native/addon.ts';
import type { WorkerChannel } from './channel.ts';

type Track = WorkerChannel['track'];

/** The same addon; promises of it and of the sessions and trainers that it makes are tracked. */
export function trackedAddon(addon: Addon, track: Track): Addon {
  return {
    createSession: async (options) => withTracking(await track(addon.createSession(options)), track),
    planSession: (options) => addon.planSession(options),
    createBpeTrainer: (options) => withTracking(addon.createBpeTrainer(options), track),
    createBpeEncoder: (options) => addon.createBpeEncoder(options),
    createCleaner: (options) => withTracking(addon.createCleaner(options), track),
    createFingerprinter: (options) => withTracking(addon.createFingerprinter(options), track),
    createPartHasher: (options) => withTracking(addon.createPartHasher(options), track),
    createPartRemover: (options) => withTracking(addon.createPartRemover(options), track),
    createContamination: (options) => withTracking(addon.createContamination(options), track),
    createJsonTexts: (options) => addon.createJsonTexts(options),
    findDuplicates: (options) => track(addon.findDuplicates(options)),
    findRepeatedParts: (options) => track(addon.findRepeatedParts(options)),
    machineInfo: () => addon.machineInfo(),
    measureMatrixSpeed: (threads) => track(addon.measureMatrixSpeed(threads)),
    crc32cFile: (path) => track(addon.crc32cFile(path)),
  };
}

function withTracking<T extends object>(target: T, track: Track): T {
  return new Proxy(target, {
    get(object, key) {
      const member: unknown = Reflect.get(object, key, object);
      if (typeof member !== 'function') return member;
      return (...args: unknown[]) => {
        const result: unknown = Reflect.apply(member, object, args);
        return result instanceof Promise ? track(result) : result;
      };
    },
  });
}
