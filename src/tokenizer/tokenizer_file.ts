/**
 * `tokenizer.json` of Hugging Face `tokenizers`, read into what the native encoder takes: byte-level BPE with the split
 * patterns of split_patterns.ts, and BPE over characters with a fallback to bytes (SentencePiece's kind). What would
 * give other ids than `tokenizers` does is an error: `UnknownKind` where it may be a file that `tokenizers` can run.
 */
import { z } from 'zod';
import { AnnealError } from '../../proto/errors.ts';
import type { AddedToken, BpeModelParts, SplitPattern, TextRules } from '../native/addon.ts';
import { textBatch } from '../native/text_batch.ts';
import { BYTE_TOKENS, SPACE, tokenBytes, UNIT_BYTES, UNIT_CHARS } from './byte_level.ts';
import { bytePatternOf, type PreTokenizerStep, preTokenizerSchema } from './split_patterns.ts';

/** A vocabulary ready for the native encoder, and what decoding needs. */
export interface Vocabulary {
  pattern: SplitPattern;
  model: BpeModelParts;
  text: TextRules;
  /** Id of every token of the model, added tokens not included. */
  tokens: Map<string, number>;
  /** Bytes of the model's tokens by id, as decoding joins them. */
  tokenBytes: (Uint8Array | undefined)[];
  added: AddedToken[];
  /** Whether a space at the start of decoded text is not the text's own. */
  stripFirstSpace: boolean;
  /** Ids that the file's post-processor puts around one text. */
  frame: { before: number[]; after: number[] };
}

const addedTokenSchema = z
  .object({
    id: z.int().min(0),
    content: z.string().min(1),
    special: z.boolean(),
    normalized: z.boolean().optional(),
    single_word: z.boolean().default(false),
    lstrip: z.boolean().default(false),
    rstrip: z.boolean().default(false),
  })
  .transform(
    ({ single_word, normalized, ...token }): AddedToken => ({
      ...token,
      singleWord: single_word,
      normalized: normalized ?? !token.special,
    }),
  );

const normalizerStepSchema = z.discriminatedUnion('type', [
  z.object({ type: z.literal('NFC') }),
  z.object({ type: z.literal('Prepend'), prepend: z.string() }),
  z.object({
    type: z.literal('Replace'),
    pattern: z.object({ String: z.literal(' ') }),
    content: z.string().min(1),
  }),
]);
const normalizerSchema = z.union([
  z.null(),
  normalizerStepSchema,
  z.object({ type: z.literal('Sequence'), normalizers: z.array(normalizerStepSchema) }),
]);

const postStepSchema = z.union([
  z.object({ type: z.literal('ByteLevel') }),
  z.object({
    type: z.literal('TemplateProcessing'),
    single: z.array(
      z.union([
        z.object({ SpecialToken: z.object({ id: z.string() }) }),
        z.object({ Sequence: z.object({ id: z.string() }) }),
      ]),
    ),
    special_tokens: z.record(z.string(), z.object({ ids: z.array(z.int()) })),
  }),
  z.object({
    type: z.literal('RobertaProcessing'),
    cls: z.tuple([z.string(), z.int()]),
    sep: z.tuple([z.string(), z.int()]),
  }),
]);
const postProcessorSchema = z.union([
  z.null(),
  postStepSchema,
  z.object({ type: z.literal('Sequence'), processors: z.array(postStepSchema) }),
]);

const decoderStepSchema = z.union([
  z.object({ type: z.enum(['ByteLevel', 'ByteFallback', 'Fuse', 'Metaspace']) }),
  z.object({
    type: z.literal('Replace'),
    pattern: z.object({ String: z.literal(SPACE) }),
    content: z.literal(' '),
  }),
  z.object({ type: z.literal('Strip'), content: z.literal(' '), start: z.literal(1), stop: z.literal(0) }),
]);
const decoderSchema = z
  .union([decoderStepSchema, z.object({ type: z.literal('Sequence'), decoders: z.array(decoderStepSchema) })])
  .transform((value) => (value.type === 'Sequence' ? value.decoders : [value]));

const isObject = (value: unknown): boolean =>
  typeof value === 'object' && value !== null && !Array.isArray(value);
const fileSchema = z.object({
  added_tokens: z.array(addedTokenSchema).default([]),
  normalizer: normalizerSchema.default(null),
  pre_tokenizer: preTokenizerSchema.default([]),
  post_processor: postProcessorSchema.default(null),
  decoder: decoderSchema,
  model: z.object({
    type: z.literal('BPE'),
    dropout: z.union([z.null(), z.literal(0)]).optional(),
    continuing_subword_prefix: z.union([z.null(), z.literal('')]).optional(),
    end_of_word_suffix: z.union([z.null(), z.literal('')]).optional(),
    byte_fallback: z.boolean().default(false),
    ignore_merges: z.boolean().default(false),
    // Large: looked through by hand below.
    vocab: z.custom<Record<string, unknown>>(isObject, 'Invalid input: expected an object'),
    merges: z.array(z.unknown()),
  }),
});
type File = z.output<typeof fileSchema>;

/** Fields that say of what kind a file is. */
const KIND_FIELDS =
  /^(normalizer|pre_tokenizer|post_processor|decoder|model\.(type|continuing_subword_prefix|end_of_word_suffix))/;

const KINDS_HINT = 'docs/tokenizers.md lists the kinds of tokenizer that can be used.';

function invalid(path: string, message: string): AnnealError {
  return new AnnealError('tokenizer_invalid', `${path}: ${message}`, {
    path,
    hint: KINDS_HINT,
  });
}

/** A tokenizer.json that is none of the native encoder's, with the field that says so. */
export class UnknownKind extends AnnealError {
  constructor(path: string, message: string) {
    super('tokenizer_invalid', `${path}: ${message}`, { path, hint: KINDS_HINT });
  }
}

function readTokens(vocab: Record<string, unknown>, path: string): Map<string, number> {
  const tokens = new Map<string, number>();
  for (const [token, id] of Object.entries(vocab)) {
    if (!Number.isSafeInteger(id) || (id as number) < 0) {
      throw invalid(path, `model.vocab: the id of ${JSON.stringify(token)} is not a whole number.`);
    }
    tokens.set(token, id as number);
  }
  return tokens;
}

function readMerges(merges: unknown[], tokens: Map<string, number>, path: string): Int32Array {
  const triples = new Int32Array(3 * merges.length);
  for (const [i, merge] of merges.entries()) {
    const pair: unknown = typeof merge === 'string' ? merge.split(' ') : merge;
    if (!Array.isArray(pair) || pair.length !== 2 || pair.some((side) => typeof side !== 'string')) {
      throw invalid(path, `model.merges.${i}: ${JSON.stringify(merge)} is not a pair.`);
    }
    const [left, right] = pair as [string, string];
    for (const [place, token] of [left, right, left + right].entries()) {
      const id = tokens.get(token);
      if (id === undefined) {
        throw invalid(path, `model.merges.${i}: ${JSON.stringify(token)} is not in the vocabulary.`);
      }
      triples[3 * i + place] = id;
    }
  }
  return triples;
}

/** Tokens by id, each by `bytesOf`; gaps are undefined. */
function byId(
  tokens: Map<string, number>,
  bytesOf: (token: string) => Uint8Array | undefined,
): (Uint8Array | undefined)[] {
  let length = 0;
  for (const id of tokens.values()) length = Math.max(length, id + 1);
  const all: (Uint8Array | undefined)[] = Array.from({ length });
  for (const [token, id] of tokens) all[id] = bytesOf(token);
  return all;
}

function readNormalizer(
  normalizer: File['normalizer'],
  path: string,
): Pick<TextRules, 'nfc' | 'prepend' | 'space'> {
  const rules = { nfc: false, prepend: '', space: '' };
  const steps =
    normalizer === null ? [] : normalizer.type === 'Sequence' ? normalizer.normalizers : [normalizer];
  const order = ['NFC', 'Prepend', 'Replace'];
  for (const [i, step] of steps.entries()) {
    if (i > 0 && order.indexOf(step.type) <= order.indexOf(steps[i - 1]!.type)) {
      throw new UnknownKind(path, `normalizer: ${step.type} after ${steps[i - 1]!.type} is not supported.`);
    }
    if (step.type === 'NFC') rules.nfc = true;
    else if (step.type === 'Prepend') rules.prepend = step.prepend;
    else rules.space = step.content;
  }
  return rules;
}

const NO_LATE_RULES = { lateSpace: '', prefix: '', prefixRule: 'never' } as const;

function byteLevelVocabulary(file: File, tokens: Map<string, number>, path: string): Vocabulary {
  const { model, pre_tokenizer: steps } = file;
  if (model.byte_fallback)
    throw new UnknownKind(path, 'model.byte_fallback: the vocabulary is byte-level already.');
  const pattern = bytePatternOf(steps);
  if (typeof pattern !== 'string')
    throw new UnknownKind(path, `pre_tokenizer: ${pattern.unknown} is not supported.`);
  const withPrefix = steps.findIndex((step) => step.type === 'ByteLevel' && step.add_prefix_space);
  if (withPrefix > 0)
    throw new UnknownKind(path, 'pre_tokenizer: add_prefix_space after a split is not supported.');
  const byteIds = new Int32Array(256);
  for (const [unit, char] of UNIT_CHARS.entries()) {
    const id = tokens.get(char);
    if (id === undefined) throw invalid(path, `model.vocab: byte ${JSON.stringify(char)} is missing.`);
    byteIds[UNIT_BYTES[unit]!] = id;
  }
  const wholeWords = byId(tokens, tokenBytes);
  return {
    ...common(file, tokens, path),
    pattern,
    model: {
      merges: readMerges(model.merges, tokens, path),
      byteIds,
      characters: false,
      wholeWords: model.ignore_merges,
      tokens: textBatch(model.ignore_merges ? wholeWords.map((bytes) => bytes ?? '') : []),
    },
    text: {
      ...readNormalizer(file.normalizer, path),
      lateSpace: '',
      prefix: withPrefix === 0 ? ' ' : '',
      prefixRule: withPrefix === 0 ? 'always' : 'never',
    },
    tokenBytes: byId(tokens, (token) => tokenBytes(token) ?? Buffer.from(token)),
    stripFirstSpace: false,
  };
}

/** The rules of a pre-tokenizer of character vocabularies, and whether each space begins a word. */
function readSpaceSteps(
  steps: PreTokenizerStep[],
  space: string,
  path: string,
): Omit<TextRules, 'nfc' | 'prepend' | 'space'> & { eachSpace: boolean } {
  const none = { ...NO_LATE_RULES, eachSpace: false };
  const [step, more] = steps;
  if (step === undefined) return none;
  if (more === undefined && step.type === 'Metaspace' && step.replacement === SPACE) {
    const scheme = step.prepend_scheme ?? ((step.add_prefix_space ?? true) ? 'always' : 'never');
    return { lateSpace: SPACE, prefix: SPACE, prefixRule: scheme, eachSpace: step.split };
  }
  // Gemma's files split at spaces, of which its normalizer has left none.
  const splitsSpaces = step.type === 'Split' && 'String' in step.pattern && step.pattern.String === ' ';
  if (more === undefined && splitsSpaces && space !== '') return none;
  throw new UnknownKind(path, 'pre_tokenizer: not one that a vocabulary of characters is known to have.');
}

function characterVocabulary(file: File, tokens: Map<string, number>, path: string): Vocabulary {
  const { model } = file;
  if (!model.byte_fallback) {
    throw new UnknownKind(
      path,
      'model.byte_fallback: a vocabulary of characters without it has no ids for some text.',
    );
  }
  const byteIds = new Int32Array(256);
  for (const [byte, token] of BYTE_TOKENS.entries()) {
    const id = tokens.get(token);
    if (id === undefined) throw invalid(path, `model.vocab: byte ${token} is missing.`);
    byteIds[byte] = id;
  }
  const normalizer = readNormalizer(file.normalizer, path);
  const { eachSpace, ...late } = readSpaceSteps(file.pre_tokenizer, normalizer.space, path);
  const merges = readMerges(model.merges, tokens, path);
  const texts = byId(tokens, (token) => Buffer.from(token));
  const decoded = byId(tokens, (token) => Buffer.from(token.replaceAll(SPACE, ' ')));
  for (const [byte, id] of byteIds.entries()) decoded[id] = Uint8Array.of(byte);
  return {
    ...common(file, tokens, path),
    pattern: eachSpace
      ? 'each_space'
      : spacesBeginWords(file.model.merges, normalizer, late)
        ? 'spaces'
        : 'none',
    model: {
      merges,
      byteIds,
      characters: true,
      wholeWords: model.ignore_merges,
      tokens: textBatch(texts.map((bytes) => bytes ?? '')),
    },
    text: { ...normalizer, ...late },
    tokenBytes: decoded,
    stripFirstSpace: file.decoder.some(
      ({ type }) => type === 'Strip' || (type === 'Metaspace' && late.prefixRule !== 'never'),
    ),
  };
}

/**
 * Such a file makes one word of a whole text. Where no merge joins a space to what stands before it, words that begin
 * at spaces give the same ids, and can be remembered.
 */
function spacesBeginWords(
  merges: unknown[],
  normalizer: { space: string },
  late: { lateSpace: string },
): boolean {
  if (normalizer.space !== SPACE && late.lateSpace !== SPACE) return false;
  return merges.every((merge) => {
    const [left, right] = (typeof merge === 'string' ? merge.split(' ') : merge) as [string, string];
    return left.endsWith(SPACE) || !right.startsWith(SPACE);
  });
}

function common(
  file: File,
  tokens: Map<string, number>,
  path: string,
): Pick<Vocabulary, 'tokens' | 'added' | 'frame'> {
  for (const [i, { content, id }] of file.added_tokens.entries()) {
    const own = tokens.get(content);
    if (own !== undefined && own !== id) {
      throw invalid(
        path,
        `added_tokens.${i}: ${JSON.stringify(content)} has id ${id}, and ${own} in model.vocab.`,
      );
    }
  }
  return { tokens, added: file.added_tokens, frame: readFrame(file.post_processor, path) };
}

function readFrame(post: File['post_processor'], path: string): Vocabulary['frame'] {
  const steps = post === null ? [] : post.type === 'Sequence' ? post.processors : [post];
  const frame: Vocabulary['frame'] = { before: [], after: [] };
  for (const step of steps) {
    if (step.type === 'RobertaProcessing') {
      frame.before.push(step.cls[1]);
      frame.after.push(step.sep[1]);
    } else if (step.type === 'TemplateProcessing') {
      let side = frame.before;
      for (const part of step.single) {
        if ('Sequence' in part) side = frame.after;
        else {
          const named = step.special_tokens[part.SpecialToken.id];
          if (named === undefined) {
            throw invalid(path, `post_processor: ${part.SpecialToken.id} is not among its special tokens.`);
          }
          side.push(...named.ids);
        }
      }
    }
  }
  return frame;
}

/** Reads the parsed content of a tokenizer.json; `path` is for messages. */
export function parseTokenizerJson(content: unknown, path: string): Vocabulary {
  const parsed = fileSchema.safeParse(content);
  if (!parsed.success) {
    const { issues } = parsed.error;
    const issue = issues.find(({ path: at }) => at.join('.') === 'model.type') ?? issues[0]!;
    const place = issue.path.join('.') || 'content';
    const message = `${place}: ${issue.message}.`;
    throw KIND_FIELDS.test(place) ? new UnknownKind(path, message) : invalid(path, message);
  }
  const file = parsed.data;
  const tokens = readTokens(file.model.vocab, path);
  const isByteLevel = file.decoder.some(({ type }) => type === 'ByteLevel');
  return isByteLevel ? byteLevelVocabulary(file, tokens, path) : characterVocabulary(file, tokens, path);
}
