/** Labels that people gave with `anneal rank`: whether there are enough, and the scores that they make. */
import { AnnealError } from '../../proto/errors.ts';
import type { Label } from '../../proto/ranking.ts';
import type { Labelled } from './labelled.ts';
import { labelFiles, readLabels } from './labels.ts';
import { type Ranking, sameTexts, scoresOf } from './order.ts';
import type { ResponseRow } from './responses.ts';

export interface PeopleOptions {
  /** Folder of the dataset's labels. */
  folder: string;
  /** Weights by name; undefined: all that were used, equally. */
  criteria: Record<string, number> | undefined;
  minLabellers: number;
  minShare: number;
  stage: string;
  /** What the dataset is called on the command line, with the options that read its rows. */
  reference: string;
}

/** Reads people's labels; too few of them is an error that says how to give more. */
export async function peopleLabels(rows: readonly ResponseRow[], options: PeopleOptions): Promise<Labelled> {
  const labels = new Map<string, Label[]>(rows.map(({ id }) => [id, []]));
  const used = new Set<string>();
  for (const file of await labelFiles(options.folder)) {
    for (const label of (await readLabels(file)).values()) {
      labels.get(label.row)?.push(label);
      used.add(label.criterion);
    }
  }
  const criteria = options.criteria ?? Object.fromEntries([...used].map((name) => [name, 1]));
  requireEnough(rows, labels, criteria, options);
  return {
    skipped: new Map(),
    rows: rows.map(({ id, responses }) => {
      const groups = sameTexts(responses.map(({ text }) => text));
      const voices = labels
        .get(id)!
        .flatMap(({ labeller, criterion, ranking }) =>
          ranking !== null && Object.hasOwn(criteria, criterion)
            ? [{ labeller, criterion, ranking: withSameTexts(ranking, groups) }]
            : [],
        );
      const opinions = voices.map(({ ranking, criterion }) => ({ ranking, weight: criteria[criterion]! }));
      return { scores: scoresOf(opinions, responses.length), voices };
    }),
  };
}

/** A ranking with the responses that were not shown because their text was there already. */
function withSameTexts(ranking: Ranking, groups: ReadonlyMap<number, number[]>): Ranking {
  const named = new Set(ranking.flat());
  return ranking.map((tier) =>
    tier.flatMap((index) => [
      index,
      ...(groups.get(index) ?? []).filter((other) => other !== index && !named.has(other)),
    ]),
  );
}

function requireEnough(
  rows: readonly ResponseRow[],
  labels: ReadonlyMap<string, readonly Label[]>,
  criteria: Record<string, number>,
  { minLabellers, minShare, stage, reference, criteria: wanted }: PeopleOptions,
): void {
  const asked = rows.filter(({ responses }) => new Set(responses.map(({ text }) => text)).size > 1);
  const names = Object.keys(criteria);
  const seen = (id: string, criterion: string) =>
    new Set(
      labels
        .get(id)!
        .filter((label) => label.criterion === criterion)
        .map(({ labeller }) => labeller),
    ).size;
  const enough = asked.filter(
    ({ id }) => names.length > 0 && names.every((criterion) => seen(id, criterion) >= minLabellers),
  ).length;
  if (enough >= minShare * asked.length) return;
  const people = minLabellers === 1 ? '' : ` by ${minLabellers} people`;
  const by = wanted ? ` (${names.join(', ')})` : '';
  const option = wanted ? ` --criteria ${names.join(',')}` : '';
  throw new AnnealError(
    'labels_missing',
    `Stage ${stage}: ${enough} of ${asked.length} prompts have been ranked${people}${by}; ${Math.ceil(minShare * asked.length)} are needed.`,
    {
      path: `stages.${stage}.labels`,
      hint: `Rank them: \`anneal rank ${reference}${option}\`; then \`anneal resume\` goes on with the job.`,
    },
  );
}
