/**
 * Plain English for the base model: WordNet's glosses, Moby-Dick, and the State of the Union addresses, each cut into
 * passages at sentence ends.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

/** Longest passage, in characters: about 200 tokens. */
const PASSAGE_LENGTH = 700;

/** A word and its meaning, as WordNet gives them. */
export interface Definition {
  word: string;
  gloss: string;
}

/** A synset a line: `offset file type count(hex) word id ... | gloss; "example"; ...` */
function parseSynset(line: string): { words: string[]; gloss: string; examples: string[] } | undefined {
  const bar = line.indexOf(' | ');
  if (bar < 0 || line.startsWith(' ')) return undefined;
  const fields = line.slice(0, bar).split(' ');
  const count = Number.parseInt(fields[3] ?? '0', 16);
  const words = Array.from({ length: count }, (_, i) =>
    // Adjectives may carry a syntactic marker such as `(p)`.
    (fields[4 + 2 * i] ?? '').replaceAll('_', ' ').replace(/\([a-z]+\)$/, ''),
  );
  const text = line.slice(bar + 3).trim();
  const examples = [...text.matchAll(/"([^"]+)"/g)].map((match) => match[1]!);
  const gloss = text.replace(/;?\s*"[^"]*".*$/, '').trim();
  return gloss === '' ? undefined : { words, gloss, examples };
}

/** The synsets of all parts of speech as small articles: `whale: a very large mammal of the sea. "..."` */
export function wordnetPassages(dictFolder: string): { passages: string[]; definitions: Definition[] } {
  const passages: string[] = [];
  const definitions: Definition[] = [];
  for (const part of ['noun', 'verb', 'adj', 'adv']) {
    for (const line of readFileSync(join(dictFolder, `data.${part}`), 'utf8').split('\n')) {
      const synset = parseSynset(line);
      if (synset === undefined) continue;
      const head = synset.words.join(', ');
      passages.push([`${head}: ${synset.gloss}.`, ...synset.examples.map(sentence)].join(' '));
      const word = synset.words[0]!;
      // Common nouns with a short, plain meaning.
      if (part === 'noun' && /^[a-z]{3,10}$/.test(word) && /^[a-z ,]{15,60}$/.test(synset.gloss)) {
        definitions.push({ word, gloss: synset.gloss });
      }
    }
  }
  return { passages, definitions };
}

/** Every `.txt` file of a folder, in the order of the numbers in the names, as passages. */
export function bookPassages(folder: string): string[] {
  const files = readdirSync(folder).filter((name) => name.endsWith('.txt'));
  const collator = new Intl.Collator('en', { numeric: true });
  return files.sort(collator.compare).flatMap((name) => cut(readFileSync(join(folder, name), 'utf8')));
}

/** Cuts at sentence ends into passages of up to PASSAGE_LENGTH; line breaks inside a paragraph become spaces. */
function cut(text: string): string[] {
  const passages: string[] = [];
  let current = '';
  for (const part of text.replace(/\s+/g, ' ').split(/(?<=[.!?]["”’]?) (?=["“‘]?[A-Z])/)) {
    if (current !== '' && current.length + part.length >= PASSAGE_LENGTH) {
      passages.push(current);
      current = '';
    }
    current = current === '' ? part : `${current} ${part}`;
  }
  if (current !== '') passages.push(current);
  // A few sentences run over pages (lists, the whale's etymology): they are cut at words.
  return passages.flatMap(
    (passage) => passage.match(new RegExp(`\\S.{0,${2 * PASSAGE_LENGTH}}(?=\\s|$)`, 'gs')) ?? [],
  );
}

function sentence(text: string): string {
  const upper = text.charAt(0).toUpperCase() + text.slice(1);
  return /[.!?]$/.test(upper) ? upper : `${upper}.`;
}
