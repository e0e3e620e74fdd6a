#include "data/shingles.h"

#include <algorithm>

#include "data/unicode.h"
#include "tokenizer/word_hash.h"

namespace anneal {
namespace {

/// What a character is to a shingle.
enum class Kind { kSeparator, kInWord, kWord };

struct Character {
  Kind kind;
  uint32_t bytes;
};

/// Lower case of ASCII letters and digits; 0 for every other ASCII byte.
constexpr char lower(unsigned char byte) {
  if (byte >= 'a' && byte <= 'z') return static_cast<char>(byte);
  if (byte >= 'A' && byte <= 'Z') return static_cast<char>(byte + 32);
  if (byte >= '0' && byte <= '9') return static_cast<char>(byte);
  return 0;
}

struct LowerTable {
  char of[256] = {};
  constexpr LowerTable() {
    for (int byte = 0; byte < 0x80; ++byte) of[byte] = lower(static_cast<unsigned char>(byte));
  }
};
constexpr LowerTable kLower;

/// The character that begins at `at`, whose first byte is not ASCII.
Character multibyte(std::string_view text, size_t at) {
  const auto bytes = utf8_length(static_cast<unsigned char>(text[at]));
  if (valid_utf8_prefix(text.substr(at, bytes)) != bytes) return {Kind::kSeparator, 1};
  const uint32_t properties = unicode_properties(utf8_point(text.data() + at));
  if (properties & kIdeograph) return {Kind::kWord, bytes};
  return {properties & kWordCharacter ? Kind::kInWord : Kind::kSeparator, bytes};
}

/// Calls visit(word) for each word, in lower case; `word` is scratch memory.
template <typename Visit>
void for_each_word_of(std::string_view text, std::string& word, const Visit& visit) {
  word.clear();
  const auto end_word = [&] {
    if (word.empty()) return;
    visit(std::string_view(word));
    word.clear();
  };
  for (size_t at = 0; at < text.size();) {
    const auto byte = static_cast<unsigned char>(text[at]);
    if (byte < 0x80) {
      const char letter = kLower.of[byte];
      if (letter != 0) {
        word.push_back(letter);
      } else {
        end_word();
      }
      ++at;
      continue;
    }
    const Character c = multibyte(text, at);
    const std::string_view bytes = text.substr(at, c.bytes);
    if (c.kind != Kind::kInWord) end_word();
    if (c.kind == Kind::kInWord) word.append(bytes);
    if (c.kind == Kind::kWord) visit(bytes);
    at += c.bytes;
  }
  end_word();
}

}  // namespace

const std::vector<uint32_t>& Shingler::shingles(std::string_view text) {
  units_.clear();
  shingles_.clear();
  if (unit_ == ShingleUnit::kWord) {
    words(text);
  } else {
    characters(text);
  }
  roll();
  return shingles_;
}

void Shingler::words(std::string_view text) {
  for_each_word_of(text, word_, [&](std::string_view word) { units_.push_back(hash_word(word)); });
}

void Shingler::characters(std::string_view text) {
  for_each_word_of(text, word_, [&](std::string_view word) {
    if (!units_.empty()) units_.push_back(hash_word(" "));
    for (size_t at = 0; at < word.size();) {
      const uint32_t bytes = utf8_length(static_cast<unsigned char>(word[at]));
      units_.push_back(hash_word(word.substr(at, bytes)));
      at += bytes;
    }
  });
}

/// The hash of a run is the polynomial of its units' hashes mod 2^64, mixed: it rolls on by one product.
void Shingler::roll() {
  constexpr uint64_t kBase = 0x9E3779B97F4A7C15u;
  constexpr uint64_t kMix = 0xD6E8FEB86659FD93u;
  if (units_.empty()) return;
  const size_t length = std::min(length_, units_.size());
  uint64_t leading = 1;  // kBase^(length - 1)
  for (size_t i = 1; i < length; ++i) leading *= kBase;
  uint64_t hash = 0;
  shingles_.reserve(units_.size());
  for (size_t i = 0; i < units_.size(); ++i) {
    if (i >= length) hash -= units_[i - length] * leading;
    hash = hash * kBase + units_[i];
    if (i + 1 >= length) shingles_.push_back(static_cast<uint32_t>(mix_bits(hash, kMix)));
  }
}

}  // namespace anneal
