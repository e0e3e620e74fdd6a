// Personal data and secrets: places in a text, and what takes their place.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "data/clean_rules.h"

namespace anneal {

struct PatternMatch {
  size_t begin, end;
  Rule rule;
};

/// Whether any of the patterns is looked for.
bool patterns_wanted(const CleanRules& rules);

/// All matches of the wanted patterns, in order and not overlapping.
void find_patterns(const CleanRules& rules, std::string_view text, std::vector<PatternMatch>& matches);

/// Writes the text with a placeholder (`<EMAIL>`) for each match; false if there is none. `drop` is set where
/// one is of a rule that drops its document.
bool mask_patterns(const CleanRules& rules, std::string_view text, std::string& out, Findings& findings,
                   std::optional<Drop>& drop);

// One matcher a pattern: each looks at the place `at` that may be part of a match (clean_patterns.cpp says
// which) and sets its span. Text before `from` belongs to an earlier match.
struct PatternText {
  std::string_view text;
  size_t from;

  [[nodiscard]] char at(size_t i) const { return i < text.size() ? text[i] : '\0'; }
  [[nodiscard]] char before(size_t i) const { return i > from ? text[i - 1] : '\0'; }
};
using Matched = std::optional<std::pair<size_t, size_t>>;

// In clean_personal.cpp.
Matched match_email(const PatternText& in, size_t at);
Matched match_ipv4(const PatternText& in, size_t at);
Matched match_ipv6(const PatternText& in, size_t colon);
Matched match_phone(const PatternText& in, size_t at);
Matched match_credit_card(const PatternText& in, size_t at);
Matched match_iban(const PatternText& in, size_t digit);

// In clean_secrets.cpp.
Matched match_aws_key(const PatternText& in, size_t at);
Matched match_github_token(const PatternText& in, size_t underscore);
Matched match_private_key(const PatternText& in, size_t dash);
Matched match_jwt(const PatternText& in, size_t capital);
Matched match_slack_token(const PatternText& in, size_t at);
Matched match_google_api_key(const PatternText& in, size_t at);
Matched match_generic_secret(const PatternText& in, size_t sign);

inline bool is_digit(char c) { return c >= '0' && c <= '9'; }
inline bool is_capital(char c) { return c >= 'A' && c <= 'Z'; }
inline bool is_alphanumeric(char c) { return is_digit(c) || is_capital(c) || (c >= 'a' && c <= 'z'); }

}  // namespace anneal
