/** Languages of rows, by the packaged n-gram tables of ELD, on the beginning of each. */
import { eld } from 'eld/small';
import type { SectionOf } from '../../../proto/page.ts';
import { formatFact } from '../page/format.ts';

/** Rows that are looked at, and characters of each: enough for shares, and quick. */
const MOST_ROWS = 2000;
const CHARACTERS = 1000;
const MOST_LANGUAGES = 12;

export class LanguageSurvey {
  readonly #counts = new Map<string, number>();
  #rows = 0;

  add(text: string): void {
    if (this.#rows === MOST_ROWS) return;
    this.#rows += 1;
    const result = eld.detect(text.slice(0, CHARACTERS));
    const language = result.isReliable() ? result.language : 'uncertain';
    this.#counts.set(language, (this.#counts.get(language) ?? 0) + 1);
  }

  section(): SectionOf<'table'> {
    const sorted = [...this.#counts].sort((a, b) => b[1] - a[1]);
    return {
      kind: 'table',
      title: 'Languages',
      note: `Of ${this.#rows === MOST_ROWS ? 'the first ' : ''}${formatFact(this.#rows)} rows, by their first ${formatFact(CHARACTERS)} characters (ISO 639-1).`,
      columns: ['language', 'rows', 'share'],
      rows: sorted.slice(0, MOST_LANGUAGES).map(([language, count]) => [language, count, count / this.#rows]),
    };
  }
}
