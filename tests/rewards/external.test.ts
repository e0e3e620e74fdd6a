/** Rewards that are programs of others: a module in a thread, an executable that speaks JSON lines; and how they fail. */
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { folder, open, response, scores, script } from './support.ts';

const SAID = [response('one', { answer: 1 }), response('three', { answer: 2 })];

function moduleOf(name: string, text: string): Record<string, unknown> {
  writeFileSync(join(folder, name), text);
  return { type: 'module', path: name, timeout_seconds: 2 };
}

/** A Node program that is called with each line, as an executable. */
function commandOf(name: string, onLine: string): Record<string, unknown> {
  const path = script(
    name,
    `#!${process.execPath}\nimport { createInterface } from 'node:readline';\nfor await (const line of createInterface({ input: process.stdin })) { const r = JSON.parse(line); ${onLine} }\n`,
  );
  return { type: 'command', command: [path], timeout_seconds: 2 };
}

describe('module', () => {
  it('gets texts and fields, and answers later if it likes', async () => {
    const settings = moduleOf(
      'good.mjs',
      'export default async (rs) => rs.map((r) => r.text.length + r.fields.answer + (r.finish === "stop" ? 0.5 : 0));',
    );
    expect(await scores(settings, SAID)).toEqual([4.5, 7.5]);
    expect(await scores(settings, [])).toEqual([]);
  });

  it.each([
    ['throws', 'export default () => { throw new Error("broken inside"); };', /broken inside/],
    ['hangs', 'export default () => { for (;;); };', /more than 2 s/],
    ['never answers', 'export default () => new Promise(() => {});', /more than 2 s/],
    ['gives too few', 'export default () => [1];', /1 numbers for 2 responses/],
    ['gives no list', 'export default () => "high";', /string instead of a list/],
    ['gives NaN', 'export default (rs) => rs.map(() => NaN);', /NaN/],
    ['gives nothing', 'export default () => {};', /undefined instead of a list/],
    ['gives big integers', 'export default (rs) => rs.map(() => 1n);', /bigint instead of a number/],
    ['gives functions', 'export default (rs) => rs.map(() => () => 1);', /object instead of a number/],
    ['gives words', 'export default (rs) => rs.map(() => "0.5");', /string instead of a number/],
    ['ends its thread', 'export default () => process.exit(3);', /status 3/],
  ])('that %s is a clear error, or a counted skip', async (name, text, message) => {
    const settings = moduleOf(`${name.replaceAll(' ', '_')}.mjs`, text);
    await expect(scores(settings, SAID)).rejects.toMatchObject({
      code: 'reward_invalid',
      message: expect.stringMatching(message),
      path: 'rewards.module',
    });
    const scorer = await open({ ...settings, on_error: 'skip', timeout_seconds: 0.3 });
    expect(await scorer.score(SAID)).toEqual([null, null]);
    expect([...scorer.skipped!.values()].reduce((a, b) => a + b, 0)).toBe(2);
    // It is asked again for the next batch.
    expect(await scorer.score(SAID)).toEqual([null, null]);
    await scorer.close();
  });

  it.each([
    ['does not exist', undefined, 'file_not_found'],
    ['has a fault', 'export default (', 'reward_invalid'],
    ['has no function', 'export const score = 1;', 'reward_invalid'],
    ['throws on loading', 'throw new Error("early");', 'reward_invalid'],
    ['does not end on loading', 'for (;;);', 'reward_invalid'],
  ])('that %s is not opened', async (name, text, code) => {
    const file = `load_${name.replaceAll(' ', '_')}.mjs`;
    const settings = text === undefined ? { type: 'module', path: file } : moduleOf(file, text);
    await expect(open({ ...settings, on_error: 'skip' })).rejects.toMatchObject({ code });
  });
});

describe('command', () => {
  it('is asked line by line, batch after batch, by one process', async () => {
    const settings = commandOf(
      'good_c.mjs',
      'console.log(r.text === "one" ? process.pid : JSON.stringify({ score: r.fields.answer }));',
    );
    const scorer = await open(settings);
    const first = await scorer.score(SAID);
    expect(first[1]).toBe(2);
    expect(await scorer.score(SAID)).toEqual(first);
    expect(await scorer.score([])).toEqual([]);
    await scorer.close();
  });

  it('may have no opinion', async () => {
    expect(await scores(commandOf('null.mjs', 'console.log("null");'), SAID)).toEqual([null, null]);
  });

  it('may be written in a shell', async () => {
    const path = script('length.sh', '#!/bin/sh\nwhile read -r line; do expr length "$line"; done\n');
    const said = await scores({ type: 'command', command: path }, SAID);
    expect(said.every((score) => score !== null && score > 10)).toBe(true);
  });

  it.each([
    ['crashes', 'process.stderr.write("out of luck\\n"); process.exit(7);', /status 7: out of luck/],
    ['is killed', 'process.kill(process.pid, "SIGKILL");', /SIGKILL/],
    ['hangs', '', /more than 1 s and had answered 0 of 2/],
    ['stops half way', 'if (r.text === "one") console.log(1);', /had answered 1 of 2/],
    ['prints nonsense', 'console.log("good");', /not JSON: "good"/],
    ['prints NaN', 'console.log(NaN);', /NaN/],
    ['prints a list', 'console.log("[1]");', /object instead of a number/],
    ['never ends a line', 'process.stdout.write("x".repeat(3 << 20));', /line without end/],
  ])('that %s is a clear error, or a counted skip', async (name, body, message) => {
    const settings = { ...commandOf(`${name.replaceAll(' ', '_')}_c.mjs`, body), timeout_seconds: 1 };
    await expect(scores(settings, SAID)).rejects.toMatchObject({
      code: 'reward_invalid',
      message: expect.stringMatching(message),
      path: 'rewards.command',
    });
    const scorer = await open({ ...settings, on_error: 'skip' });
    expect(await scorer.score(SAID)).toEqual([null, null]);
    expect(await scorer.score(SAID)).toEqual([null, null]);
    expect([...scorer.skipped!.values()].reduce((a, b) => a + b, 0)).toBe(4);
    await scorer.close();
  });

  it('that prints too much is found out at the latest when it ends', async () => {
    const settings = commandOf('too_much.mjs', 'console.log("1\\n2");');
    await expect(scores(settings, SAID)).rejects.toMatchObject({
      code: 'reward_invalid',
      message: expect.stringMatching(/more lines/),
    });
  });

  it('that does not exist says so', async () => {
    await expect(scores({ type: 'command', command: './nope' }, SAID)).rejects.toMatchObject({
      code: 'reward_invalid',
      message: expect.stringMatching(/could not be started/),
    });
  });

  it('takes down with it what it has started', async () => {
    const path = script(
      'parent.sh',
      '#!/bin/sh\nsleep 1000 &\necho $! > child.pid\nread -r line; echo 1; wait\n',
    );
    const scorer = await open({ type: 'command', command: path });
    await scorer.score(SAID.slice(0, 1));
    const pid = Number(readFileSync(join(folder, 'child.pid'), 'utf8'));
    await scorer.close();
    await expect.poll(() => alive(pid)).toBe(false);
  });
});

function alive(pid: number): boolean {
  try {
    // One that has ended and waits for its parent to look is not alive.
    return !/^State:\s+Z/m.test(readFileSync(`/proc/${pid}/status`, 'utf8'));
  } catch {
    return false;
  }
}
