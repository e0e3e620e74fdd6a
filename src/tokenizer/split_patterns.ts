/**
 * The split patterns by name, and the pre-tokenizers of `tokenizer.json` files that stand for them. A pattern is known
 * by the sequence of its steps; the native scanners give the same words.
 */
import { z } from 'zod';
import type { SplitPattern } from '../native/addon.ts';

const WORDS = "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|";
const SPACES = '\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+';
const CL100K = `${WORDS}\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|${SPACES}`;
const QWEN2 = `${WORDS}\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|${SPACES}`;
const QWEN3_5 = `(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?[\\p{L}\\p{M}]+|\\p{N}| ?[^\\s\\p{L}\\p{M}\\p{N}]+[\\r\\n]*|${SPACES}`;
const CAPITALS = '[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]';
const SMALL = '[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]';
const cased = (after: string): string =>
  `[^\\r\\n\\p{L}\\p{N}]?${CAPITALS}*${SMALL}+${after}|[^\\r\\n\\p{L}\\p{N}]?${CAPITALS}+${SMALL}*${after}|`;
const O200K = `${cased("(?i:'s|'t|'re|'ve|'m|'ll|'d)?")}\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|${SPACES}`;
const TEKKEN = `${cased('')}\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|${SPACES}`;
const DEEPSEEK3_WORDS =
  '[!"#$%&\'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|[^\r\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+| ?[\\p{P}\\p{S}]+[\r\n]*|\\s*[\r\n]+|\\s+(?!\\S)|\\s+';

/** Expressions that a `Split` may have; several spellings may say the same. */
const EXPRESSIONS = new Map([
  ["'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+", 'gpt2'],
  [CL100K, 'cl100k'],
  [
    "'(?i:[sdmt]|ll|ve|re)|[^\\r\\n\\p{L}\\p{N}]?+\\p{L}+|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]++[\\r\\n]*|\\s*[\\r\\n]|\\s+(?!\\S)|\\s+",
    'cl100k',
  ],
  [QWEN2, 'qwen2'],
  [QWEN3_5, 'qwen3_5'],
  [O200K, 'o200k'],
  [TEKKEN, 'tekken'],
  ['\\p{N}{1,3}', 'numbers by three'],
  ['[一-龥぀-ゟ゠-ヿ]+', 'han and kana'],
  [DEEPSEEK3_WORDS, 'deepseek3 words'],
  ['[0-9][0-9][0-9]', 'three digits'],
]);
/** Those that match all of any text, so that to keep the matches alone changes nothing. */
const COVERING = new Set(['gpt2', 'cl100k', 'qwen2', 'qwen3_5', 'o200k', 'tekken']);

const split = (regex: string): object => ({
  type: 'Split',
  pattern: { Regex: regex },
  behavior: 'Isolated',
  invert: false,
});
const byteLevel = (useRegex: boolean): object => ({
  type: 'ByteLevel',
  add_prefix_space: false,
  trim_offsets: true,
  use_regex: useRegex,
});
const digits = (individual: boolean): object => ({ type: 'Digits', individual_digits: individual });

/** Patterns of vocabularies of characters: words begin at spaces, and their merges are all that a file has of them. */
export const CHARACTER_PATTERNS = ['spaces', 'spaces_digits'] as const;
export type CharacterPattern = (typeof CHARACTER_PATTERNS)[number];

/** How a pattern is written to a file. cl100k and Llama 3 publish the same expression. */
const WRITTEN: Record<Exclude<SplitPattern, CharacterPattern | 'each_space' | 'none'>, object[]> = {
  gpt2: [byteLevel(true)],
  gpt2_digits: [digits(true), byteLevel(true)],
  falcon: [
    { type: 'Punctuation', behavior: 'Contiguous' },
    byteLevel(true),
    digits(false),
    split('[0-9][0-9][0-9]'),
  ],
  llama3: [split(CL100K), byteLevel(false)],
  cl100k: [split(CL100K), byteLevel(false)],
  qwen2: [split(QWEN2), byteLevel(false)],
  qwen3_5: [split(QWEN3_5), byteLevel(false)],
  o200k: [split(O200K), byteLevel(false)],
  tekken: [split(TEKKEN), byteLevel(false)],
  deepseek3: [split('\\p{N}{1,3}'), split('[一-龥぀-ゟ゠-ヿ]+'), split(DEEPSEEK3_WORDS), byteLevel(false)],
};
/** Patterns of byte-level vocabularies. */
export type BytePattern = keyof typeof WRITTEN;
export const BYTE_PATTERNS = Object.keys(WRITTEN) as [BytePattern, ...BytePattern[]];

/** The pre-tokenizer of a file whose vocabulary is byte-level. */
export function writePreTokenizer(pattern: BytePattern): object {
  const steps = WRITTEN[pattern];
  return steps.length === 1 ? steps[0]! : { type: 'Sequence', pretokenizers: steps };
}

const stepSchema = z.discriminatedUnion('type', [
  z.object({
    type: z.literal('ByteLevel'),
    add_prefix_space: z.boolean().default(true),
    use_regex: z.boolean().default(true),
  }),
  z.object({
    type: z.literal('Split'),
    pattern: z.union([z.object({ Regex: z.string() }), z.object({ String: z.string() })]),
    behavior: z.string(),
    invert: z.boolean(),
  }),
  z.object({ type: z.literal('Digits'), individual_digits: z.boolean() }),
  z.object({ type: z.literal('Punctuation'), behavior: z.string().default('Isolated') }),
  z.object({
    type: z.literal('Metaspace'),
    replacement: z.string(),
    prepend_scheme: z.enum(['always', 'first', 'never']).optional(),
    add_prefix_space: z.boolean().optional(),
    split: z.boolean().default(true),
  }),
]);
export type PreTokenizerStep = z.output<typeof stepSchema>;

export const preTokenizerSchema = z
  .union([
    z.null(),
    stepSchema,
    z.object({ type: z.literal('Sequence'), pretokenizers: z.array(stepSchema) }),
  ])
  .transform((value): PreTokenizerStep[] => {
    if (value === null) return [];
    return value.type === 'Sequence' ? value.pretokenizers : [value];
  });

/** What one step does, as a word; undefined for one that is not known. */
function stepName(step: PreTokenizerStep): string | undefined {
  switch (step.type) {
    case 'ByteLevel':
      return step.use_regex ? 'gpt2 bytes' : 'bytes';
    case 'Digits':
      return step.individual_digits ? 'each digit' : 'digit runs';
    case 'Punctuation':
      return step.behavior === 'Contiguous' ? 'punctuation runs' : undefined;
    case 'Metaspace':
      return undefined;
    case 'Split': {
      const name = 'Regex' in step.pattern ? EXPRESSIONS.get(step.pattern.Regex) : undefined;
      const keepsMatches = step.behavior === 'Removed' && step.invert && COVERING.has(name ?? '');
      return keepsMatches || (step.behavior === 'Isolated' && !step.invert) ? name : undefined;
    }
  }
}

const namesOf = (steps: readonly PreTokenizerStep[]): string => steps.map(stepName).join(', ');
const READ = new Map<string, BytePattern>([
  ['gpt2, bytes', 'gpt2'],
  ...BYTE_PATTERNS.map((pattern): [string, BytePattern] => [
    namesOf(WRITTEN[pattern].map((step) => stepSchema.parse(step))),
    pattern,
  ]),
]);
// The same expression has two names; files that say no more are taken for the better known one.
READ.set('cl100k, bytes', 'llama3');

/** The byte-level pattern of these steps; else the first step (or their order) that is not known, in words. */
export function bytePatternOf(steps: readonly PreTokenizerStep[]): BytePattern | { unknown: string } {
  const pattern = READ.get(namesOf(steps));
  if (pattern !== undefined) return pattern;
  const odd = steps.find((step) => stepName(step) === undefined);
  if (odd?.type === 'Split')
    return { unknown: `the split pattern ${JSON.stringify(odd.pattern)} (${odd.behavior})` };
  return {
    unknown: odd
      ? `a ${odd.type} like this`
      : `the sequence of ${steps.map(({ type }) => type).join(', ') || 'nothing'}`,
  };
}
