/** What a `rank` stage reports: each model's standing, and how far the labellers agree. */
import type { EventBody } from '../../proto/events.ts';
import { krippendorffAlpha } from './agreement.ts';
import { type Comparison, modelStrengths } from './bradley_terry.ts';
import type { RowLabels, Voice } from './labelled.ts';
import { comparisons, rankingOf } from './order.ts';
import { promptText, type ResponseRow } from './responses.ts';

type Report = EventBody<'report'>;

/** Name of responses that say nothing of their model. */
const NAMELESS = '-';

/**
 * A line a model: its responses, those with a score, their mean score; of comparisons with other models' responses to
 * the same prompt the share won (a tie is half), the Bradley-Terry strength and its 95% interval.
 */
export function modelTable(
  rows: readonly ResponseRow[],
  labels: readonly RowLabels[],
  seed: number,
  examples: number,
): Pick<Report, 'columns' | 'rows' | 'examples'> {
  const names = [...new Set(rows.flatMap(({ responses }) => responses.map(modelName)))];
  const contests = rows.map((row, i) => contestsOf(row, labels[i]!, names));
  const strengths = names.length > 1 ? modelStrengths(contests, names.length, seed) : undefined;
  const table = names.map((name, m) => {
    const scores = rows.flatMap((row, i) =>
      row.responses.flatMap((response, r) =>
        modelName(response) === name ? [labels[i]!.scores[r] ?? null] : [],
      ),
    );
    const scored = scores.filter((score) => score !== null);
    const met = contests.flat().filter(({ winner, loser }) => winner === m || loser === m);
    const won = met.reduce((sum, { winner, wins }) => sum + (winner === m ? wins : 0), 0);
    const total = met.reduce((sum, { wins }) => sum + wins, 0);
    const { score = null, low = null, high = null } = strengths?.[m] ?? {};
    return [
      name,
      scores.length,
      scored.length,
      scored.length === 0 ? null : scored.reduce((sum, x) => sum + x, 0) / scored.length,
      total === 0 ? null : won / total,
      score,
      low,
      high,
    ];
  });
  return {
    columns: ['model', 'responses', 'ranked', 'mean_score', 'win_rate', 'bradley_terry', 'low', 'high'],
    rows: table,
    examples: rows.flatMap((row, i) => exampleOf(row, labels[i]!)).slice(0, examples),
  };
}

/**
 * Agreement by criterion, where there is more than one labeller: Krippendorff's alpha over the pairs of responses,
 * each judged worse, equal or better. Each pair counts in both directions, so that it does not matter which of the
 * two is named first.
 */
export function agreementTable(labels: readonly RowLabels[]): Pick<Report, 'columns' | 'rows'> | undefined {
  const criteria = [...new Set(labels.flatMap(({ voices }) => voices.map(({ criterion }) => criterion)))];
  const table = criteria.flatMap((criterion) => {
    const voices = labels.map((row) => row.voices.filter((voice) => voice.criterion === criterion));
    const labellers = [...new Set(voices.flatMap((row) => row.map(({ labeller }) => labeller)))];
    if (labellers.length < 2) return [];
    const units = voices.flatMap((row) => pairUnits(row, labellers));
    const shared = units.filter((unit) => unit.filter((value) => value !== null).length > 1).length / 2;
    const alpha = (metric: 'nominal' | 'ordinal') => krippendorffAlpha(units, metric) ?? null;
    return [[criterion, labellers.length, shared, alpha('nominal'), alpha('ordinal')]];
  });
  if (table.length === 0) return undefined;
  return {
    columns: ['criterion', 'labellers', 'shared_pairs', 'alpha_nominal', 'alpha_ordinal'],
    rows: table,
  };
}

/** What each labeller says of each pair of a row's responses: -1, 0 or 1, and the pair turned round. */
function pairUnits(voices: readonly Voice[], labellers: readonly string[]): (number | null)[][] {
  const units = new Map<string, (number | null)[]>();
  const say = (a: number, b: number, labeller: number, value: number) => {
    const key = `${a},${b}`;
    const unit = units.get(key) ?? Array<number | null>(labellers.length).fill(null);
    unit[labeller] = value;
    units.set(key, unit);
  };
  for (const { labeller, ranking } of voices) {
    const place = labellers.indexOf(labeller);
    for (const { better, worse, tie } of comparisons(ranking)) {
      say(better, worse, place, tie ? 0 : 1);
      say(worse, better, place, tie ? 0 : -1);
    }
  }
  return [...units.values()];
}

/** Comparisons between responses of different models. */
function contestsOf(row: ResponseRow, { scores }: RowLabels, names: readonly string[]): Comparison[] {
  const model = (response: number) => names.indexOf(modelName(row.responses[response]!));
  const contests: Comparison[] = [];
  for (const { better, worse, tie } of comparisons(rankingOf(scores))) {
    const [winner, loser] = [model(better), model(worse)];
    if (winner === loser) continue;
    contests.push({ winner, loser, wins: tie ? 0.5 : 1 });
    if (tie) contests.push({ winner: loser, loser: winner, wins: 0.5 });
  }
  return contests;
}

function exampleOf(row: ResponseRow, { scores }: RowLabels): Report['examples'] {
  const ranking = rankingOf(scores);
  if (ranking.length < 2) return [];
  const text = (response: number) => row.responses[response]!.text;
  return [
    {
      prompt: promptText(row),
      expected: '',
      outputs: { best: text(ranking[0]![0]!), worst: text(ranking.at(-1)![0]!) },
    },
  ];
}

function modelName({ model }: ResponseRow['responses'][number]): string {
  return model ?? NAMELESS;
}
