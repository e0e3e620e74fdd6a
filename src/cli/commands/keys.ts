/** `anneal keys`: the keys by which daemons and clients on different machines know each other. */
import { hostname } from 'node:os';
import { join } from 'node:path';
import { Argument } from 'commander';
import { AnnealError } from '../../../proto/errors.ts';
import { isKey } from '../../../proto/keys.ts';
import { makeDir, writeFileAtomic } from '../../util/files.ts';
import { type CommandContext, defineCommand } from '../command.ts';

interface Options {
  name?: string;
}

const actions = ['list', 'make', 'authorise', 'revoke', 'trust'];

export default defineCommand<Options>({
  options: (command) =>
    void command
      .addArgument(new Argument('[action]', 'what to do').choices(actions).default('list'))
      .addArgument(
        new Argument(
          '[key]',
          'public key of a client (for revoke its name will do); for trust that of a daemon',
        ),
      )
      .option('--name <name>', 'name of the client that is authorised'),
  examples: [
    ['anneal keys', 'public keys of this home, and the clients that may connect'],
    ['anneal keys make', 'make the pair of this client, and print its public key'],
    ["anneal keys authorise 'PUBLIC KEY' --name laptop", 'let a client connect over tcp://'],
    ['anneal keys revoke laptop', 'no longer'],
    ["anneal keys trust 'PUBLIC KEY'", 'on the client: the daemon to expect at $ANNEAL_ADDRESS'],
  ],
  async run(context) {
    const [action = 'list', key] = context.args;
    const folder = join(context.home, 'keys');
    switch (action) {
      case 'make':
        return make(context, folder);
      case 'authorise':
        return authorise(context, folder, required(key, action));
      case 'trust':
        return trust(context, folder, required(key, action));
      case 'revoke':
        return revoke(context, folder, required(key, action));
      default:
        return list(context, folder);
    }
  },
});

function required(key: string | undefined, action: string): string {
  if (key !== undefined) return key;
  throw new AnnealError('bad_request', `anneal keys ${action} needs a public key.`, {
    hint: 'On the other machine, `anneal keys` prints it. Quote it for the shell.',
  });
}

async function make({ out }: CommandContext<Options>, folder: string): Promise<undefined> {
  const { ensureKeyPair, keyFiles } = await import('../../client/keys.ts');
  await makeDir(folder, 0o700);
  const { publicKey } = await ensureKeyPair(keyFiles(folder).client, `Key pair of the client ${hostname()}`);
  out.value({ client: publicKey, folder });
  out.line(`client  ${publicKey}`);
  out.line(out.paint(`in ${folder}; the secret half stays there`, 'dim'));
  return undefined;
}

async function authorise(
  { out, options }: CommandContext<Options>,
  folder: string,
  key: string,
): Promise<undefined> {
  const { authorize } = await import('../../client/keys.ts');
  const name = options.name ?? 'client';
  await makeDir(folder, 0o700);
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

async function trust({ out }: CommandContext<Options>, folder: string, key: string): Promise<undefined> {
  const { keyFiles } = await import('../../client/keys.ts');
  if (!isKey(key)) {
    throw new AnnealError('unauthorized', `'${key}' is not a public key.`, {
      hint: "It has 40 characters; `anneal keys` on the daemon's machine prints it. Quote it for the shell.",
    });
  }
  await makeDir(folder, 0o700);
  await writeFileAtomic(keyFiles(folder).serverPublic, `${key}\n`);
  out.value({ trusted: key });
  out.line('daemons at $ANNEAL_ADDRESS must have this key now');
  return undefined;
}

async function list({ out }: CommandContext<Options>, folder: string): Promise<undefined> {
  const { keyFiles, listAuthorized, readKeyPair, readPublicKey } = await import('../../client/keys.ts');
  const files = keyFiles(folder);
  const unlessMissing = async (read: () => Promise<string>): Promise<string | null> => {
    try {
      return await read();
    } catch (error) {
      if (error instanceof AnnealError && error.code === 'file_not_found') return null;
      throw error;
    }
  };
  const client = await unlessMissing(async () => (await readKeyPair(files.client)).publicKey);
  const server = await unlessMissing(() => readPublicKey(files.serverPublic));
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
