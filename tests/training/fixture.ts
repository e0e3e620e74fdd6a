/** A tiny corpus and recipe that train in seconds, and a run of a recipe inside of the test's own process. */
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, relative } from 'node:path';
import type { ErrorBody } from '../../proto/errors.ts';
import type { EventBody, EventKind } from '../../proto/events.ts';
import type { FromWorker, GenerateRequest, RecipeSource } from '../../proto/worker.ts';
import { loadAddon } from '../../src/native/addon.ts';
import type { StopReason, WorkerChannel } from '../../src/worker/channel.ts';
import { runRecipe } from '../../src/worker/job.ts';

const NAMES = ['Anna', 'Ben', 'Clara', 'David', 'Emma', 'Felix', 'Greta', 'Hugo', 'Ida', 'Jonas'];
const TOWNS = ['Aachen', 'Bremen', 'Celle', 'Dresden', 'Essen', 'Fulda', 'Gotha', 'Halle', 'Jena', 'Kiel'];
const TRADES = [
  'baker',
  'carpenter',
  'doctor',
  'farmer',
  'gardener',
  'painter',
  'singer',
  'tailor',
  'teacher',
];

/** A folder with data and an empty home; `remove` deletes it. */
export interface Fixture {
  dir: string;
  home: string;
  remove(): void;
}

/** Writes corpus.jsonl, chats.jsonl and questions.jsonl. */
export function makeFixture(): Fixture {
  const dir = mkdtempSync(join(tmpdir(), 'anneal-training-'));
  const people = NAMES.flatMap((name, i) =>
    TOWNS.map((town, j) => ({ name, town, trade: TRADES[(i * 7 + j * 3) % TRADES.length]! })),
  );
  const lines = (rows: unknown[]) => `${rows.map((row) => JSON.stringify(row)).join('\n')}\n`;
  writeFileSync(
    join(dir, 'corpus.jsonl'),
    lines(
      people.map(({ name, town, trade }) => ({
        text: `${name} lives in ${town}. ${name} of ${town} is a ${trade}. Who is a ${trade} in ${town}? It is ${name}.`,
      })),
    ),
  );
  writeFileSync(
    join(dir, 'chats.jsonl'),
    lines(
      people.map(({ name, town, trade }) => ({
        messages: [
          { role: 'user', content: `What is ${name} of ${town}?` },
          { role: 'assistant', content: `${name} is a ${trade}.` },
        ],
      })),
    ),
  );
  writeFileSync(
    join(dir, 'questions.jsonl'),
    lines(
      people.slice(0, 12).map(({ name, town, trade }, i) => ({
        prompt: `What is ${name} of ${town}?`,
        answer: trade,
        split: i % 2 === 0 ? 'known' : 'unseen',
      })),
    ),
  );
  const home = join(dir, 'home');
  mkdirSync(home);
  // A speed as if it had been measured: measuring takes longer than the training here.
  const { blas } = loadAddon().machineInfo();
  writeFileSync(join(home, 'machine.json'), JSON.stringify({ blas, matrix_speed: { 2: 1e11 } }));
  return { dir, home, remove: () => rmSync(dir, { recursive: true, force: true }) };
}

/** Settings of the stages as far as the tests vary them. */
export interface RecipeOptions {
  pretrain?: string[];
  sft?: string[];
  evaluate?: boolean;
}

/** A recipe over the fixture: one line of YAML for each extra setting. */
export function recipeText(options: RecipeOptions = {}): string {
  const extra = (settings: string[] | undefined) => (settings ?? []).map((line) => `    ${line}`);
  return [
    'name: tiny',
    'seed: 7',
    'threads: 2',
    'stages:',
    '  tokenizer:',
    '    files: [corpus.jsonl]',
    '    vocab_size: 400',
    '  prepare:',
    '    sources: [{ files: [corpus.jsonl] }]',
    '    validation_fraction: 0.1',
    '  pretrain:',
    '    dataset: prepare',
    '    model:',
    '      hidden_size: 32',
    '      num_hidden_layers: 2',
    '      num_attention_heads: 4',
    '      num_key_value_heads: 2',
    '      max_position_embeddings: 96',
    '    per_device_train_batch_size: 2',
    '    gradient_accumulation_steps: 3',
    ...extra(
      withDefault(
        withDefault(options.pretrain ?? ['max_steps: 12'], 'learning_rate: 5e-3'),
        'too_long: split',
      ),
    ),
    ...(options.sft
      ? ['  sft:', '    model: pretrain', '    dataset: chats.jsonl', ...extra(options.sft)]
      : []),
    ...(options.evaluate
      ? [
          '  evaluate:',
          '    models: { base: pretrain, assistant: sft }',
          '    dataset: questions.jsonl',
          '    group_by: split',
          '    max_new_tokens: 12',
          "    rates: { question: '\\?' }",
        ]
      : []),
    '',
  ].join('\n');
}

/** The lines, and `line` if none of them sets its key. */
function withDefault(lines: string[], line: string): string[] {
  const key = line.slice(0, line.indexOf(':') + 1);
  return lines.some((each) => each.startsWith(key)) ? lines : [...lines, line];
}

export function recipeSource(fixture: Fixture, text: string): RecipeSource {
  return { text, base_dir: fixture.dir, source: 'tiny.yaml', set: [] };
}

/** A channel that keeps what the worker sends. */
export class TestChannel implements WorkerChannel {
  readonly sent: FromWorker[] = [];
  /** Called with each message; may ask to stop. */
  onMessage: (message: FromWorker) => void = () => {};
  /** Called as each engine call begins. */
  onCall: () => void = () => {};
  #stop: (reason: StopReason) => void = () => {};
  #generate: (request: GenerateRequest) => void = () => {};
  #cancel: (request: string) => void = () => {};

  send(message: FromWorker): void {
    this.sent.push(message);
    this.onMessage(message);
  }
  onStop(callback: (reason: StopReason) => void): void {
    this.#stop = callback;
  }
  onGenerate(callback: (request: GenerateRequest) => void): void {
    this.#generate = callback;
  }
  onCancelGenerate(callback: (request: string) => void): void {
    this.#cancel = callback;
  }
  async flush(): Promise<void> {}
  track<T>(call: Promise<T>): Promise<T> {
    this.onCall();
    return call;
  }
  stop(): void {
    this.#stop('pause');
  }
  generate(request: GenerateRequest): void {
    this.#generate(request);
  }
  cancel(request: string): void {
    this.#cancel(request);
  }

  events<K extends EventKind>(kind: K): { body: EventBody<K>; key: string | undefined }[] {
    return this.sent.flatMap((message) =>
      message.type === 'event' && message.kind === kind
        ? [{ body: message.body as EventBody<K>, key: message.key }]
        : [],
    );
  }
  /** Notices that are more than information. */
  warnings(): { body: EventBody<'notice'>; key: string | undefined }[] {
    return this.events('notice').filter(({ body }) => body.level !== 'info');
  }
  outcome(): { outcome: string; error: ErrorBody | null } {
    const last = this.sent.findLast((message) => message.type === 'done');
    if (last?.type !== 'done') throw new Error('the worker has not ended');
    return { outcome: last.outcome, error: last.error };
  }
}

/** Runs a recipe in this process. `during` gets the channel before it starts. */
export async function runHere(
  fixture: Fixture,
  text: string,
  options: {
    job?: string;
    fresh?: boolean;
    selftest?: string[];
    during?: (channel: TestChannel) => void;
  } = {},
): Promise<TestChannel> {
  const channel = new TestChannel();
  options.during?.(channel);
  await runRecipe(
    {
      task: 'recipe',
      job: options.job ?? 'j1',
      name: 'tiny',
      home: fixture.home,
      recipe: recipeSource(fixture, text),
      fresh: options.fresh ?? false,
      attempt: 1,
      failed: {},
      selftest: options.selftest ?? null,
    },
    channel,
  );
  return channel;
}

/** Folder of a model that a job of the fixture has made. */
export function modelFolder(fixture: Fixture, stage: string): string {
  return join(fixture.home, 'models', 'tiny', stage);
}

/** Content of the files below a folder by relative name, those that carry times left out. */
export function folderContent(dir: string): Map<string, Buffer> {
  const content = new Map<string, Buffer>();
  for (const entry of readdirSync(dir, { recursive: true, withFileTypes: true })) {
    if (!entry.isFile() || entry.name === 'artifact.json') continue;
    const path = join(entry.parentPath, entry.name);
    content.set(relative(dir, path), readFileSync(path));
  }
  return content;
}

/** Names of the files in which two folders differ. */
export function differences(a: string, b: string): string[] {
  const [left, right] = [folderContent(a), folderContent(b)];
  const names = new Set([...left.keys(), ...right.keys()]);
  return [...names].filter((name) => !left.get(name)?.equals(right.get(name) ?? Buffer.alloc(0)));
}
