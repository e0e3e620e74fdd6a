/** Verdicts and texts of documents under the same filter, ours and datatrove's. */
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { createCleaner } from '../../src/data/cleaning/cleaner.ts';
import { cleaningSettings } from '../../src/data/cleaning/settings.ts';
import { loadAddon } from '../../src/native/addon.ts';
import { documentOf, textBatch } from '../../src/native/text_batch.ts';

export const python = process.env.ANNEAL_PEERS_PYTHON;

export type Verdict = [reason: string | null, text: string];

export function peer(request: object): Verdict[] {
  const run = spawnSync(python!, [join(import.meta.dirname, 'cleaning_peer.py')], {
    input: JSON.stringify(request),
    maxBuffer: 1 << 28,
    encoding: 'utf8',
  });
  if (run.status !== 0) throw new Error(run.stderr);
  return JSON.parse(run.stdout) as Verdict[];
}

/** Our names of rules in datatrove's words. */
const REASONS: Record<string, string> = {
  empty: 'empty',
  'gopher_repetition.dup_para_frac': 'dup_para_frac',
  'gopher_repetition.dup_para_char_frac': 'dup_para_char_frac',
  'gopher_repetition.dup_line_frac': 'dup_line_frac',
  'gopher_repetition.dup_line_char_frac': 'dup_line_char_frac',
  'gopher_quality.min_doc_words': 'gopher_short_doc',
  'gopher_quality.max_doc_words': 'gopher_long_doc',
  'gopher_quality.min_avg_word_length': 'gopher_below_avg_threshold',
  'gopher_quality.max_avg_word_length': 'gopher_above_avg_threshold',
  'gopher_quality.max_symbol_word_ratio (#)': 'gopher_too_many_hashes',
  'gopher_quality.max_symbol_word_ratio (...)': 'gopher_too_many_ellipsis',
  'gopher_quality.max_bullet_lines_ratio': 'gopher_too_many_bullets',
  'gopher_quality.max_ellipsis_lines_ratio': 'gopher_too_many_end_ellipsis',
  'gopher_quality.min_alpha_words_ratio': 'gopher_below_alpha_threshold',
  'gopher_quality.min_stop_words': 'gopher_enough_stop_words',
  'c4.filter_lorem_ipsum': 'lorem_ipsum',
  'c4.filter_curly_bracket': 'curly_bracket',
  'c4.min_num_sentences': 'too_few_sentences',
  c4_badwords: 'document_removed_with_badwords',
  'fineweb.line_punct_thr': 'line_punct_ratio',
  'fineweb.short_line_thr': 'short_line_ratio',
  'fineweb.char_duplicates_ratio': 'char_dup_ratio',
  'fineweb.new_line_ratio': 'list_ratio',
};

function reasonOf(rule: string): string {
  const gram = /^gopher_repetition\.(top|dup)_(\d+)_gram$/.exec(rule);
  if (gram) return gram[1] === 'top' ? `top_${gram[2]}_gram` : `duplicated_${gram[2]}_n_grams`;
  return REASONS[rule]!;
}

export async function ours(settings: object, documents: readonly string[]): Promise<Verdict[]> {
  const context = { addon: loadAddon(), threads: 2, seed: 0 };
  const cleaner = await createCleaner(cleaningSettings.parse(settings), context);
  const { verdicts, texts } = await cleaner.run(textBatch(documents.map((text) => Buffer.from(text))));
  return documents.map((_, i) => {
    const verdict = verdicts[i]!;
    return [
      verdict === 0 ? null : reasonOf(cleaner.rules[verdict - 1]!),
      Buffer.from(documentOf(texts, i)).toString(),
    ];
  });
}
