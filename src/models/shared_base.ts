/**
 * One base in memory and any number of adapters over it, each a model of its own: what serves and what draws from
 * several adapters at once holds the base once.
 */
import type { Addon, Session, SessionOptions } from '../native/addon.ts';
import { requireMemory } from '../util/memory.ts';
import { importAdapter } from './adapter.ts';
import { loadModel, type ModelFolder } from './load.ts';

/** A session with the weights of a base; adapters come as they are asked for, while answers are being written. */
export class SharedBase {
  readonly session: Session;
  readonly #addon: Addon;
  readonly #options: SessionOptions;
  /** Places of adapters, by folder and sizes: one that could not be read keeps its place for the next attempt. */
  readonly #places = new Map<string, number>();
  #adding: Promise<unknown> = Promise.resolve();

  private constructor(session: Session, addon: Addon, options: SessionOptions) {
    this.session = session;
    this.#addon = addon;
    this.#options = options;
  }

  /** Loads the base; refuses (`out_of_memory`) what would not fit. `what` names it in that refusal. */
  static async open(
    addon: Addon,
    base: ModelFolder,
    options: Omit<SessionOptions, 'architecture' | 'adapters'>,
    what: string,
  ): Promise<SharedBase> {
    const { architecture } = base;
    requireMemory(addon.planSession({ ...options, architecture }).total, what);
    const session = await loadModel(addon, base, options);
    return new SharedBase(session, addon, { ...options, architecture, adapters: [] });
  }

  /** Loads an adapter over this base; gives its number in the session. */
  add(folder: ModelFolder): Promise<number> {
    const added = this.#adding.then(() => this.#add(folder));
    this.#adding = added.catch(() => {});
    return added;
  }

  async #add({ path, adapter }: ModelFolder): Promise<number> {
    const { options } = adapter!;
    const known = this.#options.adapters!;
    const key = JSON.stringify([path, options]);
    let place = this.#places.get(key);
    if (place === undefined) {
      const adapters = [...known, options];
      const grown = this.#addon.planSession({ ...this.#options, adapters }).total;
      requireMemory(grown - this.session.plan().total, `The adapter ${path}`);
      place = await this.session.addAdapter(options);
      known.push(options);
      this.#places.set(key, place);
    }
    await importAdapter(this.session, place, adapter!);
    return place;
  }

  close(): Promise<void> {
    return this.session.close();
  }
}
