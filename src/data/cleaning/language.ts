/**
 * The table of languages of the npm package `eld` (Efficient Language Detector, Apache-2.0) in the flat form that the
 * native cleaner takes. It is read from the package as it is installed, once.
 */
import type { LanguageModel } from '../../native/cleaning.ts';
import { lowerCasePairs } from './lower_case.ts';

/** What the package's files export; its own entries keep it to themselves. */
interface EldData {
  ngramsData: {
    languages: Record<string, string>;
    ngrams: Record<string, Record<string, number>>;
  };
}
interface EldLetters {
  dictionary: string[];
}

let model: Promise<LanguageModel> | undefined;

/** The medium table, eld's default. */
export function loadLanguageModel(): Promise<LanguageModel> {
  model ??= readModel();
  return model;
}

async function readModel(): Promise<LanguageModel> {
  const entry = import.meta.resolve('eld/medium');
  const [{ ngramsData }, { dictionary }] = (await Promise.all([
    import(new URL('../ngrams/medium.js', entry).href),
    import(new URL('../dictionary.js', entry).href),
  ])) as [EldData, EldLetters];
  const languages = Object.values(ngramsData.languages);
  const entries = Object.entries(ngramsData.ngrams);
  const keys = new BigUint64Array(entries.length);
  const scoreEnds = new Int32Array(entries.length);
  const scoreLanguages: number[] = [];
  const scorePoints: number[] = [];
  entries.forEach(([gram, scores], i) => {
    keys[i] = keyOf(gram);
    for (const [language, points] of Object.entries(scores)) {
      scoreLanguages.push(Number(language));
      scorePoints.push(points);
    }
    scoreEnds[i] = scoreLanguages.length;
  });
  return {
    languages,
    keys,
    scoreEnds,
    scoreLanguages: Uint8Array.from(scoreLanguages),
    scorePoints: Uint8Array.from(scorePoints),
    letters: Uint8Array.from({ length: 256 }, (_, byte) => dictionary[byte]?.charCodeAt(0) ?? 32),
    lower: lowerCasePairs(),
  };
}

function keyOf(gram: string): bigint {
  let key = BigInt(gram.length) << 56n;
  for (let i = 0; i < gram.length; i++) key |= BigInt(gram.charCodeAt(i)) << BigInt(8 * i);
  return key;
}
