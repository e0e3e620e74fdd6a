/**
 * A terminal with a scrollback and, below it, a few lines that are drawn anew: the only file that moves the cursor.
 * At most ten draws a second; the draw that was put off comes by timer, so the last state is always shown.
 */
import { displayWidth } from '../text.ts';

/** What of a TTY stream is used; tests give one of their own. */
export interface Terminal {
  columns: number;
  rows: number;
  write(data: string): unknown;
  on(event: 'resize', listener: () => void): unknown;
  off(event: 'resize', listener: () => void): unknown;
}

export interface Screen {
  /** Adds lines to the scrollback. */
  print(lines: string[]): void;
  /** Draws soon: within 100 ms. */
  refresh(): void;
  /** Draws for the last time and leaves the cursor below. */
  close(): void;
}

const INTERVAL_MS = 100;
const HIDE_CURSOR = '\x1b[?25l';
const SHOW_CURSOR = '\x1b[?25h';
// Terminals that know synchronised output show a draw at once; others ignore the two marks.
const BEGIN = '\x1b[?2026h';
const END = '\x1b[?2026l';

/** Opens the screen; `render` gives the lines below the scrollback for the present width and height. */
export function openScreen(terminal: Terminal, render: (width: number, height: number) => string[]): Screen {
  let drawn: string[] = [];
  let pending: string[] = [];
  let timer: NodeJS.Timeout | undefined;
  let lastDraw = 0;

  // A line that was drawn in a wider window now takes several rows.
  const erase = () => {
    const width = Math.max(1, terminal.columns);
    const rows = drawn.reduce((sum, line) => sum + Math.max(1, Math.ceil(displayWidth(line) / width)), 0);
    return rows === 0 ? '' : `\x1b[${rows}A\r\x1b[J`;
  };
  const draw = () => {
    timer = undefined;
    lastDraw = performance.now();
    const lines = render(terminal.columns, terminal.rows);
    // One column is left free: some terminals wrap when the last is filled.
    terminal.write(BEGIN + erase() + [...pending, ...lines].map((line) => `${line}\n`).join('') + END);
    drawn = lines;
    pending = [];
  };
  const refresh = () => {
    timer ??= setTimeout(draw, Math.max(0, lastDraw + INTERVAL_MS - performance.now()));
  };
  const restore = () => terminal.write(SHOW_CURSOR);
  // A signal that ends the process at once would leave the cursor hidden: an exit runs `restore`.
  const terminate = () => process.exit(143);

  terminal.write(HIDE_CURSOR);
  terminal.on('resize', refresh);
  process.once('exit', restore);
  process.once('SIGTERM', terminate);
  return {
    print(lines) {
      pending.push(...lines);
      refresh();
    },
    refresh,
    close() {
      clearTimeout(timer);
      draw();
      terminal.off('resize', refresh);
      process.off('exit', restore);
      process.off('SIGTERM', terminate);
      restore();
    },
  };
}
