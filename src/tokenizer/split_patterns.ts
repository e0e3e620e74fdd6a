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

/** DeepSeek LLM's letters: those with case, of which some look like others. */
const CASED_LETTERS =
  'A-Za-z\u00b5\u00c0-\u00d6\u00d8-\u00f6\u00f8-\u01ba\u01bc-\u01bf\u01c4-\u0293\u0295-\u02af\u0370-\u0373\u0376\u0377\u037b-\u037d\u037f\u0386\u0388-\u038a\u038c\u038e-\u03a1\u03a3-\u03f5\u03f7-\u0481\u048a-\u052f\u0531-\u0556\u10a0-\u10c5\u13a0-\u13f5\u13f8-\u13fd\u1c90-\u1cba\u1cbd-\u1cbf\u1d00-\u1d2b\u1d6b-\u1d77\u1d79-\u1d9a\u1e00-\u1f15\u1f18-\u1f1d\u1f20-\u1f45\u1f48-\u1f4d\u1f50-\u1f57\u1f59\u1f5b\u1f5d\u1f5f-\u1f7d\u1f80-\u1fb4\u1fb6-\u1fbc\u1fbe\u1fc2-\u1fc4\u1fc6-\u1fcc\u1fd0-\u1fd3\u1fd6-\u1fdb\u1fe0-\u1fec\u1ff2-\u1ff4\u1ff6-\u1ffc\u2102\u2107\u210a-\u2113\u2115\u2119-\u211d\u2124\u2126\u2128\u212a-\u212d\u212f-\u2134\u2139\u213c-\u213f\u2145-\u2149\u214e\u2183\u2184\u2c00-\u2c7b\u2c7e-\u2ce4\u2ceb-\u2cee\u2cf2\u2cf3\ua640-\ua66d\ua680-\ua69b\ua722-\ua76f\ua771-\ua787\ua78b-\ua78e\uab70-\uabbf\ufb00-\ufb06\ufb13-\ufb17\uff21-\uff3a\uff41-\uff5a\u{10400}-\u{1044f}\u{104b0}-\u{104d3}\u{104d8}-\u{104fb}\u{10c80}-\u{10cb2}\u{10cc0}-\u{10cf2}\u{118a0}-\u{118df}\u{1e900}-\u{1e943}';
const DEEPSEEK_LETTERS = `\\s?[${CASED_LETTERS}]+`;
const DEEPSEEK_SIGNS = '\\s?[!-/:-~！-／：-～‘-‟\u3000-。]+';
const DEEPSEEK_SCRIPTS = '[一-龥\u0800-一가-\ud7ff]+';
const BLOOM = ' ?[^(\\s|[.,!?…。，、।۔،])]+';

/** Expressions that a `Split` may have; several spellings may say the same. */
const EXPRESSIONS = new Map([
  ["'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+", 'gpt2'],
  [CL100K, 'cl100k'],
  [
    "'(?i:[sdmt]|ll|ve|re)|[^\\r\\n\\p{L}\\p{N}]?+\\p{L}+|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]++[\\r\\n]*|\\s*[\\r\\n]|\\s+(?!\\S)|\\s+",
    'cl100k',
  ],
  [QWEN2, 'qwen2'],
  [
    "'(?i:[sdmt]|ll|ve|re)|[^\\r\\n\\p{L}\\p{N}]?+\\p{L}+|\\p{N}| ?[^\\s\\p{L}\\p{N}]++[\\r\\n]*|\\s*[\\r\\n]|\\s+(?!\\S)|\\s+",
    'qwen2',
  ],
  [QWEN3_5, 'qwen3_5'],
  [O200K, 'o200k'],
  [TEKKEN, 'tekken'],
  ['\\p{N}{1,3}', 'numbers by three'],
  ['[一-龥぀-ゟ゠-ヿ]+', 'han and kana'],
  [DEEPSEEK3_WORDS, 'deepseek3 words'],
  ['[0-9][0-9][0-9]', 'three digits'],
  ['[\r\n]', 'each newline'],
  [DEEPSEEK_LETTERS, 'spaced cased letters'],
  [DEEPSEEK_SIGNS, 'spaced signs'],
  ['\\s+$', 'spaces at the end'],
  [DEEPSEEK_SCRIPTS, 'han, kana and hangul'],
  ['\\s?\\p{L}+', 'spaced letters'],
  ['\\s?\\p{P}+', 'spaced punctuation'],
  [BLOOM, 'bloom'],
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
  deepseek_llm: [
    split('[\r\n]'),
    split(DEEPSEEK_LETTERS),
    split(DEEPSEEK_SIGNS),
    split('\\s+$'),
    split(DEEPSEEK_SCRIPTS),
    digits(true),
    byteLevel(false),
  ],
  deepseek_coder: [
    split('[\r\n]'),
    split('\\s?\\p{L}+'),
    split('\\s?\\p{P}+'),
    split(DEEPSEEK_SCRIPTS),
    digits(true),
    byteLevel(false),
  ],
  bloom: [split(BLOOM), byteLevel(false)],
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
