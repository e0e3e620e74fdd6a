/**
 * Sums that a work carries from step to step (BCO's running mean of rewards), kept in the work folder by the place at
 * which a step begins. What a step finds is what the step before it left, also after a kill or when the guard has gone
 * back: the last line about a place holds.
 */
import { appendFileSync, existsSync, readFileSync } from 'node:fs';
import { z } from 'zod';
import type { Cursor, Sums } from '../training/work.ts';

const lineSchema = z.tuple([z.int(), z.int(), z.record(z.string(), z.number())]);

export class CarriedSums {
  readonly #path: string;
  readonly #byPlace = new Map<string, Sums>();

  constructor(path: string) {
    this.#path = path;
    if (!existsSync(path)) return;
    for (const line of readFileSync(path, 'utf8').split('\n').slice(0, -1)) {
      const [epoch, index, sums] = lineSchema.parse(JSON.parse(line));
      this.#byPlace.set(placeKey({ epoch, index }), sums);
    }
  }

  /** What the step that begins at `cursor` starts from. */
  at(cursor: Cursor): Sums {
    return this.#byPlace.get(placeKey(cursor)) ?? {};
  }

  /** Leaves sums for the step that begins at `cursor`. */
  leave(cursor: Cursor, sums: Sums): void {
    const key = placeKey(cursor);
    if (JSON.stringify(this.#byPlace.get(key)) === JSON.stringify(sums)) return;
    this.#byPlace.set(key, sums);
    appendFileSync(this.#path, `${JSON.stringify([cursor.epoch, cursor.index, sums])}\n`);
  }
}

function placeKey({ epoch, index }: Cursor): string {
  return `${epoch}/${index}`;
}
