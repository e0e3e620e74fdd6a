/** What a handler is. One file a command exports one; `index.ts` lists them, typed by the protocol. */
import type { CommandName, CommandReply, CommandRequest, Job } from '../../../proto/commands.ts';
import type { HomeLayout } from '../../../proto/home.ts';
import type { ArtifactStore } from '../../artifacts/store.ts';
import type { Generations } from '../generations.ts';
import type { OneShots } from '../one-shots.ts';
import type { Rankings } from '../rankings.ts';
import type { Store } from '../store.ts';
import type { Supervisor } from '../supervisor.ts';

/** The parts of the daemon that handlers work with. */
export interface Services {
  home: HomeLayout;
  store: Store;
  artifacts: ArtifactStore;
  supervisor: Supervisor;
  generations: Generations;
  oneShots: OneShots;
  rankings: Rankings;
  startedAt: number;
  /** Begins to go down, after the reply. */
  shutDown(): void;
}

export interface RequestContext {
  requestId: string;
  /** Of the body: an id stands for one request. */
  digest: string;
  /** Address of the event socket that belongs to the command socket the request came on. */
  events: string;
}

export type Handler<C extends CommandName> = (
  request: CommandRequest<C>,
  services: Services,
  context: RequestContext,
) => CommandReply<C> | Promise<CommandReply<C>>;

/** Changes a job and remembers the request in one transaction: sent again, it finds what it did. */
export function changeOnce(services: Services, context: RequestContext, change: () => Job): { job: Job } {
  const { store } = services;
  return store.transaction(() => {
    const job = change();
    store.saveAnswered(context.requestId, context.digest, job.id);
    return { job };
  });
}
