/** `anneal generate`: text that goes on from a prompt. Standard output carries the new text only. */
import { text } from 'node:stream/consumers';
import { defineCommand } from '../command.ts';
import { withInterrupt } from '../events.ts';
import { formatCount, formatDuration } from '../format.ts';
import {
  addSamplingOptions,
  generate,
  modelReference,
  type SamplingOptions,
  samplingOf,
} from '../generation.ts';
import { exitStatus } from '../output.ts';
import { createCleaner } from '../text.ts';

export default defineCommand<SamplingOptions>({
  usage: '<model> [prompt]',
  options: addSamplingOptions,
  examples: [
    ["anneal generate quickstart/pretrain 'The whale'", 'what the model would write next'],
    ['anneal generate ./my-model < prompt.txt', 'a folder; the prompt from a file'],
    ["anneal generate job:j3 'The whale' -t 0", 'the current weights of a running job'],
    ["anneal generate quickstart/sft 'Hi' --json | jq -r .text", 'for a script'],
  ],
  async run({ args, options, out, connect }) {
    const prompt = args[1] ?? (await text(process.stdin));
    const client = await connect();
    const show = createCleaner(out.live);
    return withInterrupt(async (signal) => {
      const completion = await generate(
        client,
        { model: modelReference(args[0]!), prompt, sampling: samplingOf(options) },
        (piece) => {
          if (!out.json) out.raw(show(piece));
        },
        signal,
      );
      out.value(completion);
      out.line();
      if (out.live) {
        const { completion_tokens: tokens, seconds, finish } = completion;
        out.line(out.paint(`${formatCount(tokens)} tokens in ${formatDuration(seconds)} (${finish})`, 'dim'));
      }
      return completion.finish === 'cancelled' ? exitStatus.interrupted : exitStatus.ok;
    });
  },
});
