/** Reading sources in tests: all records of what a pattern names, and errors with what they say. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect } from 'vitest';
import { AnnealError } from '../../proto/errors.ts';
import { fetchSources } from '../../src/data/sources/fetch.ts';
import type { FetchOptions } from '../../src/data/sources/http.ts';
import { listUnits } from '../../src/data/sources/list.ts';
import { readUnit } from '../../src/data/sources/read.ts';
import { type SourceOptions, sourceSettings } from '../../src/data/sources/settings.ts';
import { type RawRecord, recordOrigin } from '../../src/data/sources/unit.ts';

export type Placed = RawRecord & { origin: string };

export async function records(
  pattern: string,
  settings: object = {},
  options: SourceOptions = {},
): Promise<Placed[]> {
  const parsed = sourceSettings.parse(settings);
  const all: Placed[] = [];
  for (const unit of await listUnits([pattern], parsed, '/', options)) {
    for await (const group of readUnit(unit, parsed)) {
      expect(group.at(-1)!.end).toBeLessThanOrEqual(unit.bytes);
      for (const record of group) all.push({ ...record, origin: recordOrigin(unit, record.line) });
    }
  }
  return all;
}

/** Each record as its text, its fields, or what is wrong with it. */
export async function contents(
  pattern: string,
  settings: object = {},
  options: SourceOptions = {},
): Promise<unknown[]> {
  return (await records(pattern, settings, options)).map(
    ({ text, fields, bad }) => text?.toString() ?? fields ?? bad!.message,
  );
}

/** The path of what a URL has. */
export async function fetchSource(url: string, options: FetchOptions): Promise<string> {
  return (await fetchSources([url], options)).get(url)!;
}

export async function failure(work: Promise<unknown>): Promise<AnnealError> {
  const error = await work.then(
    () => undefined,
    (e: unknown) => e,
  );
  expect(error).toBeInstanceOf(AnnealError);
  return error as AnnealError;
}

/** Writes files into a folder. */
export function writerInto(folder: string): (name: string, content: string | Uint8Array) => string {
  return (name, content) => {
    const path = join(folder, name);
    writeFileSync(path, content);
    return path;
  };
}
