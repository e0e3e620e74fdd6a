/**
 * Stages read every shape with the same settings: rows under foreign names, mapped, filtered, some of them broken,
 * through whole recipes to the audit, the artifact and its rejected.jsonl.
 */
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { EventBody } from '../../proto/events.ts';
import {
  type Fixture,
  makeFixture,
  modelFolder,
  recipeText,
  runHere,
  type TestChannel,
} from '../training/fixture.ts';

interface Chat {
  messages: { role: string; content: string }[];
}

const SFT = ['max_steps: 4', 'per_device_train_batch_size: 4', 'learning_rate: 3e-3'];
const COMMON = ['max_steps: 2', 'per_device_train_batch_size: 4', 'learning_rate: 1e-3'];
const BROKEN = { id: 'broken', question: 5, asked: 5, language: 'en' };

let fixture: Fixture;
/** Of the stage `sft`, which reads the same conversations as messages. */
let base: EventBody<'audit'>;
let chats: { question: string; answer: string }[];
beforeAll(async () => {
  fixture = makeFixture();
  chats = readFileSync(join(fixture.dir, 'chats.jsonl'), 'utf8')
    .trimEnd()
    .split('\n')
    .map((line) => (JSON.parse(line) as Chat).messages)
    .map(([question, answer]) => ({ question: question!.content, answer: answer!.content }));
  const channel = await runHere(fixture, recipeText({ pretrain: ['max_steps: 4'], sft: SFT }));
  base = channel.events('audit').find(({ body }) => body.stage === 'sft')!.body;
});
afterAll(() => fixture.remove());

/** Writes rows made of the chats, every second one in another language, and a broken one among them. */
function write(name: string, row: (chat: { question: string; answer: string }) => object): void {
  const rows = chats.map((chat, i) => ({ ...row(chat), language: i % 2 === 0 ? 'en' : 'de' }));
  const lines = [...rows.slice(0, 9), BROKEN, ...rows.slice(9)].map((each) => JSON.stringify(each));
  writeFileSync(join(fixture.dir, name), `${lines.join('\n')}\n`);
}

/** Runs a recipe up to a stage of these settings, and what that stage told of its data. */
async function run(
  name: string,
  settings: readonly string[],
): Promise<{ channel: TestChannel; notices: string[] }> {
  const stage = [`  ${name}:`, ...settings.map((line) => `    ${line}`), ''];
  const text = recipeText({ pretrain: ['max_steps: 4'], sft: SFT }) + stage.join('\n');
  const channel = await runHere(fixture, text);
  const notices = channel
    .events('notice')
    .filter(({ body }) => body.stage === name)
    .map(({ body }) => body.text.replaceAll(`${fixture.dir}/`, ''));
  return { channel, notices };
}

const ENGLISH = ['where: { language: en }', 'max_rejected: 0.05'];
/** The broken row stands behind 9 others and is in English. */
const AT = 10;
const told = (shape: string) => `dataset: 50 rows: ${shape}; where keeps 51 of 101 rows.`;

function rejected(stage: string): unknown[] {
  const path = join(modelFolder(fixture, stage), 'rejected.jsonl');
  return readFileSync(path, 'utf8')
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line) as unknown);
}

describe('sft', () => {
  it.each<[string, (chat: { question: string; answer: string }) => object, string[], string]>([
    [
      'ShareGPT',
      ({ question, answer }) => ({
        dialog: [
          { from: 'human', value: question },
          { from: 'gpt', value: answer },
        ],
      }),
      ['fields: { messages: dialog }'],
      'ShareGPT',
    ],
    [
      'Alpaca',
      ({ question, answer }) => ({ instruction: question, input: '', output: answer }),
      [],
      'Alpaca',
    ],
    [
      'prompts under other names',
      ({ question, answer }) => ({ system: '', asked: question, reply: [{ text: answer }] }),
      ['fields: { prompt: asked, completion: reply.0.text }'],
      'prompt and completion',
    ],
  ])('reads %s as it reads messages', async (_, row, fields, shape) => {
    write('foreign.jsonl', row);
    const { channel, notices } = await run('foreign', [
      'type: sft',
      'model: pretrain',
      'dataset: foreign.jsonl',
      ...fields,
      ...ENGLISH,
      ...COMMON,
    ]);
    expect(channel.outcome()).toEqual({ outcome: 'succeeded', error: null });
    const audits = Object.fromEntries(channel.events('audit').map(({ body }) => [body.stage, body]));
    expect(audits.foreign!.rows).toBe(50);
    expect(audits.foreign!.examples[0]!.spans).toEqual(base.examples[0]!.spans);
    expect(notices[0]).toBe(told(shape));
    expect(notices[1]).toMatch(
      new RegExp(
        `^dataset: 1 of 51 rows does not fit, kept aside in rejected.jsonl: foreign.jsonl:${AT}: field`,
      ),
    );
    expect(rejected('foreign')).toEqual([
      expect.objectContaining({
        row: join(fixture.dir, `foreign.jsonl:${AT}`),
        excerpt: JSON.stringify(BROKEN),
      }),
    ]);
  });

  it('sets rows aside that its chat template refuses', async () => {
    const template =
      "{% for m in messages %}{% if m['role'] == 'narrator' %}{{ raise_exception('no narrators') }}{% endif %}" +
      "{% if m['role'] == 'assistant' %}{% generation %}{{ m['content'] + eos_token }}{% endgeneration %}" +
      "{% else %}{{ m['content'] }}{% endif %}{% endfor %}";
    writeFileSync(join(fixture.dir, 'template.jinja'), template);
    const rows = chats.map(({ question, answer }, i) => ({
      messages: [
        { role: i === 3 ? 'narrator' : 'user', content: question },
        { role: 'assistant', content: answer },
      ],
    }));
    writeFileSync(join(fixture.dir, 'told.jsonl'), rows.map((row) => JSON.stringify(row)).join('\n'));
    const settings = [
      'type: sft',
      'model: pretrain',
      'dataset: told.jsonl',
      'chat_template: template.jinja',
      ...COMMON,
    ];
    const { channel } = await run('told', [...settings, 'max_rejected: 0.01']);
    expect(channel.outcome().error).toBeNull();
    expect(rejected('told')).toEqual([
      expect.objectContaining({ problem: expect.stringContaining('no narrators'), code: 'template_invalid' }),
    ]);
    const refused = await run('told', settings);
    expect(refused.channel.outcome().error).toMatchObject({
      message: expect.stringMatching(/told\.jsonl:4 cannot be/),
    });
  });

  it('stops above max_rejected, and names the rows', async () => {
    write('foreign.jsonl', ({ question }) => ({ asked: question }));
    const settings = [
      'type: sft',
      'model: pretrain',
      'dataset: foreign.jsonl',
      ...COMMON,
      'max_rejected: 0.5',
    ];
    const { channel } = await run('foreign', settings);
    expect(channel.outcome().error).toMatchObject({
      code: 'data_rejected',
      path: 'stages.foreign.dataset',
      message: expect.stringMatching(
        /101 of 101 rows of dataset do not fit .*foreign\.jsonl:1: field text is missing/,
      ),
    });
  });
});

describe('every other stage that reads rows', () => {
  const pair = ({ question, answer }: { question: string; answer: string }) => ({
    asked: question,
    good: answer,
    bad: 'I do not know.',
    liked: true,
    all: [answer, 'I do not know.'],
    order: [0, 1],
  });
  const PAIR = 'fields: { prompt: asked, chosen: good, rejected: bad }';

  it.each<[string, string[], string]>([
    ['dpo', [PAIR], 'preference pairs'],
    ['kto', ['fields: { prompt: asked, completion: good, label: liked }'], 'labelled completions (KTO)'],
    ['reward', ['fields: { prompt: asked, responses: all, ranking: order }'], 'ranked lists'],
    ['distill', ['teacher: sft', 'fields: { prompt: asked, completion: good }'], 'prompt and completion'],
    [
      'grpo',
      [
        'fields: { prompt: asked, answer: good }',
        'num_generations: 4',
        'max_completion_length: 4',
        'rewards: [{ type: exact_match }]',
      ],
      'prompts',
    ],
  ])('%s', async (type, settings, shape) => {
    write('rows.jsonl', pair);
    const { channel, notices } = await run(type, [
      'model: sft',
      'dataset: rows.jsonl',
      ...settings,
      ...ENGLISH,
      ...COMMON,
    ]);
    expect(channel.outcome()).toEqual({ outcome: 'succeeded', error: null });
    expect(notices).toContain(told(shape));
    expect(channel.events('audit').at(-1)!.body.rows).toBe(50);
    expect(rejected(type)).toHaveLength(1);
  });

  it('generate, and rank of what it makes', async () => {
    write('rows.jsonl', pair);
    const { channel, notices } = await run('generate', [
      'models: { assistant: sft }',
      'dataset: rows.jsonl',
      'fields: { prompt: asked, answer: good }',
      'num_generations: 2',
      'max_new_tokens: 4',
      ...ENGLISH,
    ]);
    expect(channel.outcome().error).toBeNull();
    expect(notices).toContain(told('prompts'));
    const path = join(modelFolder(fixture, 'generate').replace('models', 'datasets'), 'responses.jsonl');
    const [first] = readFileSync(path, 'utf8').split('\n');
    const { fields, messages } = JSON.parse(first!) as { fields: object; messages: object[] };
    expect(messages).toEqual([{ role: 'user', content: chats[0]!.question }]);
    expect(fields).toMatchObject({ answer: chats[0]!.answer, language: 'en', liked: true });
  });

  it('evaluate and compare', async () => {
    write('rows.jsonl', pair);
    const reading = [
      'dataset: rows.jsonl',
      'fields: { prompt: asked, answer: good }',
      'max_new_tokens: 4',
      ...ENGLISH,
    ];
    const { channel, notices } = await run('evaluate', [
      'models: { base: pretrain, assistant: sft }',
      'group_by: language',
      ...reading,
    ]);
    expect(channel.outcome().error).toBeNull();
    expect(notices).toContain(told('prompts with answers'));
    expect(
      channel
        .events('report')
        .at(-1)!
        .body.rows.map((row) => row.slice(0, 3)),
    ).toEqual([
      ['base', 'en', 50],
      ['assistant', 'en', 50],
    ]);
    const compared = await run('compare', [
      'models: { base: pretrain, assistant: sft }',
      'against: base',
      'rewards: [{ type: exact_match }]',
      ...reading,
    ]);
    expect(compared.channel.outcome().error).toBeNull();
    expect(compared.notices).toContain(told('prompts'));
  });

  it('tokenizer and prepare', async () => {
    write('rows.jsonl', pair);
    const { channel } = await run('other', [
      'type: prepare',
      'files: [rows.jsonl]',
      'fields: { text: good }',
      'where: { language: en }',
    ]);
    // The broken row has no such field.
    expect(channel.outcome().error).toMatchObject({
      code: 'data_field',
      message: expect.stringMatching(/rows\.jsonl:10: field good is missing/),
    });
    expect(existsSync(join(fixture.home, 'datasets/tiny/other'))).toBe(false);
  });
});
