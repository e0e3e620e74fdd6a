/**
 * The commands against a real daemon that runs a small real recipe: a tokenizer, a model of a few thousand weights,
 * a fine-tuned one and an evaluation.
 */
import { execFile } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { anneal, cacheFolder, startAnneal } from './process.ts';

const folder = mkdtempSync(join(tmpdir(), 'anneal-cli-'));
const home = join(folder, 'home');
const run = (...args: string[]) => anneal(args, { home });
const json = async (...args: string[]) => JSON.parse((await run(...args, '--json')).stdout);
const lines = (text: string) => text.trim().split('\n');
const path = (name: string) => join(folder, name);

const template =
  '{% if refused is defined %}{{ raise_exception(refused) }}{% endif %}' +
  "{% for m in messages %}{% if m.role == 'assistant' %}{% generation %}{{ m.content }}{{ eos_token }}" +
  '{% endgeneration %}{% else %}{{ m.content }}\\n{% endif %}{% endfor %}';
const recipe = `name: tiny
seed: 7
threads: 1
stages:
  tokenizer: { files: [text.txt], vocab_size: 300 }
  prepare: { tokenizer: tokenizer, files: [text.txt], text_unit: line }
  pretrain:
    dataset: prepare
    too_long: split
    model: { hidden_size: 32, num_hidden_layers: 1, num_attention_heads: 2, max_position_embeddings: 64 }
    per_device_train_batch_size: 4
    max_steps: 30
    eval_steps: 10
    sample_steps: 15
    sample_prompts: [Question]
  sft: { model: pretrain, dataset: chat.jsonl, max_steps: 10, chat_template: "${template}" }
  evaluate: { models: { base: pretrain, assistant: sft }, dataset: questions.jsonl }
`;

beforeAll(async () => {
  const numbers = Array.from({ length: 200 }, (_, i) => i);
  const question = (i: number) => `What follows ${i}?`;
  const jsonl = (rows: unknown[]) => rows.map((row) => `${JSON.stringify(row)}\n`).join('');
  writeFileSync(
    path('text.txt'),
    numbers.map((i) => `Question: ${question(i)} Answer: ${i + 1}.\n`).join(''),
  );
  writeFileSync(
    path('chat.jsonl'),
    jsonl(
      numbers.map((i) => ({
        messages: [
          { role: 'user', content: question(i) },
          { role: 'assistant', content: `${i + 1}.` },
        ],
      })),
    ),
  );
  const asked = numbers.slice(0, 8);
  writeFileSync(
    path('questions.jsonl'),
    jsonl(asked.map((i) => ({ prompt: question(i), answer: `${i + 1}.` }))),
  );
  writeFileSync(path('texts.jsonl'), jsonl(asked.map((i) => ({ text: question(i) }))));
  writeFileSync(path('recipe.yaml'), recipe);
  const up = await run('up');
  expect(up.stderr).toBe('');
  expect(up.stdout).toContain('started');
}, 60_000);

afterAll(async () => {
  await run('down');
  rmSync(folder, { recursive: true, force: true });
}, 60_000);

describe('the daemon', { timeout: 60_000 }, () => {
  test('up again says that it runs; status and doctor answer', async () => {
    expect(await json('up')).toMatchObject({ started: false, home });
    expect(await json('status')).toMatchObject({ home, devices: [{ device: 'cpu' }] });
    expect((await run('status')).stdout).toMatch(/^anneald .*\nhome .*\nmemory .*\ncpu /);
    const { checks } = await json('doctor');
    const doctor = await run('doctor');
    expect(doctor.stdout).toContain('matrix speed');
    expect(doctor.status).toBe(checks.every(({ ok }: { ok: boolean }) => ok) ? 0 : 1);
  });

  test('down ends it, up starts it again', async () => {
    const { pid } = await json('status');
    expect(await json('down')).toEqual({ stopped: true, pid });
    expect((await run('status')).status).toBe(3);
    expect(await json('up')).toMatchObject({ started: true });
  });

  test('up in a home that cannot be: the words of the daemon, and no endless wait', async () => {
    writeFileSync(path('file'), '');
    const { status, stderr } = await anneal(['up'], { home: path('file') });
    expect(status).not.toBe(0);
    expect(stderr).toMatch(/error: /);
  });
});

describe('a job', { timeout: 120_000 }, () => {
  test('plan, run, watch afterwards, models', async () => {
    const plan = await run('plan', path('recipe.yaml'));
    expect(plan.stdout).toMatch(/pretrain +pretrain +\S+ [kM]B/);
    expect(plan.status).toBe(0);

    const first = await run('run', path('recipe.yaml'));
    expect(first.stderr).toBe('');
    expect(first.status).toBe(0);
    const said = lines(first.stdout);
    expect(said[0]).toBe('tiny (j1): queued');
    for (const stage of ['tokenizer', 'prepare', 'pretrain', 'sft', 'evaluate']) {
      expect(said.filter((line) => /^\[\d\/5\]/.test(line)).join('\n')).toContain(`${stage}: finished`);
    }
    expect(first.stdout).toContain('── sft: audit');
    expect(first.stdout).toMatch(/│ What follows 0\?\n│ \[1\./);
    expect(first.stdout).toMatch(/pretrain: sample at step 15/);
    expect(first.stdout).toMatch(/model +rows +exact_match/);
    expect(said.at(-1)).toMatch(/^succeeded in .* anneal chat tiny\/sft$/);

    // Watching afterwards tells the same.
    expect((await run('watch', 'j1')).stdout).toBe(first.stdout);
    expect((await run('watch')).stdout).toBe(first.stdout);
    const events = lines((await run('watch', 'tiny', '--json')).stdout).map((line) => JSON.parse(line));
    expect(events.map(({ seq }) => seq)).toEqual(events.map((_, i) => i + 1));
    const late = lines((await run('watch', 'tiny', '--json', '--since', '10')).stdout);
    expect(late.map((line) => JSON.parse(line))).toEqual(events.slice(10));

    const { models } = await json('models');
    expect(models.map(({ name }: { name: string }) => name).sort()).toEqual(['tiny/pretrain', 'tiny/sft']);
    expect((await json('jobs')).jobs).toMatchObject([{ id: 'j1', state: 'succeeded' }]);
    expect((await run('jobs', '--state', 'failed')).stdout).toContain('No jobs');
    expect((await run('logs', 'j1')).stdout).toMatch(/info {2,}running\n/);
  });

  test('a second run takes over what is done; --fresh does not; --set changes it', async () => {
    const phases = async (...args: string[]) =>
      lines((await run('run', path('recipe.yaml'), '--json', ...args)).stdout)
        .map((line) => JSON.parse(line))
        .filter(({ kind, body }) => kind === 'stage' && body.phase !== 'started')
        .map(({ body }) => body.phase);
    expect(new Set(await phases())).toEqual(new Set(['reused']));
    expect(await phases('--set', 'stages.sft.learning_rate=1e-4')).toEqual([
      ...Array(3).fill('reused'),
      ...Array(2).fill('finished'),
    ]);
    expect(new Set(await phases('--fresh'))).toEqual(new Set(['finished']));
  });

  test('generate, chat and evaluate', async () => {
    const options = ['-t', '0', '-m', '6'];
    const { stdout } = await run('generate', 'tiny/pretrain', 'Question', ...options);
    expect(await json('generate', 'tiny/pretrain', 'Question', ...options)).toMatchObject({
      text: stdout.slice(0, -1),
      prompt_tokens: expect.any(Number),
    });
    const piped = await anneal(['generate', 'tiny/pretrain', ...options], { home, input: 'Question' });
    expect(piped.stdout).toBe(stdout);

    const chat = await anneal(['chat', 'tiny/sft', ...options, '--json'], {
      home,
      input: 'What follows 3?\n\nAnd then?\n/reset\nWhat follows 3?\n',
    });
    expect(chat.status).toBe(0);
    const answers = lines(chat.stdout).map((line) => JSON.parse(line));
    expect(answers.map(({ prompt }) => prompt)).toEqual(['What follows 3?', 'And then?', 'What follows 3?']);
    expect(answers[1].prompt_tokens).toBeGreaterThan(answers[0].prompt_tokens);
    expect(answers[2]).toMatchObject({ text: answers[0].text, prompt_tokens: answers[0].prompt_tokens });

    const report = await json('evaluate', 'tiny/sft', path('questions.jsonl'), '-m', '4', '--examples', '1');
    expect(report.columns).toContain('exact_match');
    expect(report.rows[0].slice(0, 2)).toEqual(['tiny/sft', 8]);
    expect(report.examples).toHaveLength(1);
    expect((await run('evaluate', 'tiny/pretrain', path('texts.jsonl'))).stdout).toMatch(/perplexity/);
    const variables = ['--chat-template-kwargs', '{"refused": "not today"}'];
    const refused = await run('evaluate', 'tiny/sft', path('questions.jsonl'), ...variables);
    expect([refused.status, refused.stderr]).toEqual([1, expect.stringContaining('not today')]);
    expect((await run('evaluate', 'tiny/none', path('texts.jsonl'))).status).toBe(4);
    expect((await run('generate', 'tiny/none', 'x')).stderr).toContain('(model_not_found)');
  });

  test('data: raw files and the dataset of a stage, as text, JSON and HTML', async () => {
    const inspected = await run('data', 'inspect', path('chat.jsonl'), '--model', 'tiny/sft', '-n', '1');
    expect(inspected.stdout).toMatch(/^rows +200$/m);
    expect(inspected.stdout).toMatch(/^│ \[1\..*\]$/m);
    const page = await json('data', 'stats', 'tiny/prepare', '--html', path('page.html'));
    expect(page.sections[0].facts[0]).toEqual({ name: 'documents', value: 200 });
    expect(readFileSync(path('page.html'), 'utf8')).toContain('<h1>tiny/prepare</h1>');
    expect((await run('data', 'grep', 'follows 17\\?', 'tiny/prepare')).stdout).toMatch(
      /text\.txt:18\n│ .*\[follows 17/,
    );
    expect((await run('data', 'sample', path('chat.jsonl'), '-n', '2')).stdout).toMatch(/2 of 200/);
    const trace = await json('data', 'trace', 'text.txt:18', 'tiny/prepare');
    const trained = trace.sections.find((each: { title: string }) => each.title === 'Trained on by');
    expect(trained.rows.map((row: string[]) => row[0])).toEqual(['tiny/pretrain']);
    const options = ['--tokenizer', 'tiny/sft', '--set', 'text_unit=line', '--work-dir', path('work')];
    const prepare = (...more: string[]) => run('data', 'prepare', path('text.txt'), ...options, ...more);
    expect((await prepare('--part', '1/2', '--name', 'part')).status).toBe(0);
    expect((await prepare('--name', 'whole')).status).toBe(0);
    const whole = await json('data', 'stats', 'whole/prepare');
    expect(whole.sections[0].facts[0]).toEqual({ name: 'documents', value: 200 });
    expect((await prepare('--part', '3/2')).stderr).toMatch(/part/);
    expect((await run('data', 'diff', path('chat.jsonl'), path('text.txt'))).stdout).toMatch(/Only in/);
    const refused = await run('data', 'diff', path('chat.jsonl'));
    expect([refused.status, refused.stderr]).toEqual([4, expect.stringContaining('diff compares two')]);
  });

  test('a recipe that is wrong is refused before anything starts', async () => {
    const { status, stderr } = await run(
      'run',
      path('recipe.yaml'),
      '--set',
      'stages.pretrain.learning_rat=1',
    );
    expect(status).toBe(4);
    expect(stderr).toMatch(
      /stages\.pretrain\.learning_rat is not a known key.*\n.*\n {2}fix: Did you mean learning_rate\?/,
    );
  });

  test('a job that fails: exit status 1 and its error', async () => {
    writeFileSync(path('broken.jsonl'), '{"messages": 3}\n');
    const set = ['--set', 'stages.sft.dataset=broken.jsonl'];
    const { status, stdout } = await run('run', path('recipe.yaml'), ...set);
    expect(status).toBe(1);
    expect(stdout).toMatch(/error: .*broken\.jsonl:1[\s\S]*evaluate was not run: it needs sft\. \(data_/);
  });

  test('selftest: a table and exit status 0; one object as JSON', async () => {
    const { status, stdout } = await run('selftest', path('recipe.yaml'), '--stage', 'sft');
    expect(stdout).toContain('Self-test of sft');
    expect(stdout).toMatch(/sampler and trainer: log-probs +pass/);
    expect(lines(stdout).at(-1)).toMatch(/^succeeded in [\d.]+s$/);
    expect(status).toBe(0);
    const all = await json('selftest', path('recipe.yaml'));
    expect(all).toMatchObject({ ok: true, error: null, stages: [{ stage: 'pretrain' }, { stage: 'sft' }] });
    for (const { ok, difference, bound } of all.stages[0].checks) {
      expect(ok).toBe(true);
      expect(difference).toBeLessThanOrEqual(bound);
    }
    const wrong = await run('selftest', path('recipe.yaml'), '--stage', 'evaluate');
    expect(wrong.status).toBe(1);
    expect(wrong.stdout).toContain('trains nothing that could be tested');
  });

  test('Ctrl-C detaches; pause, resume and cancel end a watch with the outcome', async () => {
    const long = ['--set', 'stages.pretrain.max_steps=1000000', '--set', 'name=long'];
    const running = startAnneal(['run', path('recipe.yaml'), ...long], { home });
    await until(() => running.outcome.stdout.includes('sample at step'));
    running.child.kill('SIGINT');
    const detached = await running.done;
    expect(detached.status).toBe(130);
    expect(lines(detached.stdout).at(-1)).toMatch(/^(j\d+) goes on\. Watch it again with: anneal watch \1;/);
    expect((await json('status')).jobs.running).toBe(1);
    // The weights of the job that trains answer.
    const id = (await json('jobs', '--state', 'running')).jobs[0].id;
    expect(await json('generate', `job:${id}`, 'Question', '-m', '3')).toMatchObject({
      completion_tokens: 3,
    });
    // It trains on while a person talks to it.
    const talk = await anneal(['chat', `job:${id}`, '--json', '-m', '3'], { home, input: 'Question\n' });
    expect({ status: talk.status, stderr: talk.stderr }).toEqual({ status: 0, stderr: '' });
    expect((await json('status')).jobs.running).toBe(1);

    const watcher = startAnneal(['watch', 'long', '--json'], { home });
    await until(() => watcher.outcome.stdout.includes('"progress"'));
    expect((await run('pause', 'long')).status).toBe(0);
    expect((await watcher.done).status).toBe(5);
    expect((await json('jobs')).jobs[0].state).toBe('paused');

    expect((await run('resume', 'long')).status).toBe(0);
    const again = startAnneal(['watch', 'long'], { home });
    await until(() => again.outcome.stdout.includes('runs again'));
    expect(await json('cancel', 'long')).toMatchObject({ job: { name: 'long' } });
    const outcome = await again.done;
    expect(outcome.status).toBe(5);
    expect(lines(outcome.stdout).at(-1)).toMatch(/^cancelled/);
    expect((await run('pause', 'long')).stderr).toMatch(/\(job_state\)/);
    expect((await run('watch', 'none')).stderr).toMatch(/\(job_not_found\)/);
  });

  test('on a terminal: bars, scrollback, and a cursor that is there again', async () => {
    const main = fileURLToPath(new URL('../../src/cli/main.ts', import.meta.url));
    const command = `stty cols 100 rows 30; '${process.execPath}' '${main}' run '${path('recipe.yaml')}' --fresh`;
    const { stdout } = await promisify(execFile)('script', ['-qec', command, '/dev/null'], {
      env: {
        ...process.env,
        ANNEAL_HOME: home,
        XDG_CACHE_HOME: cacheFolder,
        TERM: 'xterm-256color',
        NO_COLOR: '',
      },
    });
    expect(stdout).toContain('\x1b[?25l');
    expect(stdout.lastIndexOf('\x1b[?25h')).toBeGreaterThan(stdout.lastIndexOf('\x1b[?25l'));
    expect(stdout).toMatch(/pretrain: sample at step 30/);
    expect(stdout).toContain('\x1b[32m✓\x1b[0m evaluate');
    const last = stdout.slice(stdout.lastIndexOf('\x1b[J'));
    expect(last).toMatch(/succeeded.*\r?\n.*tokenizer/);
    expect(last).toMatch(/Talk to it with: anneal chat tiny\/sft/);
  });
});

async function until(condition: () => boolean, limitMs = 60_000): Promise<void> {
  for (const deadline = Date.now() + limitMs; !condition(); await sleep(20)) {
    if (Date.now() > deadline) throw new Error(`not within ${limitMs} ms: ${condition}`);
  }
}
