/**
 * What a shell may offer for the last word of a command line. The completion scripts call `anneal completion
 * --words ...` on each Tab, so they are a few lines and always of this version. Names of arguments in the commands'
 * usage say what they take: a job, a model, a file.
 */
import type { Argument, Command, Option } from 'commander';
import type { Client } from '../client/client.ts';

export interface Candidate {
  word: string;
  description: string;
}

/** Candidates for the last of `words` (those after `anneal`), and whether files fit there as well. */
export async function complete(
  program: Command,
  words: string[],
  connect: () => Promise<Client>,
): Promise<{ candidates: Candidate[]; files: boolean }> {
  const last = words.at(-1) ?? '';
  const before = words.slice(0, -1);
  const name = before.find((word) => !word.startsWith('-'));
  const command = program.commands.find((each) => each.name() === name);
  if (command === undefined) {
    const commands = program.commands.map((each) => ({ word: each.name(), description: each.summary() }));
    return { candidates: startingWith(last, [...commands, ...optionWords(program)]), files: false };
  }
  const given = before.slice(before.indexOf(name!) + 1);
  const option = command.options.find((each) => isCalled(each, given.at(-1)) && takesValue(each));
  if (option) return forOption(option, last);
  if (last.startsWith('-')) return { candidates: startingWith(last, optionWords(command)), files: false };
  return forArgument(command.registeredArguments, positionals(command, given), last, connect);
}

function isCalled(option: Option, word: string | undefined): boolean {
  return word !== undefined && (word === option.long || word === option.short);
}

function takesValue(option: Option): boolean {
  return option.required || option.optional;
}

function optionWords(command: Command): Candidate[] {
  const own = command.options.map((option) => ({ word: option.long ?? '', description: option.description }));
  return [...own, { word: '--help', description: 'print help' }].filter(({ word }) => word !== '');
}

/** How many of the words are positional arguments. */
function positionals(command: Command, words: string[]): number {
  let count = 0;
  for (let i = 0; i < words.length; i++) {
    const option = command.options.find((each) => isCalled(each, words[i]));
    if (option && takesValue(option)) i++;
    else if (!words[i]!.startsWith('-')) count++;
  }
  return count;
}

function forOption(option: Option, last: string): { candidates: Candidate[]; files: boolean } {
  const choices = (option.argChoices ?? []).map((word) => ({ word, description: '' }));
  return { candidates: startingWith(last, choices), files: option.flags.includes('<folder>') };
}

async function forArgument(
  args: readonly Argument[],
  index: number,
  last: string,
  connect: () => Promise<Client>,
): Promise<{ candidates: Candidate[]; files: boolean }> {
  const argument = args[index] ?? (args.at(-1)?.variadic ? args.at(-1) : undefined);
  if (argument === undefined) return { candidates: [], files: false };
  if (argument.argChoices) {
    const choices = argument.argChoices.map((word) => ({ word, description: '' }));
    return { candidates: startingWith(last, choices), files: false };
  }
  const files = ['recipe', 'file', 'model', 'dataset'].includes(argument.name());
  return { candidates: startingWith(last, await namesFor(argument.name(), connect)), files };
}

/** Jobs or models of the daemon; none where no daemon answers: Tab is no place for an error. */
async function namesFor(argument: string, connect: () => Promise<Client>): Promise<Candidate[]> {
  try {
    if (argument === 'job') {
      const { jobs } = await (await connect()).call('job.list', { limit: 50 });
      return jobs.map(({ id, name, state }) => ({ word: id, description: `${name}, ${state}` }));
    }
    if (argument === 'model') {
      const { models } = await (await connect()).call('model.list', {});
      return models.map(({ name, stage_type }) => ({ word: name, description: stage_type }));
    }
  } catch {
    // Without a daemon there are no names.
  }
  return [];
}

function startingWith(start: string, candidates: Candidate[]): Candidate[] {
  return candidates.filter(({ word }) => word.startsWith(start));
}
