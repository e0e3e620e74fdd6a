#include "data/unicode.h"

#include <cstring>

namespace anneal {
namespace {

struct PropertyRange {
  uint32_t first, last;
  uint16_t properties;
};

#include "data/unicode_properties.inc"

}  // namespace

UnicodeProperties::UnicodeProperties() {
  std::vector<uint16_t> all(0x110000, 0);
  for (const PropertyRange& range : kPropertyRanges) {
    for (uint32_t point = range.first; point <= range.last; ++point) all[point] = range.properties;
  }
  for (size_t block = 0; block < blocks_.size(); ++block) {
    const uint16_t* from = &all[block << 8];
    size_t found = 0;
    while (found < values_.size() && std::memcmp(&values_[found], from, 512) != 0) found += 256;
    if (found == values_.size()) values_.insert(values_.end(), from, from + 256);
    blocks_[block] = static_cast<uint32_t>(found);
  }
}

const UnicodeProperties kUnicodeProperties;

size_t ascii_prefix(std::string_view text) {
  size_t at = 0;
  for (; at + 32 <= text.size(); at += 32) {
    uint64_t words[4];
    std::memcpy(words, text.data() + at, 32);
    if ((words[0] | words[1] | words[2] | words[3]) & 0x8080808080808080u) break;
  }
  while (at < text.size() && static_cast<unsigned char>(text[at]) < 0x80) ++at;
  return at;
}

namespace {

/// A sequence at the beginning of `text`: its bytes, and whether it is a character; if not, the bytes are the
/// maximal part of one that U+FFFD stands for.
struct Sequence {
  size_t length;
  bool valid;
};

Sequence read_sequence(std::string_view text) {
  const auto byte = [&](size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned char first = byte(0);
  if (first < 0x80) return {1, true};
  if (first < 0xC2 || first > 0xF4) return {1, false};
  const size_t length = utf8_length(first);
  // The second byte's bounds keep out overlong forms, surrogates, and what lies beyond U+10FFFF.
  const unsigned char low = first == 0xE0 ? 0xA0 : first == 0xF0 ? 0x90 : 0x80;
  const unsigned char high = first == 0xED ? 0x9F : first == 0xF4 ? 0x8F : 0xBF;
  for (size_t i = 1; i < length; ++i) {
    if (i >= text.size() || byte(i) < (i == 1 ? low : 0x80) || byte(i) > (i == 1 ? high : 0xBF)) {
      return {i, false};
    }
  }
  return {length, true};
}

}  // namespace

size_t valid_utf8_prefix(std::string_view text) {
  size_t at = 0;
  while (true) {
    at += ascii_prefix(text.substr(at));
    while (at < text.size() && static_cast<unsigned char>(text[at]) >= 0x80) {
      const Sequence next = read_sequence(text.substr(at));
      if (!next.valid) return at;
      at += next.length;
    }
    if (at == text.size()) return at;
  }
}

size_t append_valid_utf8(std::string_view text, std::string& out) {
  size_t replaced = 0;
  while (true) {
    const size_t valid = valid_utf8_prefix(text);
    out.append(text.substr(0, valid));
    text.remove_prefix(valid);
    if (text.empty()) return replaced;
    append_utf8(kReplacementCharacter, out);
    text.remove_prefix(read_sequence(text).length);
    ++replaced;
  }
}

size_t count_characters(std::string_view text) {
  size_t continuations = 0;
  for (const char byte : text) continuations += is_continuation(byte) ? 1 : 0;
  return text.size() - continuations;
}

}  // namespace anneal
