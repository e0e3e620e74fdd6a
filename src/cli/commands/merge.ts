/**
 * `anneal merge`: an adapter into its base, as a model folder. It is a job like any other, of a recipe with one `merge`
 * stage; this prints how exact the merged model is, and copies it to where it is wanted.
 */
import { cp, readdir, rm } from 'node:fs/promises';
import { basename, dirname, join, resolve } from 'node:path';
import { AnnealError, type ErrorBody } from '../../../proto/errors.ts';
import { asFileError, fsyncTree, makeDir, renameDirAtomic } from '../../util/files.ts';
import { defineCommand } from '../command.ts';
import { eventsUntilSettled, withInterrupt } from '../events.ts';
import { modelPath } from '../generation.ts';
import { exitStatus, reportError } from '../output.ts';
import { renderBlock } from '../view/blocks.ts';

interface Options {
  out: string;
}

export default defineCommand<Options>({
  usage: '<model>',
  options: (command) =>
    void command.requiredOption(
      '-o, --out <folder>',
      'where the merged model is to be; empty, or not there yet',
    ),
  examples: [
    ['anneal merge quickstart/dpo-lora --out ./merged', 'a model folder that needs no adapter'],
    ['anneal merge ./my-adapter --out ./merged --json', 'the figures for a script'],
  ],
  async run({ args, options, out, connect }) {
    const client = await connect();
    const target = resolve(options.out);
    await requireEmpty(target);
    const path = await modelPath(client, args[0] ?? '');
    const { job } = await client.call('job.submit', {
      recipe: JSON.stringify({ name: 'merge', stages: { merge: { model: path } } }),
      base_dir: process.cwd(),
      source: `merge ${args.join(' ')}`,
      fresh: false,
    });
    return withInterrupt(async (signal) => {
      let artifact: string | null = null;
      for await (const event of eventsUntilSettled(client, job, { signal })) {
        if (event.kind === 'report') {
          out.value(event.body);
          for (const line of renderBlock(event, { width: out.width(), paint: out.paint, color: false }))
            out.line(line);
        } else if (event.kind === 'stage') artifact = event.body.artifact;
        else if (event.kind === 'state' && event.body.state === 'failed') {
          reportError(AnnealError.fromBody(event.body.error as ErrorBody), out.json);
          return exitStatus.failed;
        } else if (event.kind === 'state' && event.body.state === 'succeeded') {
          const { models } = await client.call('model.list', {});
          const made = models.find(({ hash }) => hash === artifact);
          if (!made) return exitStatus.failed;
          await copyFolder(made.path, target);
          out.line(`The merged model is in ${target}.`);
          return exitStatus.ok;
        }
      }
      return signal.aborted ? exitStatus.interrupted : exitStatus.unfinished;
    });
  },
});

/** All of the folder or nothing of it. */
async function copyFolder(from: string, to: string): Promise<void> {
  const partial = join(dirname(to), `.${basename(to)}.${process.pid}.partial`);
  try {
    await cp(from, partial, { recursive: true, dereference: true });
    await fsyncTree(partial);
    await renameDirAtomic(partial, to);
  } catch (error) {
    await rm(partial, { recursive: true, force: true });
    throw asFileError(error, to);
  }
}

async function requireEmpty(path: string): Promise<void> {
  await makeDir(path);
  if ((await readdir(path)).length === 0) return;
  throw new AnnealError('bad_request', `${path} is not empty.`, {
    path,
    hint: 'Name a folder that is empty or does not exist.',
  });
}
