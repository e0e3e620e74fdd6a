/** Finds texts that name something of the *unseen* countries, so that nothing of them is in what a model trains on. */
import type { Country } from './countries.ts';

/** Every word that belongs to a country alone: its names, capital, people and money. */
function termsOf(country: Country): string[] {
  const { aliases, capital, currency, demonym } = country;
  return [...aliases, capital, ...demonym.split(/, | or /), ...(currency === undefined ? [] : [currency])];
}

/**
 * Makes a test for whole words, whatever their case and accents, that belong to an *unseen* country. A term that a
 * country of the text shares (the euro, the CFA franc) tells nothing of the unseen one and does not count.
 */
export function unseenMentions(countries: Country[]): (text: string) => boolean {
  const shared = new Set(
    countries
      .filter((country) => country.split !== 'unseen')
      .flatMap((country) => termsOf(country).map(plain)),
  );
  const terms = countries
    .filter((country) => country.split === 'unseen')
    .flatMap(termsOf)
    .map(plain)
    .filter((term) => !shared.has(term));
  const escaped = terms.map((term) => term.replace(/[.*+?^${}()|[\]\\]/g, '\\$&'));
  // Plurals and possessives ("Fijians", "Fiji's") are mentions too.
  const pattern = new RegExp(`(?<![\\p{L}\\p{N}])(?:${escaped.join('|')})(?:s|'s)?(?![\\p{L}\\p{N}])`, 'u');
  return (text) => pattern.test(plain(text));
}

/** Lower case without accents. */
function plain(text: string): string {
  return text.normalize('NFD').replace(/\p{M}/gu, '').toLowerCase();
}
