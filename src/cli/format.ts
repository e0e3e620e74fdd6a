/**
 * Numbers as people read them. Bytes are decimal (1 GB = 1e9), durations in seconds, shares from 0 to 1. Every
 * function gives one short word or two, never a line break; what is unknown (null) is a dash.
 */

const NONE = '-';

/** 1234567 -> `1,234,567`. Not by locale: the same on every machine. */
export function formatCount(value: number): string {
  const text = Number.isInteger(value) ? String(value) : value.toFixed(2);
  const [whole = '', fraction] = text.split('.');
  const grouped = whole.replace(/\B(?=(\d{3})+$)/g, ',');
  return fraction === undefined ? grouped : `${grouped}.${fraction}`;
}

/** 1 and `row` -> `1 row`, 1234 -> `1,234 rows`. */
export function formatCounted(value: number, word: string, several = `${word}s`): string {
  return `${formatCount(value)} ${value === 1 ? word : several}`;
}

/** 12400 -> `12.4k`: three digits and a scale. */
export function formatCompact(value: number): string {
  return scaled(value, ['', 'k', 'M', 'G', 'T']);
}

/** 1210000000 -> `1.21 GB`. */
export function formatBytes(bytes: number | null): string {
  if (bytes === null) return NONE;
  return scaled(bytes, [' B', ' kB', ' MB', ' GB', ' TB', ' PB']);
}

function scaled(value: number, units: string[]): string {
  let rest = Math.abs(value);
  let unit = 0;
  // 999.5 would print as `1000`, so it belongs to the next unit already.
  while (rest >= 999.5 && unit < units.length - 1) {
    rest /= 1000;
    unit++;
  }
  const digits = unit === 0 && Number.isInteger(rest) ? 0 : rest >= 99.95 ? 0 : rest >= 9.995 ? 1 : 2;
  return `${value < 0 ? '-' : ''}${rest.toFixed(digits)}${units[unit]}`;
}

/** 220 -> `3m 40s`: the two largest units. */
export function formatDuration(seconds: number | null): string {
  if (seconds === null || !Number.isFinite(seconds)) return NONE;
  if (seconds < 10) return `${Math.max(0, seconds).toFixed(1)}s`;
  const whole = Math.round(seconds);
  const [d, h, m, s] = [whole / 86_400, (whole / 3_600) % 24, (whole / 60) % 60, whole % 60].map(
    Math.floor,
  ) as [number, number, number, number];
  const two = (n: number) => String(n).padStart(2, '0');
  if (d > 0) return `${d}d ${two(h)}h`;
  if (h > 0) return `${h}h ${two(m)}m`;
  if (m > 0) return `${m}m ${two(s)}s`;
  return `${s}s`;
}

/** 0.613 -> `61%`. */
export function formatShare(share: number): string {
  const percent = share * 100;
  return `${percent > 0 && percent < 9.95 ? percent.toFixed(1) : percent.toFixed(0)}%`;
}

/** A loss, a rate, a metric: four significant digits, or an exponent where those would hide the size. */
export function formatMetric(value: number): string {
  if (!Number.isFinite(value)) return String(value);
  const size = Math.abs(value);
  if (size !== 0 && (size < 1e-3 || size >= 1e6)) return value.toExponential(2);
  if (Number.isInteger(value)) return formatCount(value);
  if (size >= 1000) return formatCount(Number(value.toFixed(1)));
  return size >= 100 ? value.toFixed(1) : size >= 10 ? value.toFixed(2) : value.toFixed(3);
}

/** Unix seconds -> `2026-01-31 14:05` in the local time zone. */
export function formatTime(unix: number | null): string {
  if (unix === null) return NONE;
  const date = new Date(unix * 1000);
  const two = (n: number) => String(n).padStart(2, '0');
  return `${date.getFullYear()}-${two(date.getMonth() + 1)}-${two(date.getDate())} ${two(date.getHours())}:${two(date.getMinutes())}`;
}
