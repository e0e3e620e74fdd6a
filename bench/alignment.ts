/**
 * Alignment and adapters on this machine against TRL, PEFT and transformers, in turn, float32.
 * Usage: ANNEAL_PEERS_PYTHON=... node bench/alignment.ts [NAME|all] [rounds] [threads]
 * NAME: dpo-15m, dpo-110m, grpo-15m, lora-110m, generate-15m, generate-110m. Prints medians, real tokens a second,
 * the ratio, and the peak memory of each process; the engine's also with the copy that a stage holds for its checkpoints.
 */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { availableParallelism, tmpdir } from 'node:os';
import { join } from 'node:path';
import { realTokens, WORKS, type Work } from './alignment_work.ts';
import { median, Peer, takeTurns } from './peers.ts';

/** Share of the peer's peak memory that the engine may take. */
const MEMORY_GOAL = 0.6;
const GIB = 2 ** 30;

const [name = 'all', rounds = '5', threads = String(availableParallelism())] = process.argv.slice(2);
const names = name === 'all' ? Object.keys(WORKS) : [name];
for (const each of names) {
  const make = WORKS[each];
  if (!make) throw new Error(`${each} is no benchmark; there are ${Object.keys(WORKS).join(', ')}`);
  await compare(make(), Number(rounds), Number(threads));
}

async function compare(work: Work, count: number, threadCount: number): Promise<void> {
  const dir = mkdtempSync(join(tmpdir(), 'anneal-bench-'));
  const file = join(dir, 'work.json');
  writeFileSync(file, JSON.stringify(work));
  const here = (script: string) => join(import.meta.dirname, script);
  const peers = [new Peer('anneal', process.execPath, [here('alignment_worker.ts'), file, dir], threadCount)];
  const python = process.env.ANNEAL_PEERS_PYTHON;
  if (python === undefined) console.log('the peer is left out: ANNEAL_PEERS_PYTHON is not set');
  else peers.push(new Peer(peerName(work), python, [here('trl_worker.py'), file, dir], threadCount));
  try {
    const answers = await takeTurns(peers, count, { work: 'step' });
    console.log(`${work.name}, ${threadCount} threads, median of ${count}`);
    const tokens = realTokens(work);
    const figures = peers.map((peer) => {
      const all = answers.get(peer)!;
      const seconds = median(all.map((answer) => answer.seconds));
      const peak = all.at(-1)!.peak_bytes;
      const speed = (tokens / seconds).toFixed(0).padStart(7);
      console.log(
        `${peer.name.padEnd(12)} ${seconds.toFixed(2).padStart(7)} s ${speed} tokens/s  peak ${(peak / GIB).toFixed(2)} GiB`,
      );
      return { seconds, peak, copy: all.at(-1)!.value };
    });
    const [own, other] = figures;
    if (own && other) {
      const withCopy = (own.peak + own.copy) / other.peak;
      console.log(
        `${(other.seconds / own.seconds).toFixed(2)} times as fast (goal ${work.goal}); ` +
          `${(own.peak / other.peak).toFixed(2)} of its memory (goal ${MEMORY_GOAL}), ` +
          `${withCopy.toFixed(2)} with the copy for checkpoints`,
      );
    }
  } finally {
    for (const peer of peers) peer.end();
    rmSync(dir, { recursive: true });
  }
}

function peerName({ task }: Work): string {
  return task === 'lora' ? 'PEFT' : task === 'generate' ? 'transformers' : 'TRL';
}
