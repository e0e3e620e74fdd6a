// Gopher's quality and repetition rules (Rae et al. 2021, appendix A1.1, table A1).
#include <algorithm>
#include <cstring>
#include <numeric>

#include "data/clean_filters.h"
#include "data/stable_hash.h"
#include "data/unicode.h"

namespace anneal {
namespace {

constexpr std::string_view kEllipsis = "\u2026", kBullet = "\u2022", kDots = "...";

/// "..." that do not overlap, and ellipsis characters.
size_t count_ellipses(CleanText& text) {
  const std::string_view view = text.view();
  size_t count = 0;
  for (size_t at = view.find(kDots); at != std::string_view::npos; at = view.find(kDots, at + 3)) ++count;
  if (text.ascii()) return count;
  for (size_t at = view.find(kEllipsis); at != std::string_view::npos; at = view.find(kEllipsis, at + 3)) {
    ++count;
  }
  return count;
}

size_t count_stop_words(const GopherQuality& rules, const Words& words) {
  size_t count = 0;
  for (const std::string& stop : rules.stop_words) {
    std::string padded = stop;
    padded.append(8, '\0');
    const uint64_t hash = stable_hash_padded(padded.data(), stop.size());
    count += std::ranges::find(words.hashes, hash) != words.hashes.end() ? 1 : 0;
  }
  return count;
}

double ratio(size_t part, size_t whole) {
  return whole == 0 ? 0.0 : static_cast<double>(part) / static_cast<double>(whole);
}

/// Bits of a table's size, at most half of which these keys fill.
int table_bits(size_t keys) {
  int bits = 6;
  while (size_t{1} << bits < 2 * keys) ++bits;
  return bits;
}

/// Clears the first 2^bits entries.
template <typename Entry>
void clear_table(std::vector<Entry>& entries, int bits) {
  const size_t capacity = size_t{1} << bits;
  if (entries.size() < capacity) entries.resize(capacity);
  std::memset(static_cast<void*>(entries.data()), 0, capacity * sizeof(Entry));
}

}  // namespace

void KeyCounts::reset(size_t keys) {
  const int bits = table_bits(keys);
  clear_table(entries_, bits);
  shift_ = 64 - bits;
  mask_ = (size_t{1} << bits) - 1;
}

void KeySet::reset(size_t keys) {
  const int bits = table_bits(keys);
  clear_table(entries_, bits);
  shift_ = 64 - bits;
  mask_ = (size_t{1} << bits) - 1;
}

std::optional<Drop> gopher_quality(const GopherQuality& rules, CleanText& text) {
  const Words& words = text.words();
  const auto plain = static_cast<double>(words.plain);
  if (rules.min_doc_words != 0 && plain < rules.min_doc_words) return Drop{kMinDocWords, plain};
  if (rules.max_doc_words != 0 && plain > rules.max_doc_words) return Drop{kMaxDocWords, plain};

  if (words.plain > 0) {
    const double mean = ratio(words.plain_characters, words.plain);
    if (rules.min_avg_word_length != 0 && mean < rules.min_avg_word_length) {
      return Drop{kMinAvgWordLength, mean};
    }
    if (rules.max_avg_word_length != 0 && mean > rules.max_avg_word_length) {
      return Drop{kMaxAvgWordLength, mean};
    }
  }

  if (rules.max_symbol_word_ratio != 0) {
    const auto hashes = static_cast<size_t>(std::ranges::count(text.view(), '#'));
    const double hash_ratio = ratio(hashes, words.size());
    if (hash_ratio > rules.max_symbol_word_ratio) return Drop{kHashRatio, hash_ratio};
    const double ellipsis_ratio = ratio(count_ellipses(text), words.size());
    if (ellipsis_ratio > rules.max_symbol_word_ratio) return Drop{kEllipsisRatio, ellipsis_ratio};
  }

  size_t bullets = 0, ellipses = 0;
  for (const Span line : text.split_lines()) {
    const std::string_view stripped = text.view(text.strip(line));
    bullets += stripped.starts_with(kBullet) || stripped.starts_with('-') ? 1 : 0;
    ellipses += stripped.ends_with(kDots) || stripped.ends_with(kEllipsis) ? 1 : 0;
  }
  const double bullet_ratio = ratio(bullets, text.split_lines().size());
  if (rules.max_bullet_lines_ratio != 0 && bullet_ratio > rules.max_bullet_lines_ratio) {
    return Drop{kBulletLines, bullet_ratio};
  }
  const double ellipsis_ratio = ratio(ellipses, text.split_lines().size());
  if (rules.max_ellipsis_lines_ratio != 0 && ellipsis_ratio > rules.max_ellipsis_lines_ratio) {
    return Drop{kEllipsisLines, ellipsis_ratio};
  }

  const double alpha = ratio(words.with_letter, words.size());
  if (rules.min_alpha_words_ratio != 0 && words.size() > 0 && alpha < rules.min_alpha_words_ratio) {
    return Drop{kAlphaWords, alpha};
  }
  if (rules.min_stop_words != 0) {
    const auto found = static_cast<double>(count_stop_words(rules, words));
    if (found < rules.min_stop_words) return Drop{kStopWords, found};
  }
  return std::nullopt;
}

Duplicates find_duplicates(const CleanText& text, const std::vector<Span>& parts, FilterScratch& scratch) {
  Duplicates duplicates;
  scratch.keys.reset(parts.size());
  for (const Span part : parts) {
    const std::string_view view = text.view(part);
    if (scratch.keys.insert(stable_hash_padded(view.data(), view.size()))) continue;
    ++duplicates.elements;
    duplicates.characters += text.characters(view);
  }
  return duplicates;
}

namespace {

/// What lies between runs of at least `least` line feeds, empty parts at the ends included.
void split_at_line_feeds(std::string_view text, size_t offset, size_t least, std::vector<Span>& parts) {
  parts.clear();
  size_t begin = 0;
  for (size_t at = text.find('\n'); at != std::string_view::npos; at = text.find('\n', at)) {
    size_t end = at;
    while (end < text.size() && text[end] == '\n') ++end;
    if (end - at >= least) {
      parts.push_back({static_cast<uint32_t>(offset + begin), static_cast<uint32_t>(offset + at)});
      begin = end;
    }
    at = end;
  }
  parts.push_back({static_cast<uint32_t>(offset + begin), static_cast<uint32_t>(offset + text.size())});
}

/// The most frequent n-gram (the first of several): how often it is there, and its words' place.
struct Top {
  uint32_t count = 0, first = 0;
};

Top top_n_gram(const Words& words, uint32_t n, KeyCounts& counts) {
  const size_t grams = words.size() - n + 1;
  counts.reset(grams);
  Top top;
  for (size_t i = 0; i < grams; ++i) {
    uint64_t key = words.hashes[i];
    for (uint32_t k = 1; k < n; ++k) key = mix_bits(key ^ 0x9E3779B97F4A7C15u, words.hashes[i + k] | 1);
    KeyCounts::Entry& entry = counts.at(key);
    if (entry.count++ == 0) entry.first = static_cast<uint32_t>(i);
    if (entry.count > top.count || (entry.count == top.count && entry.first < top.first)) {
      top = {entry.count, entry.first};
    }
  }
  return top;
}

/// At most how often the 2-gram at each word is there: counts of hashes, several of which may share a
/// counter.
void bound_pairs(const Words& words, FilterScratch& scratch) {
  const size_t pairs = words.size() == 0 ? 0 : words.size() - 1;
  int bits = 8;
  while (bits < 12 && size_t{1} << bits < 8 * pairs) ++bits;
  scratch.counters.assign(size_t{1} << bits, 0);
  scratch.pairs.resize(pairs);
  for (size_t i = 0; i < pairs; ++i) {
    const uint64_t key = (words.hashes[i] * 0x9E3779B97F4A7C15u) ^ words.hashes[i + 1];
    scratch.pairs[i] = static_cast<uint32_t>(key >> (64 - bits));
    ++scratch.counters[scratch.pairs[i]];
  }
  for (uint32_t& pair : scratch.pairs) pair = scratch.counters[pair];
}

/// What the most frequent n-gram takes at most, in bytes with a space between words: no n-gram is there more
/// often than the 2-gram that it begins with.
uint64_t most_bytes(const Words& words, uint32_t n, const std::vector<uint32_t>& pairs) {
  uint64_t most = 0;
  for (size_t i = 0; i + n <= words.size(); ++i) {
    const uint32_t bytes = words.starts[i + n] - words.starts[i] + n - 1;
    most = std::max(most, uint64_t{bytes} * pairs[i]);
  }
  return most;
}

/// Of the words in scratch.candidates keeps those at which an n-gram, of n words or more, may begin that has
/// an equal among them: its first `prefix` bytes (8 to 32) are those of another one (or seem to be, by their
/// hash), or it is shorter than that.
void keep_candidates(const Words& words, uint32_t n, uint32_t prefix, FilterScratch& scratch) {
  std::vector<uint32_t>& candidates = scratch.candidates;
  int bits = 12;
  while (bits < 24 && size_t{1} << bits < 16 * candidates.size()) ++bits;
  scratch.seen.assign(size_t{1} << bits, 0);
  scratch.prefixes.resize(candidates.size());
  for (size_t i = 0; i < candidates.size(); ++i) {
    const uint64_t key = stable_hash_padded(&words.joined[words.starts[candidates[i]]], prefix);
    scratch.prefixes[i] = static_cast<uint32_t>(key >> (64 - bits));
    uint8_t& seen = scratch.seen[scratch.prefixes[i]];
    seen = static_cast<uint8_t>(seen + (seen < 2 ? 1 : 0));
  }
  size_t kept = 0;
  for (size_t i = 0; i < candidates.size(); ++i) {
    const uint32_t first = candidates[i];
    if (first + n > words.size()) break;
    const bool is_short = words.starts[first + n] - words.starts[first] < prefix;
    candidates[kept] = first;
    kept += is_short | (scratch.seen[scratch.prefixes[i]] > 1) ? 1 : 0;
  }
  candidates.resize(kept);
}

/// Characters of n-grams that were there before, looked for from left to right and not overlapping. Two
/// n-grams are equal when their letters are, wherever words end in them (as datatrove has it).
size_t duplicate_characters(const CleanText& text, const Words& words, uint32_t n, FilterScratch& scratch) {
  size_t repeated = 0;
  scratch.keys.reset(scratch.candidates.size());
  size_t free = 0;  // the first word that no n-gram has taken
  for (const uint32_t i : scratch.candidates) {
    if (i + n > words.size()) break;
    if (i < free) continue;
    const char* at = &words.joined[words.starts[i]];
    const uint32_t length = words.starts[i + n] - words.starts[i];
    if (scratch.keys.insert(stable_hash_padded(at, length))) continue;
    repeated += text.characters({at, length});
    free = i + n;
  }
  return repeated;
}

}  // namespace

std::optional<Drop> gopher_repetition(const GopherRepetition& rules, CleanText& text,
                                      FilterScratch& scratch) {
  const std::string_view view = text.view();
  if (view.empty()) return Drop{kEmpty, 0};
  const auto characters = static_cast<double>(text.characters());
  const auto too_many = [&](const Duplicates& found, double most, double most_characters, Rule rule,
                            Rule characters_rule) -> std::optional<Drop> {
    const double elements = ratio(found.elements, scratch.parts.size());
    if (most != 0 && elements > most) return Drop{rule, elements};
    const double share = static_cast<double>(found.characters) / characters;
    if (most_characters != 0 && share > most_characters) return Drop{characters_rule, share};
    return std::nullopt;
  };

  const Span stripped = text.strip({0, static_cast<uint32_t>(view.size())});
  split_at_line_feeds(text.view(stripped), stripped.begin, 2, scratch.parts);
  if (auto drop = too_many(find_duplicates(text, scratch.parts, scratch), rules.dup_para_frac,
                           rules.dup_para_char_frac, kDupParaFrac, kDupParaCharFrac)) {
    return drop;
  }
  split_at_line_feeds(view, 0, 1, scratch.parts);
  if (auto drop = too_many(find_duplicates(text, scratch.parts, scratch), rules.dup_line_frac,
                           rules.dup_line_char_frac, kDupLineFrac, kDupLineCharFrac)) {
    return drop;
  }

  const Words& words = text.words();
  uint16_t rule = kFixedRules;
  bound_pairs(words, scratch);
  for (const auto& [n, bound] : rules.top_n_grams) {
    const uint16_t this_rule = rule++;
    if (words.size() < n) continue;
    if (n >= 2 && static_cast<double>(most_bytes(words, n, scratch.pairs)) / characters <= bound) continue;
    const Top top = top_n_gram(words, n, scratch.counts);
    const char* at = &words.joined[words.starts[top.first]];
    const size_t length = text.characters({at, words.starts[top.first + n] - words.starts[top.first]});
    const double share = static_cast<double>((length + n - 1) * top.count) / characters;
    if (share > bound) return Drop{this_rule, share};
  }

  // What has no equal with a shorter n-gram's prefix has none with a longer one's.
  scratch.candidates.resize(words.size());
  std::iota(scratch.candidates.begin(), scratch.candidates.end(), 0);
  uint32_t prefix = 0;
  for (const auto& [n, bound] : rules.dup_n_grams) {
    const uint16_t this_rule = rule++;
    // So long that few n-grams are shorter.
    const auto telling = static_cast<uint32_t>(n * words.starts.back() / (words.size() + 1) * 4 / 5 / 8 * 8);
    if (const uint32_t next = std::clamp<uint32_t>(telling, 8, 32); next > prefix) {
      prefix = next;
      keep_candidates(words, n, prefix, scratch);
    }
    const double share = static_cast<double>(duplicate_characters(text, words, n, scratch)) / characters;
    if (share > bound) return Drop{this_rule, share};
  }
  return std::nullopt;
}

}  // namespace anneal
