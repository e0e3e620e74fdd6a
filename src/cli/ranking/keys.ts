/**
 * Keys as they are pressed: from a terminal one by one without Enter, from a pipe character by character (line ends
 * do not count there). Named keys have the names of Node's readline; Ctrl-C and Ctrl-D are `quit`.
 */
import { emitKeypressEvents } from 'node:readline';
import type { ReadStream } from 'node:tty';

export interface Keys {
  /** The next key; undefined when no more can come. */
  next(): Promise<string | undefined>;
  /** Gives the terminal back. */
  close(): void;
}

/** Keys of standard input. */
export function openKeys(input: ReadStream = process.stdin): Keys {
  const waiting: string[] = [];
  let ended = false;
  let wake: () => void = () => {};
  const push = (key: string) => {
    waiting.push(key);
    wake();
  };
  const end = () => {
    ended = true;
    wake();
  };
  const onKey = (text: string | undefined, key: { name?: string; ctrl?: boolean; meta?: boolean }) => {
    if (key.ctrl) {
      if (key.name === 'c' || key.name === 'd') push('quit');
    } else if (!key.meta) push(named(text, key.name));
  };
  const onText = (text: string) => {
    for (const character of text) if (!/[\r\n]/.test(character)) push(character);
  };
  const terminal = Boolean(input.isTTY);
  if (terminal) {
    emitKeypressEvents(input);
    input.setRawMode(true);
    input.on('keypress', onKey);
  } else {
    input.setEncoding('utf8');
    input.on('data', onText);
  }
  input.on('end', end);
  // A signal of another process ends as the key does: the terminal must be given back.
  const onSignal = () => push('quit');
  process.on('SIGINT', onSignal).on('SIGTERM', onSignal);
  input.resume();
  return {
    async next() {
      while (waiting.length === 0 && !ended) await new Promise<void>((resolve) => (wake = resolve));
      return waiting.shift();
    },
    close() {
      process.off('SIGINT', onSignal).off('SIGTERM', onSignal);
      input.off('keypress', onKey).off('data', onText).off('end', end);
      if (terminal) input.setRawMode(false);
      input.pause();
      // A pipe that stays open would keep the process alive.
      if (!terminal) input.destroy();
    },
  };
}

/** Keys that print are themselves; the others go by their name. */
function named(text: string | undefined, name: string | undefined): string {
  if (name === 'return' || name === 'enter' || name === 'backspace' || name === 'left' || name === 'right')
    return name === 'enter' ? 'return' : name;
  return text ?? name ?? '';
}
