#include "data/clean_repair.h"

#include <algorithm>
#include <array>
#include <cstring>

#include "data/line_hash.h"
#include "data/unicode.h"

namespace anneal {
namespace {

bool is_removed(uint32_t point) {
  if (point < 0x20) return point != '\t' && point != '\n';
  return (point >= 0x7F && point < 0xA0) || point == 0xFEFF || (point >= 0x206A && point <= 0x206F) ||
         (point >= 0xFFF9 && point <= 0xFFFB);
}

/// Line and paragraph separators, next line, vertical tab and form feed.
bool is_line_break(uint32_t point) {
  return point == '\v' || point == '\f' || point == '\r' || point == 0x85 || point == 0x2028 ||
         point == 0x2029;
}

/// Whether the byte begins a character that has to be looked at.
constexpr std::array<bool, 256> kSuspects = [] {
  std::array<bool, 256> suspects{};
  for (size_t byte = 0; byte < 0x20; ++byte) suspects[byte] = byte != '\t' && byte != '\n';
  suspects[0x7F] = suspects[0xC2] = suspects[0xE2] = suspects[0xEF] = true;
  return suspects;
}();

/// Bytes from the beginning that hold no control character and are ASCII.
size_t plain_prefix(std::string_view text) {
  // A byte is plain when it is 0x20 to 0x7E, tab or line feed.
  size_t at = 0;
  for (; at + 32 <= text.size(); at += 32) {
    bool odd = false;
    for (size_t i = at; i < at + 32; ++i) {
      const auto byte = static_cast<unsigned char>(text[i]);
      odd |= (static_cast<unsigned char>(byte - 0x20) > 0x5E) & (byte != '\n') & (byte != '\t');
    }
    if (odd) break;
  }
  return at;
}

}  // namespace

bool remove_controls(std::string_view text, std::string& out, Findings& findings) {
  bool changed = false;
  size_t copied = 0;
  for (size_t at = 0; at < text.size();) {
    if (const size_t plain = plain_prefix(text.substr(at)); plain > 0) {
      at += plain;
      continue;
    }
    const size_t block = std::min(text.size(), at + 32);
    while (at < block) {
      const auto byte = static_cast<unsigned char>(text[at]);
      const size_t length = utf8_length(byte);
      const uint32_t point = kSuspects[byte] ? utf8_point(&text[at]) : 'a';
      const bool breaks = is_line_break(point);
      if (!breaks && !is_removed(point)) {
        at += length;
        continue;
      }
      if (!changed) out.clear();
      changed = true;
      out.append(text.substr(copied, at - copied));
      findings.add(kControlCharacters, out.size());
      at += length;
      // A carriage return before a line feed goes; other breaks become one.
      if (breaks && !(point == '\r' && at < text.size() && text[at] == '\n')) out.push_back('\n');
      copied = at;
    }
  }
  if (changed) out.append(text.substr(copied));
  return changed;
}

bool remove_lines(std::string_view text, std::span<const uint64_t> boilerplate, int64_t longest,
                  std::string& out, Findings& findings) {
  bool changed = false;
  size_t copied = 0;
  for (size_t begin = 0; begin < text.size();) {
    const void* found = std::memchr(&text[begin], '\n', text.size() - begin);
    const size_t end =
        found == nullptr ? text.size() : static_cast<size_t>(static_cast<const char*>(found) - text.data());
    const size_t next = std::min(end + 1, text.size());
    const std::string_view line = text.substr(begin, end - begin);
    const bool repeated =
        !boilerplate.empty() && !line.empty() && std::ranges::binary_search(boilerplate, line_hash(line));
    const bool too_long = longest > 0 && static_cast<int64_t>(line.size()) > longest &&
                          static_cast<int64_t>(count_characters(line)) > longest;
    if (repeated || too_long) {
      if (!changed) out.clear();
      changed = true;
      out.append(text.substr(copied, begin - copied));
      findings.add(repeated ? kBoilerplateLines : kMaxLineLength, out.size());
      copied = next;
    }
    begin = next;
  }
  if (changed) out.append(text.substr(copied));
  return changed;
}

}  // namespace anneal
