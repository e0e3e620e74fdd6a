/** Where a row is in a prepared dataset, and which jobs trained on it, when: what the ledgers say. */
import { createReadStream } from 'node:fs';
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { z } from 'zod';
import type { DataQueryOf } from '../../../proto/data.ts';
import { AnnealError } from '../../../proto/errors.ts';
import type { Page, Section } from '../../../proto/page.ts';
import { readLineage } from '../../artifacts/store.ts';
import { loadTokenizer } from '../../tokenizer/tokenizer.ts';
import { LEDGER_FILE, ROWS_FILE } from '../../training/records.ts';
import { exists } from '../../util/files.ts';
import { openTokenDataset } from '../dataset.ts';
import { type QueryContext, requireDataset, SPLITS, shownDocument } from './place.ts';

/** Copies of a row in a dataset that are shown. */
const MOST_PLACES = 20;

export async function trace(ask: DataQueryOf<'trace'>, context: QueryContext): Promise<Page> {
  const sections: Section[] = [];
  if (ask.in !== undefined) {
    const path = await requireDataset(ask.in[0]!, context);
    sections.push(...(await placesIn(path, ask.row, context)));
  }
  sections.push(await trainingOf(ask.row, context));
  return { title: ask.row, sections };
}

/** Whether an origin is the row that was asked for; pieces of a cut document are `file:line+offset`. */
function isRow(origin: string, row: string): boolean {
  const whole = origin.replace(/(:@?\d+)\+\d+$/, '$1');
  return (
    whole === row || origin === row || (whole.endsWith(row) && /[/\\]$/.test(whole.slice(0, -row.length)))
  );
}

async function placesIn(path: string, row: string, { threads }: QueryContext): Promise<Section[]> {
  const tokenizer = await loadTokenizer(join(path, 'tokenizer'), { threads });
  const places: (string | number)[][] = [];
  let text: Section | undefined;
  for (const split of SPLITS) {
    const dataset = openTokenDataset(path, split);
    try {
      for (let i = 0; i < dataset.numDocuments && places.length < MOST_PLACES; i++) {
        if (!isRow(dataset.origin(i), row)) continue;
        const { shard, offset } = dataset.place(i);
        places.push([split, i, shard, offset, dataset.length(i)]);
        const { origin, texts } = shownDocument(dataset, i, tokenizer);
        text ??= {
          kind: 'rows',
          title: 'Text',
          note: 'As its tokens decode.',
          rows: [{ origin, spans: texts.map((of) => ({ text: of.text, marked: false })) }],
        };
      }
    } finally {
      dataset.close();
    }
  }
  return [
    {
      kind: 'table',
      title: 'In the dataset',
      columns: ['split', 'document', 'shard', 'byte', 'tokens'],
      rows: places,
    },
    ...(text ? [text] : []),
  ];
}

/** A line for each training stage of the home that has read the row. */
async function trainingOf(row: string, { home }: QueryContext): Promise<Section> {
  const store = join(home, 'artifacts');
  const names = await readdir(store).catch(() => []);
  const found: (string | number)[][] = [];
  for (const name of names.filter((each) => !each.startsWith('.'))) {
    const path = join(store, name);
    if (!(await exists(join(path, ROWS_FILE)))) continue;
    const rows = await rowNumbers(join(path, ROWS_FILE), row);
    if (rows.size === 0) continue;
    const lineage = await readLineage(path);
    const steps = await stepsWith(join(path, LEDGER_FILE), rows);
    if (!lineage || steps.length === 0) continue;
    const when = new Date(lineage.created_at * 1000).toISOString().slice(0, 16).replace('T', ' ');
    found.push([
      `${lineage.job_name}/${lineage.stage}`,
      lineage.job ?? '',
      lineage.type,
      steps.length,
      steps.slice(0, 5).join(', ') + (steps.length > 5 ? ', ...' : ''),
      when,
    ]);
  }
  return {
    kind: 'table',
    title: 'Trained on by',
    note: 'By the ledgers of the stages that this home has finished; time is UTC.',
    columns: ['stage', 'job', 'type', 'times', 'steps', 'finished'],
    rows: found.sort((a, b) => (String(a.at(-1)) < String(b.at(-1)) ? -1 : 1)),
  };
}

/** Numbers of the row's pieces, as the ledger has them. */
async function rowNumbers(path: string, row: string): Promise<Set<number>> {
  const numbers = new Set<number>();
  let number = 0;
  for await (const origin of lines(path)) {
    if (isRow(origin, row)) numbers.add(number);
    number += 1;
  }
  return numbers;
}

const ledgerLine = z.object({ step: z.int(), rows: z.array(z.array(z.int())).optional() });

/** Steps that have read any of the rows, once for each time. */
async function stepsWith(path: string, rows: ReadonlySet<number>): Promise<number[]> {
  const steps: number[] = [];
  for await (const line of lines(path)) {
    const parsed = ledgerLine.safeParse(JSON.parse(line));
    if (!parsed.success) {
      throw new AnnealError('artifact_corrupt', `${path} has a line that is none of a ledger.`, { path });
    }
    const { step, rows: read = [] } = parsed.data;
    for (const microbatch of read) for (const each of microbatch) if (rows.has(each)) steps.push(step);
  }
  return steps;
}

function lines(path: string): AsyncIterable<string> {
  return createInterface({ input: createReadStream(path), crlfDelay: Number.POSITIVE_INFINITY });
}
