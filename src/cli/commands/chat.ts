/**
 * `anneal chat`: a conversation with a model, by its own chat template. On a terminal answers stream and Ctrl-C
 * stops one; from a pipe each line is a message. `--json` prints an object per answer.
 */
import { createInterface, type Interface } from 'node:readline';
import { toAnnealError } from '../../../proto/errors.ts';
import type { CommandContext } from '../command.ts';
import { defineCommand } from '../command.ts';
import { type Conversation, createConversation, slashCommand } from '../conversation.ts';
import {
  addSamplingOptions,
  jsonObject,
  modelReference,
  type SamplingOptions,
  samplingOf,
} from '../generation.ts';
import { exitStatus, reportError } from '../output.ts';
import { createCleaner } from '../text.ts';

interface Options extends SamplingOptions {
  system?: string;
  chatTemplateKwargs?: Record<string, unknown>;
}

export default defineCommand<Options>({
  usage: '<model>',
  options: (command) => {
    command.option('--system <text>', 'what the model is told before the conversation');
    command.option('--chat-template-kwargs <json>', 'variables for the chat template, an object', jsonObject);
    addSamplingOptions(command);
  },
  examples: [
    ['anneal chat quickstart/sft', 'talk; /help lists the commands, Ctrl-C stops an answer'],
    ['anneal chat ./my-model -t 0', 'a model folder; always the likeliest answer'],
    [
      `anneal chat ./qwen3 --chat-template-kwargs '{"enable_thinking": false}'`,
      'what the template of the model asks for',
    ],
    ['anneal chat job:j3', 'the current weights of a running job'],
    ["echo 'What is the capital of France?' | anneal chat quickstart/sft", 'one message a line'],
  ],
  async run(context) {
    const { args, options, out, connect } = context;
    const model = modelReference(args[0]!);
    const client = await connect();
    const conversation = createConversation(client, model, askingOf(options), options.system);
    const interactive = Boolean(process.stdin.isTTY);
    const lines = createInterface({
      input: process.stdin,
      // With --json standard output is for programs.
      output: interactive ? (out.json ? process.stderr : process.stdout) : undefined,
      prompt: out.paint('> ', 'cyan', 'bold'),
    });
    if (interactive) out.line(out.paint(`${args[0]} · /help for commands, Ctrl-D leaves`, 'dim'));
    return talk(context, conversation, lines, interactive);
  },
});

function askingOf(options: Options): Parameters<typeof createConversation>[2] {
  const { chatTemplateKwargs } = options;
  return {
    sampling: samplingOf(options),
    ...(chatTemplateKwargs && { chat_template_kwargs: chatTemplateKwargs }),
  };
}

async function talk(
  { out }: CommandContext<Options>,
  conversation: Conversation,
  lines: Interface,
  interactive: boolean,
): Promise<number> {
  let answering: AbortController | undefined;
  let interrupted = false;
  const interrupt = () => {
    if (answering) answering.abort();
    if (answering && interactive) return;
    interrupted = true;
    lines.close();
  };
  // In raw mode the terminal sends no signal: readline sees the key.
  lines.on('SIGINT', interrupt);
  process.on('SIGINT', interrupt);
  const show = createCleaner(out.live);
  try {
    if (interactive) lines.prompt();
    for await (const line of lines) {
      const message = line.trim();
      const done = slashCommand(message, conversation);
      if (done?.leave) break;
      if (done) out.line(out.paint(done.say, 'dim'));
      else if (message !== '') {
        answering = new AbortController();
        try {
          const completion = await conversation.ask(
            message,
            (piece) => {
              if (!out.json) out.raw(show(piece));
            },
            answering.signal,
          );
          out.value({ prompt: message, ...completion });
          out.line(completion.finish === 'cancelled' ? out.paint(' (stopped)', 'dim') : '');
        } catch (error) {
          // A person can mend it and go on; a pipe would run into the same error line after line.
          if (!interactive || toAnnealError(error).code === 'daemon_not_running') throw error;
          reportError(error, out.json);
        }
        answering = undefined;
      }
      if (interrupted) break;
      if (interactive) lines.prompt();
    }
    // After Ctrl-D or Ctrl-C the shell's prompt starts a line of its own.
    if (interactive) out.line();
    return interrupted ? exitStatus.interrupted : exitStatus.ok;
  } finally {
    process.off('SIGINT', interrupt);
    lines.close();
  }
}
