/**
 * Datasets of responses that people label: rows in memory for those in use, labels on disk. No worker is needed, so
 * labelling goes on while a job trains.
 */
import { stat } from 'node:fs/promises';
import { setImmediate } from 'node:timers/promises';
import type { CommandReply, CommandRequest } from '../../proto/commands.ts';
import { AnnealError } from '../../proto/errors.ts';
import type { HomeLayout } from '../../proto/home.ts';
import type { Label } from '../../proto/ranking.ts';
import { givenSettings } from '../data/shapes/given.ts';
import { plainRows } from '../data/shapes/read.ts';
import { LabelLog, labelFiles, labelFolder, readLabels } from '../ranking/labels.ts';
import { filesId, labelsId, locateDataset } from '../ranking/locate.ts';
import { promptText, type ResponseRow, readResponses } from '../ranking/responses.ts';
import { type Task, TaskList } from '../ranking/tasks.ts';
import { canonicalJson } from '../util/hash.ts';

/** What a dataset's rows are needed for here. */
type Row = Pick<ResponseRow, 'id' | 'prompt' | 'messages'> & { texts: string[] };

interface Dataset {
  /** Of the rows as they were read. */
  key: string;
  /** Where its labels lie. */
  id: string;
  files: string[];
  rows: Row[];
  places: Map<string, number>;
}

/** A labeller at work on a dataset. */
interface Desk {
  dataset: Dataset;
  labeller: string;
  tasks: TaskList;
  log: LabelLog;
  /** 1 for each task that is labelled or skipped, as of the last `open` and what was said here since. */
  said: Uint8Array;
  done: number;
}

type Selection = CommandRequest<'rank.open'>;
type Reading = Pick<Selection, 'dataset' | 'settings'>;
type Progress = CommandReply<'rank.label'>;

/** Datasets and desks that are kept open. */
const KEPT = 4;

export class Rankings {
  readonly #home: HomeLayout;
  readonly #datasets = new Map<string, Promise<Dataset>>();
  readonly #logs = new Map<string, Promise<LabelLog>>();
  readonly #desks = new Map<string, Promise<Desk>>();
  /** Ids of files by path, size and time of change: hashing a large one takes long. */
  readonly #fileIds = new Map<string, Promise<string>>();

  constructor(home: HomeLayout) {
    this.#home = home;
  }

  async open(selection: Selection): Promise<CommandReply<'rank.open'>> {
    const desk = await this.#desk(selection);
    await count(desk);
    const { id, rows } = desk.dataset;
    return { id, rows: rows.length, ...progress(desk, 0) };
  }

  async task(selection: Selection, number: number): Promise<CommandReply<'rank.task'>> {
    const desk = await this.#desk(selection);
    const task = taskAt(desk, number);
    const { id, prompt, messages, texts } = desk.dataset.rows[task.row]!;
    const label = desk.log.get({ row: id, criterion: task.criterion, of: task.shown });
    return {
      row: id,
      criterion: task.criterion,
      messages: messages?.map(({ role, content }) => ({ role, content: content ?? '' })) ?? [
        { role: 'text', content: prompt ?? '' },
      ],
      responses: task.shown.map((index) => texts[index]!),
      state: label === undefined ? 'open' : label.ranking === null ? 'skipped' : 'labelled',
      ranking: label?.ranking?.map((tier) => tier.map((index) => task.shown.indexOf(index))) ?? null,
    };
  }

  async label(selection: Selection, number: number, ranking: number[][] | null): Promise<Progress> {
    const desk = await this.#desk(selection);
    const task = taskAt(desk, number);
    if (ranking) requireEachOnce(ranking, [...task.shown.keys()], 'ranking');
    await desk.log.add([
      {
        row: desk.dataset.rows[task.row]!.id,
        labeller: desk.labeller,
        criterion: task.criterion,
        of: [...task.shown].sort((a, b) => a - b),
        ranking: ranking?.map((tier) => tier.map((place) => task.shown[place]!)) ?? null,
        time: Date.now() / 1000,
      },
    ]);
    if (desk.said[number] === 0) desk.done += 1;
    desk.said[number] = 1;
    return progress(desk, number + 1);
  }

  async labels(read: Reading, from: number, limit: number): Promise<CommandReply<'rank.labels'>> {
    const dataset = await this.#dataset(read);
    const byRow = new Map<string, Label[]>();
    for (const file of await labelFiles(labelFolder(this.#home.labels, dataset.id))) {
      for (const label of (await readLabels(file)).values()) {
        const of = byRow.get(label.row);
        if (of) of.push(label);
        else byRow.set(label.row, [label]);
      }
    }
    const rows = dataset.rows.slice(from, from + limit).map(({ id, prompt, messages, texts }) => ({
      row: id,
      prompt: promptText({ prompt, messages }),
      responses: texts,
      labels: byRow.get(id) ?? [],
    }));
    return { rows, total: dataset.rows.length };
  }

  async import(read: Reading, labels: readonly Omit<Label, 'time'>[]): Promise<number> {
    const dataset = await this.#dataset(read);
    const time = Date.now() / 1000;
    const byLabeller = new Map<string, Label[]>();
    for (const [i, label] of labels.entries()) {
      const row = dataset.rows[dataset.places.get(label.row) ?? -1];
      if (!row) {
        throw new AnnealError('bad_request', `labels.${i}: the dataset has no row ${label.row}.`, {
          path: `labels.${i}.row`,
          hint: 'The labels belong to another dataset: rows go by their id.',
        });
      }
      const wrong = label.of.find((index, k) => index >= row.texts.length || label.of.indexOf(index) !== k);
      if (wrong !== undefined) {
        throw new AnnealError(
          'bad_request',
          `labels.${i}: row ${label.row} has ${row.texts.length} responses, from 0: no ${wrong}, or not twice.`,
          { path: `labels.${i}.of`, hint: 'Name each response once, by its number in the dataset.' },
        );
      }
      if (label.ranking) requireEachOnce(label.ranking, label.of, `labels.${i}.ranking`);
      const own = byLabeller.get(label.labeller) ?? [];
      own.push({ ...label, of: [...label.of].sort((a, b) => a - b), time });
      byLabeller.set(label.labeller, own);
    }
    for (const [labeller, own] of byLabeller) await (await this.#log(dataset.id, labeller)).add(own);
    return labels.length;
  }

  async #desk(selection: Selection): Promise<Desk> {
    const { labeller, criteria, pairwise } = selection;
    const dataset = await this.#dataset(selection);
    return kept(this.#desks, JSON.stringify([dataset.key, labeller, criteria, pairwise]), async () => {
      if (new Set(criteria).size < criteria.length) {
        throw new AnnealError('bad_request', 'criteria: one is named twice.', { path: 'criteria' });
      }
      const tasks = new TaskList(dataset.rows, { dataset: dataset.id, labeller, criteria, pairwise });
      const log = await this.#log(dataset.id, labeller);
      const desk = { dataset, labeller, tasks, log, said: new Uint8Array(tasks.length), done: 0 };
      await count(desk);
      return desk;
    });
  }

  /** One log a labeller: what one desk writes another sees. */
  #log(dataset: string, labeller: string): Promise<LabelLog> {
    const key = JSON.stringify([dataset, labeller]);
    let log = this.#logs.get(key);
    if (!log) {
      log = LabelLog.open(labelFolder(this.#home.labels, dataset), labeller);
      this.#logs.set(key, log);
      log.catch(() => this.#logs.delete(key));
    }
    return log;
  }

  /** A dataset's rows, read once; one that has changed under the same name is another. */
  async #dataset({ dataset, settings: given }: Reading): Promise<Dataset> {
    const located = await locateDataset(dataset, this.#home, (path) => this.#fileId(path));
    const settings = givenSettings(given);
    const key = canonicalJson([located.id, settings]);
    return kept(this.#datasets, key, async () => {
      const { files } = located;
      const rows = (await readResponses({ ...plainRows(files), settings })).map(
        ({ id: row, prompt, messages, responses }): Row => ({
          id: row,
          prompt,
          messages,
          texts: responses.map(({ text }) => text),
        }),
      );
      const id = labelsId(located.id, settings);
      return { key, id, files, rows, places: new Map(rows.map((row, i) => [row.id, i])) };
    });
  }

  async #fileId(path: string): Promise<string> {
    const { size, mtimeMs, ino } = await stat(path);
    return kept(this.#fileIds, JSON.stringify([path, size, mtimeMs, ino]), () => filesId([path]));
  }
}

/** The entry of a key, made if it is not there; of many the one that was used longest ago goes. */
function kept<T>(entries: Map<string, Promise<T>>, key: string, make: () => Promise<T>): Promise<T> {
  const entry = entries.get(key) ?? make();
  entries.delete(key);
  entries.set(key, entry);
  entry.catch(() => entries.delete(key));
  for (const old of [...entries.keys()].slice(0, -KEPT)) entries.delete(old);
  return entry;
}

/** Tasks that are looked at before other requests have their turn. */
const TURN = 1_000;

/** Finds out which tasks of a desk are done. */
async function count(desk: Desk): Promise<void> {
  const { dataset, tasks, log, said } = desk;
  for (let i = 0; i < tasks.length; i++) {
    if (i % TURN === TURN - 1) await setImmediate();
    const { row, criterion, shown } = tasks.at(i);
    said[i] = log.get({ row: dataset.rows[row]!.id, criterion, of: shown }) ? 1 : 0;
  }
  desk.done = said.reduce((sum, flag) => sum + flag, 0);
}

/** How far a desk is; `next` is looked for from task `from` on, then from the first. */
function progress({ tasks, said, done }: Desk, from: number): Progress {
  const ahead = said.indexOf(0, from);
  const next = ahead < 0 ? said.indexOf(0) : ahead;
  return { tasks: tasks.length, done, next: next < 0 ? null : next };
}

function taskAt({ tasks }: Desk, number: number): Task {
  if (number < tasks.length) return tasks.at(number);
  throw new AnnealError('bad_request', `task: there is no task ${number}.`, {
    path: 'task',
    hint: `There are ${tasks.length}, from 0.`,
  });
}

function requireEachOnce(ranking: readonly (readonly number[])[], of: readonly number[], path: string): void {
  const named = ranking.flat().sort((a, b) => a - b);
  const wanted = [...of].sort((a, b) => a - b);
  if (named.length === wanted.length && named.every((x, i) => x === wanted[i])) return;
  throw new AnnealError('bad_request', `${path}: must name each of ${wanted.join(', ')} once.`, {
    path,
    hint: 'Best first, equally good ones in one list.',
  });
}
