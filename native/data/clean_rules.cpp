#include "data/clean_rules.h"

namespace anneal {

std::vector<std::string> rule_names(const CleanRules& rules) {
  std::vector<std::string> names = {
      "invalid_utf8",
      "fix_mojibake",
      "control_characters",
      "unicode_nfc",
      "boilerplate_lines",
      "max_line_length",
      "min_document_length",
      "max_document_length",
      "languages",
      "min_language_score",
      "gopher_repetition.dup_para_frac",
      "gopher_repetition.dup_para_char_frac",
      "gopher_repetition.dup_line_frac",
      "gopher_repetition.dup_line_char_frac",
      "gopher_quality.min_doc_words",
      "gopher_quality.max_doc_words",
      "gopher_quality.min_avg_word_length",
      "gopher_quality.max_avg_word_length",
      "gopher_quality.max_symbol_word_ratio (#)",
      "gopher_quality.max_symbol_word_ratio (...)",
      "gopher_quality.max_bullet_lines_ratio",
      "gopher_quality.max_ellipsis_lines_ratio",
      "gopher_quality.min_alpha_words_ratio",
      "gopher_quality.min_stop_words",
      "c4.max_word_length",
      "c4.remove_citations",
      "c4.filter_no_terminal_punct",
      "c4.min_words_per_line",
      "c4.filter_lorem_ipsum",
      "c4.filter_javascript",
      "c4.filter_curly_bracket",
      "c4.filter_policy",
      "c4.min_num_sentences",
      "c4_badwords",
      "empty",
      "fineweb.line_punct_thr",
      "fineweb.short_line_thr",
      "fineweb.char_duplicates_ratio",
      "fineweb.new_line_ratio",
      "pii.email",
      "pii.ip",
      "pii.phone",
      "pii.credit_card",
      "pii.iban",
      "secrets.aws_key",
      "secrets.github_token",
      "secrets.private_key",
      "secrets.jwt",
      "secrets.slack_token",
      "secrets.google_api_key",
      "secrets.generic_secret",
  };
  if (rules.gopher_repetition) {
    for (const auto& gram : rules.gopher_repetition->top_n_grams) {
      names.push_back("gopher_repetition.top_" + std::to_string(gram.first) + "_gram");
    }
    for (const auto& gram : rules.gopher_repetition->dup_n_grams) {
      names.push_back("gopher_repetition.dup_" + std::to_string(gram.first) + "_gram");
    }
  }
  return names;
}

}  // namespace anneal
