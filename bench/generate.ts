/**
 * Greedy generation with a 110M Llama, float32: the engine and transformers' `generate` in turn.
 * Usage: ANNEAL_PEERS_PYTHON=... node bench/generate.ts [rounds] [new tokens] [threads]
 * Prints medians at batch 1 and 16, and the ratio.
 */
import { availableParallelism } from 'node:os';
import { median, startPeers, takeTurns } from './peers.ts';

const [rounds = 5, newTokens = 64, threads = availableParallelism()] = process.argv.slice(2).map(Number);
const promptLength = 32;
const peers = startPeers(threads);
for (const prompts of [1, 16]) {
  const answers = await takeTurns(peers, rounds, {
    work: 'generate',
    prompts,
    prompt_length: promptLength,
    new_tokens: newTokens,
  });
  console.log(
    `generation, batch ${prompts}, prompts of ${promptLength}, ${newTokens} new tokens each, ${threads} threads, ` +
      `median of ${rounds}`,
  );
  const medians: number[] = [];
  for (const peer of peers) {
    const seconds = median(answers.get(peer)!.map((answer) => answer.seconds));
    medians.push(seconds);
    console.log(`${peer.name.padEnd(8)} ${((prompts * newTokens) / seconds).toFixed(1)} tokens/s`);
  }
  if (medians.length > 1) console.log(`anneal is ${(medians[1]! / medians[0]!).toFixed(2)} times as fast`);
}
for (const peer of peers) peer.end();
