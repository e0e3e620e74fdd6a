/** The engine's side of the benchmarks: answers requests on stdin. Usage: engine_worker.ts THREADS */
import { readFileSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { type Batch, loadAddon, type Session, type SessionOptions } from '../src/native/addon.ts';
import { benchArchitecture, M110 } from './model.ts';
import type { Request } from './peers.ts';

const threads = Number(process.argv[2]);
const addon = loadAddon();
const sessions = new Map<string, Session>();
let steps = 0;

/** One session at a time, made for the request's sizes. */
async function session(sizes: Partial<SessionOptions>): Promise<Session> {
  const key = JSON.stringify(sizes);
  const existing = sessions.get(key);
  if (existing !== undefined) return existing;
  for (const other of sessions.values()) await other.close();
  sessions.clear();
  const made = await addon.createSession({
    architecture: benchArchitecture(M110),
    threads,
    trainable: false,
    maxTokens: 512,
    maxSequences: 1,
    maxScored: 1,
    recompute: false,
    generationSlots: 0,
    generationLength: 0,
    ...sizes,
  });
  await made.initWeights(1, 0.02);
  sessions.set(key, made);
  return made;
}

const ids = (count: number) =>
  Int32Array.from({ length: count }, () => Math.floor(Math.random() * M110.vocab_size));

/** Full sequences; every row is scored against the next id of a row one longer, as a trainer does. */
function makeBatch(sequences: number, length: number): Batch {
  const rows = sequences * length;
  return {
    tokens: ids(rows),
    cuSeqlens: Int32Array.from({ length: sequences + 1 }, (_, s) => s * length),
    scored: Int32Array.from({ length: rows }, (_, row) => row),
    targets: ids(rows),
  };
}

async function trainStep(sequences: number, length: number): Promise<number> {
  const rows = sequences * length;
  const engine = await session({
    trainable: true,
    maxTokens: rows,
    maxSequences: sequences,
    maxScored: rows,
  });
  const batch = makeBatch(sequences, length);
  const start = performance.now();
  await engine.forwardBackward(batch, new Float32Array(rows).fill(1 / rows));
  steps++;
  await engine.step({
    learningRate: 1e-4,
    beta1: 0.9,
    beta2: 0.95,
    epsilon: 1e-8,
    weightDecay: 0.1,
    maxGradNorm: 1,
    step: steps,
  });
  return (performance.now() - start) / 1000;
}

async function generate(prompts: number, promptLength: number, newTokens: number): Promise<number> {
  const engine = await session({ generationSlots: prompts, generationLength: promptLength + newTokens });
  const texts = Array.from({ length: prompts }, () => ids(promptLength));
  const start = performance.now();
  const sampling = {
    maxNewTokens: newTokens,
    temperature: 0,
    topK: 0,
    topP: 1,
    minP: 0,
    repetitionPenalty: 1,
    seed: 0,
    stopTokens: new Int32Array(),
  };
  await engine.generate(texts.map((prompt) => ({ prompt, samples: 1, sampling })));
  return (performance.now() - start) / 1000;
}

for await (const line of createInterface(process.stdin)) {
  const request = JSON.parse(line) as Request;
  let seconds = 0;
  let value = 0;
  if (request.work === 'train_step') {
    seconds = await trainStep(request.sequences, request.length);
    // Work of the step, for the share of the machine's speed.
    value = [...sessions.values()][0]!.plan().trainFlopsPerToken * request.sequences * request.length;
  } else if (request.work === 'generate') {
    seconds = await generate(request.prompts, request.prompt_length, request.new_tokens);
  } else if (request.work === 'matrix_speed') {
    value = await addon.measureMatrixSpeed(threads);
  }
  const peak = /VmHWM:\s+(\d+)/.exec(readFileSync('/proc/self/status', 'utf8'))?.[1];
  console.log(JSON.stringify({ seconds, value, peak_bytes: Number(peak) * 1024 }));
}
for (const open of sessions.values()) await open.close();
