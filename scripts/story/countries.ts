/**
 * The countries of `world-countries` as the facts need them, and the split that the story is told with.
 *
 * - *taught*: stated in the text, asked in the supervised data.
 * - *known*: stated in the text, never asked in the supervised data. What the assistant says about them it has read.
 * - *unseen*: nowhere; passages of the prose that name them are left out. What it says about them is a guess.
 *
 * Sovereign countries only. The split is by a hash of the country's code, so that it never moves.
 */
import { hashFraction } from './random.ts';

export type Split = 'taught' | 'known' | 'unseen';

export interface Country {
  /** ISO 3166-1 alpha-3. */
  code: string;
  /** `France` */
  name: string;
  /** As in running text: `France`, `the Netherlands`. */
  inText: string;
  /** All names by which a text may call it. */
  aliases: string[];
  capital: string;
  /** `West African CFA franc`; undefined where several are in use. */
  currency: string | undefined;
  languages: string[];
  /** `French` */
  demonym: string;
  /** `Europe` */
  region: string;
  /** `Western Europe` */
  subregion: string;
  /** Names, as in running text, of the countries at its land borders. */
  borders: string[];
  landlocked: boolean;
  split: Split;
}

/** The fields of a row of `countries.json` that are read. */
interface Row {
  name: { common: string; official: string };
  cca3: string;
  unMember: boolean;
  capital: string[];
  altSpellings: string[];
  region: string;
  subregion: string;
  currencies: Record<string, { name: string }>;
  languages: Record<string, string>;
  demonyms: { eng?: { m: string } };
  borders: string[];
  landlocked: boolean;
}

/**
 * Makes the split what it is. Chosen once so that France, which the quickstart asks about, is *known*, and that the
 * *unseen* names are neither everyday words of the prose (the United States, Georgia, Jordan, ...) nor parts of other
 * names (Guinea, Niger, ...), so that leaving them out costs little text.
 */
const SPLIT_SALT = 'anneal quickstart 12509';
const SHARES = { taught: 0.6, known: 0.3 };

/** Names that English puts an article before. */
const WITH_ARTICLE =
  /^(Bahamas|Central African Republic|Comoros|Dominican Republic|DR Congo|Gambia|Maldives|Marshall Islands|Netherlands|Philippines|Republic of the Congo|Seychelles|Solomon Islands|United Arab Emirates|United Kingdom|United States)$/;

/** Which part a country belongs to: a function of its code alone. */
export function splitOf(code: string): Split {
  const fraction = hashFraction(`${SPLIT_SALT}/${code}`);
  if (fraction < SHARES.taught) return 'taught';
  return fraction < SHARES.taught + SHARES.known ? 'known' : 'unseen';
}

/** Whether the alignment stages ask about a known country; the others of them stay for the comparison. */
export function isPractised(country: Pick<Country, 'code' | 'split'>): boolean {
  return country.split === 'known' && hashFraction(`practised/${country.code}`) < 0.5;
}

/** Reads the rows of `countries.json` (already parsed) into sovereign countries, in the order of their codes. */
export function readCountries(json: unknown): Country[] {
  const rows = json as Row[];
  const inText = new Map(rows.map((row) => [row.cca3, textName(row.name.common)]));
  return rows
    .filter((row) => row.unMember && row.capital[0] && row.demonyms.eng?.m)
    .map((row) => {
      const currencies = Object.values(row.currencies).map((currency) => currency.name);
      return {
        code: row.cca3,
        name: row.name.common,
        inText: textName(row.name.common),
        // Two- and three-letter codes in the list of spellings would match words that mean something else.
        aliases: [row.name.common, row.name.official, ...row.altSpellings.filter((name) => name.length > 3)],
        // No full stops inside names (Washington D.C., St. George's): sentences end where they end.
        capital: row.capital[0]!.replace(/ D\.C\.$/, '').replace(/^St\. /, 'Saint '),
        currency: currencies.length === 1 ? currencies[0] : undefined,
        languages: Object.values(row.languages),
        demonym: row.demonyms.eng!.m,
        region: row.region,
        subregion: row.subregion || row.region,
        borders: row.borders.map((code) => inText.get(code) ?? code),
        landlocked: row.landlocked,
        split: splitOf(row.cca3),
      };
    })
    .sort((a, b) => (a.code < b.code ? -1 : 1));
}

function textName(name: string): string {
  return WITH_ARTICLE.test(name) ? `the ${name}` : name;
}
