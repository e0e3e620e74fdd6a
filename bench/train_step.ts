/**
 * One training step of a 110M Llama, float32: the engine and PyTorch eager in turn.
 * Usage: ANNEAL_PEERS_PYTHON=... node bench/train_step.ts [rounds] [sequences] [length] [threads]
 * Prints medians, tokens a second, the share of the BLAS's own speed, peak memory, and the ratio.
 */
import { availableParallelism } from 'node:os';
import { median, startPeers, takeTurns } from './peers.ts';

const [rounds = 5, sequences = 4, length = 512, threads = availableParallelism()] = process.argv
  .slice(2)
  .map(Number);
const peers = startPeers(threads);
const answers = await takeTurns(peers, rounds, { work: 'train_step', sequences, length });
const speeds = await takeTurns(peers, 3, { work: 'matrix_speed' });

console.log(`training step, ${sequences} x ${length} tokens, ${threads} threads, median of ${rounds}`);
const work = answers.get(peers[0]!)![0]!.value;
const medians: number[] = [];
for (const peer of peers) {
  const all = answers.get(peer)!;
  const seconds = median(all.map((answer) => answer.seconds));
  medians.push(seconds);
  const blas = Math.max(...speeds.get(peer)!.map((answer) => answer.value));
  console.log(
    `${peer.name.padEnd(8)} ${seconds.toFixed(2)} s  ${((sequences * length) / seconds).toFixed(0)} tokens/s  ` +
      `${(work / seconds / 1e9).toFixed(0)} GFLOP/s = ${((100 * work) / seconds / blas).toFixed(0)}% of its ` +
      `BLAS's ${(blas / 1e9).toFixed(0)}  peak ${(all.at(-1)!.peak_bytes / 2 ** 30).toFixed(2)} GiB`,
  );
}
if (medians.length > 1) console.log(`anneal is ${(medians[1]! / medians[0]!).toFixed(2)} times as fast`);
for (const peer of peers) peer.end();
