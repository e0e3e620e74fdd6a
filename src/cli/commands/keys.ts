/** `anneal keys`: the keys by which daemons and clients on different machines know each other. */
import { hostname } from 'node:os';
import { join } from 'node:path';
import { Argument } from 'commander';
import { AnnealError } from '../../../proto/errors.ts';
import { type CommandContext, defineCommand } from '../command.ts';

interface Options {
  name?: string;
}

const actions = ['list', 'make', 'authorise', 'revoke'];

export default defineCommand<Options>({
  options: (command) =>
    void command
      .addArgument(new Argument('[action]', 'what to do').choices(actions).default('list'))
      .addArgument(new Argument('[key]', 'public key of a client; for revoke its name will do'))
      .option('--name <name>', 'name of the client that is authorised'),
  examples: [
    ['anneal keys', 'public keys of this home, and the clients that may connect'],
    ['anneal keys make', "make the pairs that are missing: this client's, and the daemon's"],
    ["anneal keys authorise 'PUBLIC KEY' --name laptop", 'let a client connect over tcp://'],
    ['anneal keys revoke laptop', 'no longer'],
  ],
  async run(context) {
    const [action = 'list', key] = context.args;
    const folder = join(context.home, 'keys');
    switch (action) {
      case 'make':
        return make(context, folder);
      case 'authorise':
        return authorise(context, folder, required(key, action));
      case 'revoke':
        return revoke(context, folder, required(key, action));
      default:
        return list(context, folder);
    }
  },
});

function required(key: string | undefined, action: string): string {
  if (key !== undefined) return key;
  throw new AnnealError('bad_request', `anneal keys ${action} needs the public key of a client.`, {
    hint: 'On the client, `anneal keys` prints it. Quote it for the shell.',
  });
}

async function make({ out }: CommandContext<Options>, folder: string): Promise<undefined> {
  const { ensureKeyPair, keyFiles } = await import('../../client/keys.ts');
  const files = keyFiles(folder);
  const client = await ensureKeyPair(files.client, `Key pair of the client ${hostname()}`);
  const server = await ensureKeyPair(files.server, `Key pair of the daemon on ${hostname()}`);
  out.value({ client: client.publicKey, server: server.publicKey, folder });
  out.line(`client  ${client.publicKey}`);
  out.line(`daemon  ${server.publicKey}`);
  out.line(out.paint(`in ${folder}; the secret halves stay there`, 'dim'));
  return undefined;
}

async function authorise(
  { out, options }: CommandContext<Options>,
  folder: string,
  key: string,
): Promise<undefined> {
  const { authorize } = await import('../../client/keys.ts');
  const name = options.name ?? 'client';
  await authorize(folder, key, name);
  out.value({ authorised: key, name });
  out.line(`${name} may connect; a running daemon heeds it at once`);
  return undefined;
}

async function revoke({ out }: CommandContext<Options>, folder: string, key: string): Promise<undefined> {
  const keys = await import('../../client/keys.ts');
  if (!(await keys.revoke(folder, key))) {
    throw new AnnealError('unauthorized', `No client has the key or name ${key}.`, {
      hint: 'anneal keys lists them.',
      path: keys.keyFiles(folder).authorized,
    });
  }
  out.value({ revoked: key });
  out.line(`${key} may no longer connect`);
  return undefined;
}

async function list({ out }: CommandContext<Options>, folder: string): Promise<undefined> {
  const { keyFiles, listAuthorized, readKeyPair } = await import('../../client/keys.ts');
  const files = keyFiles(folder);
  const publicKey = async (path: string): Promise<string | null> => {
    try {
      return (await readKeyPair(path)).publicKey;
    } catch (error) {
      if (error instanceof AnnealError && error.code === 'file_not_found') return null;
      throw error;
    }
  };
  const client = await publicKey(files.client);
  const server = await publicKey(files.server);
  const authorised = await listAuthorized(folder);
  out.value({
    client,
    server,
    authorised: authorised.map(({ publicKey: key, name }) => ({ key, name })),
    folder,
  });
  if (client === null && server === null) out.line('No keys yet. Make them with: anneal keys make');
  if (client !== null) out.line(`client  ${client}`);
  if (server !== null) out.line(`daemon  ${server}`);
  for (const { publicKey: key, name } of authorised) out.line(`may connect  ${key}  ${name}`);
  return undefined;
}
