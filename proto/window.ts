/**
 * Time windows: the hours of the day in which a job may run, `22:00-07:00`, by the local time of the daemon. The end
 * is not part of it; an end that is not after the start is on the next day.
 */

const PATTERN = /^([01]?\d|2[0-3]):([0-5]\d)\s*-\s*([01]?\d|2[0-3]):([0-5]\d)$/;

export interface Window {
  /** Minutes since midnight. */
  from: number;
  to: number;
}

/** What is wrong with a text that is no window. */
export const WINDOW_RULE = 'a window is two different times of the day, such as 22:00-07:00';

/** The window that a text names; undefined when it names none. */
export function parseWindow(text: string): Window | undefined {
  const match = PATTERN.exec(text.trim());
  if (!match) return undefined;
  const [fromHour, fromMinute, toHour, toMinute] = match.slice(1).map(Number) as [
    number,
    number,
    number,
    number,
  ];
  const window = { from: fromHour * 60 + fromMinute, to: toHour * 60 + toMinute };
  return window.from === window.to ? undefined : window;
}

/** Whether the window is open at a time (Unix milliseconds), and when that changes. */
export function windowAt({ from, to }: Window, time: number): { open: boolean; changesAt: number } {
  const at = new Date(time);
  // By the calendar and not by sums of hours: a day on which the clocks are changed has 23 or 25.
  const on = (day: number, minutes: number) =>
    new Date(at.getFullYear(), at.getMonth(), at.getDate() + day, 0, minutes).getTime();
  for (const day of [-1, 0, 1]) {
    const start = on(day, from);
    const end = on(to > from ? day : day + 1, to);
    if (time < start) return { open: false, changesAt: start };
    if (time < end) return { open: true, changesAt: end };
  }
  throw new Error('a day has passed twice');
}

/** A time of the day as in a window: `22:00`. */
export function clockTime(time: number): string {
  const at = new Date(time);
  const two = (value: number) => String(value).padStart(2, '0');
  return `${two(at.getHours())}:${two(at.getMinutes())}`;
}
