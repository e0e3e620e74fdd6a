#include "data/clean_patterns.h"

#include <algorithm>
#include <array>

namespace anneal {
namespace {

using Matcher = Matched (*)(const PatternText&, size_t);

struct Pattern {
  Rule rule;
  const char* placeholder;
  Matcher match;
  /// Bytes at which the matcher has something to look at: rare ones, so that most of a text is passed over.
  const char* triggers;
};

constexpr const char* kDigits = "0123456789";

/// In the order in which they are tried at one place.
constexpr std::array kPatterns = {
    Pattern{kPrivateKey, "<PRIVATE_KEY>", match_private_key, "-"},
    Pattern{kAwsKey, "<AWS_KEY>", match_aws_key, "A"},
    Pattern{kGithubToken, "<GITHUB_TOKEN>", match_github_token, "_"},
    Pattern{kJwt, "<JWT>", match_jwt, "J"},
    Pattern{kSlackToken, "<SLACK_TOKEN>", match_slack_token, "x"},
    Pattern{kGoogleApiKey, "<GOOGLE_API_KEY>", match_google_api_key, "A"},
    Pattern{kGenericSecret, "<SECRET>", match_generic_secret, ":="},
    Pattern{kEmail, "<EMAIL>", match_email, "@"},
    Pattern{kIban, "<IBAN>", match_iban, kDigits},
    Pattern{kCreditCard, "<CREDIT_CARD>", match_credit_card, kDigits},
    Pattern{kIp, "<IP_ADDRESS>", match_ipv4, kDigits},
    Pattern{kIp, "<IP_ADDRESS>", match_ipv6, ":"},
    Pattern{kPhone, "<PHONE_NUMBER>", match_phone, "+(0123456789"},
};

PatternAction action_of(const CleanRules& rules, Rule rule) {
  return rules.patterns[static_cast<size_t>(rule - kEmail)];
}

const char* placeholder_of(Rule rule) {
  return std::ranges::find(kPatterns, rule, &Pattern::rule)->placeholder;
}

}  // namespace

bool patterns_wanted(const CleanRules& rules) {
  return std::ranges::any_of(rules.patterns,
                             [](PatternAction action) { return action != PatternAction::kIgnore; });
}

void find_patterns(const CleanRules& rules, std::string_view text, std::vector<PatternMatch>& matches) {
  matches.clear();
  std::array<uint16_t, 256> tried{};  // by byte: a bit a pattern
  for (size_t i = 0; i < kPatterns.size(); ++i) {
    if (action_of(rules, kPatterns[i].rule) == PatternAction::kIgnore) continue;
    for (const char* c = kPatterns[i].triggers; *c != '\0'; ++c) {
      tried[static_cast<unsigned char>(*c)] |= static_cast<uint16_t>(1 << i);
    }
  }
  PatternText in{text, 0};
  for (size_t at = 0; at < text.size();) {
    uint32_t candidates = tried[static_cast<unsigned char>(text[at])];
    // Of a number, the first digit says all.
    if (candidates == 0 || (is_digit(text[at]) && is_digit(in.before(at)))) {
      ++at;
      continue;
    }
    Matched found;
    Rule rule = kFixedRules;
    for (; candidates != 0 && !found; candidates &= candidates - 1) {
      const Pattern& pattern = kPatterns[static_cast<size_t>(__builtin_ctz(candidates))];
      found = pattern.match(in, at);
      rule = pattern.rule;
    }
    if (found) {
      matches.push_back({found->first, found->second, rule});
      in.from = at = found->second;
    } else {
      ++at;
    }
  }
}

bool mask_patterns(const CleanRules& rules, std::string_view text, std::string& out, Findings& findings,
                   std::optional<Drop>& drop) {
  std::vector<PatternMatch> matches;
  find_patterns(rules, text, matches);
  if (matches.empty()) return false;
  out.clear();
  size_t copied = 0;
  for (const PatternMatch& match : matches) {
    out.append(text.substr(copied, match.begin - copied));
    if (action_of(rules, match.rule) == PatternAction::kDrop && !drop) drop = Drop{match.rule, 1};
    findings.add(match.rule, out.size());
    out.append(placeholder_of(match.rule));
    copied = match.end;
  }
  out.append(text.substr(copied));
  return true;
}

}  // namespace anneal
