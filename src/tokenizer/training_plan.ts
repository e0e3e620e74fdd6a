/** How a tokenizer is trained and written: from nothing, or on top of another one. */
import { AnnealError } from '../../proto/errors.ts';
import type { BpeEncoderOptions, BpeTrainer, BpeTrainerOptions } from '../native/addon.ts';
import { textBatch } from '../native/text_batch.ts';
import { SPACE } from './byte_level.ts';
import { extendedFiles, nextId } from './extend_tokenizer.ts';
import { newTokenizerFiles } from './new_tokenizer.ts';
import { loadTokenizer } from './tokenizer.ts';
import { parseTokenizerJson } from './tokenizer_file.ts';
import { encoderOptionsOf, type NewTokenizer, tokensBefore } from './tokenizer_json.ts';
import {
  type CharacterSettings,
  type NewSettings,
  newSettings,
  reservedTokens,
  type TokenizerSettings,
} from './training_settings.ts';

export interface TrainingPlan {
  /** How the trainer reads text. */
  text: Omit<BpeTrainerOptions, 'threads' | 'maxWords'>;
  /** What the merges are made from; `trainer` has counted the words. */
  begin(trainer: Pick<BpeTrainer, 'alphabet'>): Promise<MergePlan>;
}

export interface MergePlan {
  /** Tokens beside the new merges. */
  fixed: number;
  /** What the trainer goes on from. */
  from: Pick<Parameters<BpeTrainer['train']>[0], 'base' | 'alphabet' | 'taken'>;
  /** Files of the tokenizer with these merges, by name. */
  files(merges: Int32Array): Map<string, string>;
  /** An encoder straight from the merges, to compare with the files as they are read. */
  encoder(merges: Int32Array): BpeEncoderOptions;
  /** What a text is once it has been encoded and decoded. */
  decoded(text: string): string;
}

export function planNew(settings: TokenizerSettings): TrainingPlan {
  const fresh = newSettings(settings);
  const { units, specialTokens } = fresh;
  if ('coverage' in units) return planCharacters(units, fresh, settings.vocab_size);
  const made = (merges: Int32Array): NewTokenizer => ({ ...units, merges, specialTokens });
  const merging: MergePlan = {
    fixed: 256 + specialTokens.length,
    from: { taken: textBatch(specialTokens) },
    files: (merges) => newTokenizerFiles(made(merges), fresh),
    encoder: (merges) => encoderOptionsOf(made(merges), 1),
    decoded: (text) => text,
  };
  return { text: units, begin: async () => merging };
}

function planCharacters(
  { pattern, coverage, limit, addPrefixSpace }: CharacterSettings,
  fresh: NewSettings,
  vocabSize: number,
): TrainingPlan {
  const { specialTokens } = fresh;
  return {
    text: { pattern, space: SPACE, ...(addPrefixSpace ? { prefix: SPACE } : {}) },
    async begin(trainer) {
      const alphabet = await trainer.alphabet({ coverage, ...(limit === undefined ? {} : { limit }) });
      const before = tokensBefore({ specialTokens, alphabet });
      const fixed = before.length + alphabet.length;
      if (vocabSize < fixed) {
        throw new AnnealError(
          'recipe_invalid',
          `vocab_size ${vocabSize} has no room for ${alphabet.length} characters, 256 bytes and ${specialTokens.length} special tokens.`,
          {
            path: 'vocab_size',
            hint: `Set it to ${fixed} or more, or have fewer characters: character_coverage, limit_alphabet.`,
          },
        );
      }
      // The trainer's unit 0 is what is outside of the alphabet, which no merge has.
      const made = (merges: Int32Array): NewTokenizer => ({
        ...{ pattern, alphabet, addPrefixSpace, specialTokens },
        merges: merges.map((unit) => unit - 1),
      });
      return {
        fixed,
        from: { alphabet, taken: textBatch(before) },
        files: (merges) => newTokenizerFiles(made(merges), fresh),
        encoder: (merges) => encoderOptionsOf(made(merges), 1),
        // The character itself cannot be told from the space that it stands for.
        decoded: (text) => text.replaceAll(SPACE, ' '),
      };
    },
  };
}

/** `folder`: that of the tokenizer that is extended. */
export async function planExtension(folder: string, settings: TokenizerSettings): Promise<TrainingPlan> {
  const { files } = await loadTokenizer(folder, { threads: 1 });
  const text = files.get('tokenizer.json')!;
  const vocabulary = parseTokenizerJson(JSON.parse(text), folder);
  const { pattern, model, added, text: rules } = vocabulary;
  if (model.characters || rules.prepend + rules.space + rules.lateSpace + rules.prefix !== '') {
    throw new AnnealError('tokenizer_invalid', `${folder}: only byte-level tokenizers can be extended.`, {
      path: 'base',
      hint: 'Those of GPT-2, Llama 3, Qwen and OLMo are; those that SentencePiece made are not.',
    });
  }
  const firstResult = nextId(text);
  const known = new Set(added.map(({ content }) => content));
  const wanted = [...new Set([...(settings.special_tokens ?? []), ...reservedTokens(settings)])];
  const specialTokens = wanted.filter((token) => !known.has(token));
  const fixed = firstResult + specialTokens.length;
  if (settings.vocab_size <= fixed) {
    throw new AnnealError(
      'recipe_invalid',
      `vocab_size ${settings.vocab_size} leaves no room for merges: the base and the new special tokens have ${fixed} tokens.`,
      { path: 'vocab_size', hint: `Set it to more than ${fixed}.` },
    );
  }
  const own = Array.from({ length: firstResult }, (_, id) => vocabulary.tokenBytes[id] ?? new Uint8Array(0));
  const all = own.slice();
  for (const { id, content } of added) all[id] = Buffer.from(content);
  const merging: MergePlan = {
    fixed,
    from: {
      base: { model: { ...model, tokens: textBatch(all) }, firstResult },
      taken: textBatch(specialTokens),
    },
    decoded: (text) => (rules.nfc ? text.normalize('NFC') : text),
    files: (merges) => extendedFiles(files, { merges, specialTokens }),
    encoder(merges) {
      const texts: Uint8Array[] = own.slice();
      const triples = new Int32Array((merges.length / 2) * 3);
      for (let i = 0; i < merges.length / 2; i++) {
        const [left, right] = [merges[2 * i]!, merges[2 * i + 1]!];
        triples.set([left, right, texts.length], 3 * i);
        texts.push(Buffer.concat([texts[left]!, texts[right]!]));
      }
      return {
        pattern,
        model: {
          ...model,
          merges: Int32Array.from([...model.merges, ...triples]),
          tokens: textBatch(model.wholeWords ? texts : []),
        },
        added,
        text: rules,
        threads: 1,
      };
    },
  };
  return { text: { pattern, nfc: rules.nfc }, begin: async () => merging };
}
