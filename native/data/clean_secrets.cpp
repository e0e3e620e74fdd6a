// Secrets: keys and tokens by the forms that their issuers publish, and values of high entropy that are
// assigned to a name such as `password`.
#include <algorithm>
#include <array>
#include <cmath>
#include <string>

#include "data/clean_patterns.h"

namespace anneal {
namespace {

bool is_base64url(char c) { return is_alphanumeric(c) || c == '_' || c == '-'; }

/// The end of the longest run of such characters from `at`.
template <typename Accept>
size_t run_end(const PatternText& in, size_t at, const Accept& accept) {
  while (at < in.text.size() && accept(in.text[at])) ++at;
  return at;
}

}  // namespace

Matched match_aws_key(const PatternText& in, size_t at) {
  static constexpr std::array<std::string_view, 4> kPrefixes = {"AKIA", "ASIA", "ABIA", "ACCA"};
  const std::string_view rest = in.text.substr(at);
  const bool starts = std::ranges::any_of(kPrefixes, [&](std::string_view p) { return rest.starts_with(p); });
  if (!starts || is_alphanumeric(in.before(at))) return std::nullopt;
  const size_t end = run_end(in, at, [](char c) { return is_digit(c) || is_capital(c); });
  if (end - at != 20 || is_alphanumeric(in.at(end))) return std::nullopt;
  return std::pair(at, end);
}

Matched match_github_token(const PatternText& in, size_t underscore) {
  static constexpr std::array<std::string_view, 5> kPrefixes = {"ghp", "gho", "ghu", "ghs", "ghr"};
  static constexpr std::string_view kFineGrained = "github_pat_";
  const size_t available = underscore - in.from;
  if (available >= 3) {
    const size_t begin = underscore - 3;
    if (std::ranges::find(kPrefixes, in.text.substr(begin, 3)) != kPrefixes.end() &&
        !is_alphanumeric(in.before(begin))) {
      const size_t end = run_end(in, underscore + 1, is_alphanumeric);
      if (end - underscore - 1 >= 36) return std::pair(begin, end);
    }
  }
  if (available >= 6 && in.text.substr(underscore - 6).starts_with(kFineGrained)) {
    const size_t begin = underscore - 6;
    const size_t value = begin + kFineGrained.size();
    const size_t end = run_end(in, value, [](char c) { return is_alphanumeric(c) || c == '_'; });
    if (end - value >= 22) return std::pair(begin, end);
  }
  return std::nullopt;
}

Matched match_private_key(const PatternText& in, size_t dash) {
  static constexpr std::string_view kBegin = "-----BEGIN ", kEnd = "-----END ", kName = "PRIVATE KEY",
                                    kDashes = "-----";
  if (!in.text.substr(dash).starts_with(kBegin)) return std::nullopt;
  const size_t name_end = in.text.find(kDashes, dash + kBegin.size());
  if (name_end == std::string_view::npos || name_end - dash > 64) return std::nullopt;
  if (in.text.substr(dash, name_end - dash).find(kName) == std::string_view::npos) return std::nullopt;
  const size_t closing = in.text.find(kEnd, name_end);
  // Without its end, the block is the rest of the text.
  if (closing == std::string_view::npos) return std::pair(dash, in.text.size());
  const size_t last = in.text.find(kDashes, closing + kEnd.size());
  return std::pair(dash, last == std::string_view::npos ? in.text.size() : last + kDashes.size());
}

Matched match_jwt(const PatternText& in, size_t capital) {
  // Base64 of `{"` begins header and payload.
  if (capital < in.from + 2 || in.text.substr(capital - 2, 3) != "eyJ") return std::nullopt;
  const size_t begin = capital - 2;
  if (is_base64url(in.before(begin))) return std::nullopt;
  const size_t header = run_end(in, begin, is_base64url);
  if (header - begin < 12 || !in.text.substr(header).starts_with(".eyJ")) return std::nullopt;
  const size_t payload = run_end(in, header + 1, is_base64url);
  if (in.at(payload) != '.') return std::nullopt;
  const size_t end = run_end(in, payload + 1, is_base64url);
  if (end - payload < 9) return std::nullopt;
  return std::pair(begin, end);
}

Matched match_slack_token(const PatternText& in, size_t at) {
  const std::string_view rest = in.text.substr(at);
  constexpr std::string_view kKinds = "abeprs";
  if (!rest.starts_with("xox") || kKinds.find(in.at(at + 3)) == std::string_view::npos ||
      in.at(at + 4) != '-' || is_alphanumeric(in.before(at))) {
    return std::nullopt;
  }
  const size_t end = run_end(in, at + 5, [](char c) { return is_alphanumeric(c) || c == '-'; });
  if (end - at < 15) return std::nullopt;
  return std::pair(at, end);
}

Matched match_google_api_key(const PatternText& in, size_t at) {
  if (!in.text.substr(at).starts_with("AIza") || is_alphanumeric(in.before(at))) return std::nullopt;
  const size_t end = run_end(in, at, is_base64url);
  if (end - at != 39) return std::nullopt;
  return std::pair(at, end);
}

namespace {

/// Whether the name in front of the sign (`api_key`, `"clientSecret"`) is one of a secret.
bool names_secret(const PatternText& in, size_t sign) {
  size_t end = sign;
  while (end > in.from && (in.text[end - 1] == ' ' || in.text[end - 1] == '"' || in.text[end - 1] == '\''))
    --end;
  size_t begin = end;
  constexpr size_t kLongestName = 48;
  while (begin > in.from && end - begin < kLongestName &&
         (is_base64url(in.text[begin - 1]) || in.text[begin - 1] == '.')) {
    --begin;
  }
  std::string name;
  for (const char c : in.text.substr(begin, end - begin)) {
    if (is_alphanumeric(c)) name.push_back(is_capital(c) ? static_cast<char>(c + 32) : c);
  }
  static constexpr std::array<std::string_view, 7> kNames = {"secret", "token",     "password", "passwd",
                                                             "apikey", "accesskey", "authkey"};
  return std::ranges::any_of(kNames, [&](std::string_view n) { return name.find(n) != std::string::npos; });
}

/// Shannon's entropy of the characters, in bits each.
double entropy(std::string_view value) {
  std::array<int, 256> counts{};
  for (const char c : value) ++counts[static_cast<unsigned char>(c)];
  double sum = 0;
  for (const int count : counts) {
    if (count == 0) continue;
    const double share = static_cast<double>(count) / static_cast<double>(value.size());
    sum -= share * std::log2(share);
  }
  return sum;
}

}  // namespace

Matched match_generic_secret(const PatternText& in, size_t sign) {
  constexpr double kLeastEntropy = 3.5;
  constexpr size_t kShortest = 16;
  size_t begin = sign + 1;
  if (in.at(begin) == '=' || in.at(begin) == '>') ++begin;  // := and =>
  while (in.at(begin) == ' ') ++begin;
  if (in.at(begin) == '"' || in.at(begin) == '\'') ++begin;
  const size_t end = run_end(in, begin, [](char c) {
    return is_base64url(c) || c == '+' || c == '/' || c == '=' || c == '.' || c == '~';
  });
  if (end - begin < kShortest) return std::nullopt;
  const std::string_view value = in.text.substr(begin, end - begin);
  const bool digits = std::ranges::any_of(value, is_digit);
  const bool letters = std::ranges::any_of(value, [](char c) { return is_alphanumeric(c) && !is_digit(c); });
  if (!digits || !letters || entropy(value) < kLeastEntropy || !names_secret(in, sign)) return std::nullopt;
  return std::pair(begin, end);
}

}  // namespace anneal
