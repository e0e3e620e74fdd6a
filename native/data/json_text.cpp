// JSON by RFC 8259, as JSON.parse takes it.
#include "data/json_text.h"

#include <algorithm>
#include <bit>
#include <cstdint>
#include <cstring>

#include "data/unicode.h"

namespace anneal {
namespace {

/// Deeper values are left to a parser.
constexpr int kMaxDepth = 32;

/// Walks through JSON; every function but `at_end` and `take` gives false where the text is not as it should
/// be.
class Walk {
 public:
  explicit Walk(std::string_view text) : at_(text.data()), end_(text.data() + text.size()) {}

  [[nodiscard]] bool at_end() {
    skip_space();
    return at_ == end_;
  }

  /// Takes this character, and white space before it, if it comes next.
  bool take(char c) {
    skip_space();
    if (at_ == end_ || *at_ != c) return false;
    ++at_;
    return true;
  }

  /// A string without escapes.
  bool plain_string(std::string_view& out) {
    if (!take('"')) return false;
    const char* begin = at_;
    skip_plain();
    if (at_ == end_ || *at_ != '"') return false;
    out = {begin, static_cast<size_t>(at_++ - begin)};
    return true;
  }

  /// Writes a string to `out`, which moves on behind it.
  bool string(char*& out) {
    if (!take('"')) return false;
    for (;;) {
      const char* begin = at_;
      skip_plain();
      const auto length = static_cast<size_t>(at_ - begin);
      std::memcpy(out, begin, length);
      out += length;
      if (at_ == end_) return false;
      if (*at_ == '"') {
        ++at_;
        return true;
      }
      if (!escape(out)) return false;
    }
  }

  bool value(int depth) {
    skip_space();
    if (at_ == end_) return false;
    switch (*at_) {
      case '{':
        return object(depth);
      case '[':
        return list(depth);
      case '"':
        return skip_string();
      case 't':
        return word("true");
      case 'f':
        return word("false");
      case 'n':
        return word("null");
      default:
        return number();
    }
  }

 private:
  void skip_space() {
    while (at_ != end_ && (*at_ == ' ' || *at_ == '\t' || *at_ == '\n' || *at_ == '\r')) ++at_;
  }

  /// To the next quote, backslash or control character.
  void skip_plain() {
    constexpr uint64_t kOnes = 0x0101010101010101u, kHigh = 0x8080808080808080u;
    for (; end_ - at_ >= 8; at_ += 8) {
      uint64_t bytes;
      std::memcpy(&bytes, at_, sizeof bytes);
      // The lowest high bit of each is exact: x < n where x - n borrows and x has no high bit.
      const uint64_t quote = bytes ^ kOnes * '"', backslash = bytes ^ kOnes * '\\';
      const uint64_t found = (((bytes - kOnes * 0x20) & ~bytes) | ((quote - kOnes) & ~quote) |
                              ((backslash - kOnes) & ~backslash)) &
                             kHigh;
      if (found == 0) continue;
      at_ += std::countr_zero(found) / 8;
      return;
    }
    while (at_ != end_ && *at_ != '"' && *at_ != '\\' && static_cast<unsigned char>(*at_) >= 0x20) ++at_;
  }

  bool escape(char*& out) {
    if (*at_ != '\\' || end_ - at_ < 2) return false;
    const char c = at_[1];
    if (c == 'u') return unicode_escape(out);
    static constexpr std::string_view kEscapes = "\"\\/bfnrt", kMeant = "\"\\/\b\f\n\r\t";
    const size_t i = kEscapes.find(c);
    if (i == std::string_view::npos) return false;
    *out++ = kMeant[i];
    at_ += 2;
    return true;
  }

  /// One code point of one or two escapes.
  bool unicode_escape(char*& out) {
    uint32_t point = 0;
    if (!code_unit(point)) return false;
    if ((point & 0xFC00) == 0xD800) {
      const char* behind = at_;
      uint32_t low = 0;
      if (end_ - at_ >= 6 && at_[0] == '\\' && at_[1] == 'u' && code_unit(low) && (low & 0xFC00) == 0xDC00) {
        point = 0x10000 + ((point & 0x3FF) << 10 | (low & 0x3FF));
      } else {
        at_ = behind;  // what follows is looked at for itself
      }
    }
    if (point >= 0xD800 && point < 0xE000) point = kReplacementCharacter;
    std::string bytes;
    append_utf8(point, bytes);
    out = std::ranges::copy(bytes, out).out;
    return true;
  }

  /// What an escape of four hexadecimal digits says.
  bool code_unit(uint32_t& unit) {
    if (end_ - at_ < 6) return false;
    unit = 0;
    for (int i = 2; i < 6; ++i) {
      const auto c = static_cast<unsigned char>(at_[i]);
      const auto letter = static_cast<unsigned char>(c | 0x20);
      if (c >= '0' && c <= '9') {
        unit = unit << 4 | (c - '0');
      } else if (letter >= 'a' && letter <= 'f') {
        unit = unit << 4 | (letter - 'a' + 10u);
      } else {
        return false;
      }
    }
    at_ += 6;
    return true;
  }

  bool skip_string() {
    ++at_;
    for (;;) {
      skip_plain();
      if (at_ == end_) return false;
      if (*at_ == '"') {
        ++at_;
        return true;
      }
      char unused[4];
      char* out = unused;
      if (!escape(out)) return false;
    }
  }

  bool word(std::string_view wanted) {
    if (!std::string_view(at_, static_cast<size_t>(end_ - at_)).starts_with(wanted)) return false;
    at_ += wanted.size();
    return true;
  }

  bool digits() {
    const char* begin = at_;
    while (at_ != end_ && *at_ >= '0' && *at_ <= '9') ++at_;
    return at_ != begin;
  }

  bool next_is(char c) const { return at_ != end_ && *at_ == c; }

  bool number() {
    if (next_is('-')) ++at_;
    if (next_is('0')) {
      ++at_;
    } else if (!digits()) {
      return false;
    }
    if (next_is('.')) {
      ++at_;
      if (!digits()) return false;
    }
    if (!next_is('e') && !next_is('E')) return true;
    ++at_;
    if (next_is('+') || next_is('-')) ++at_;
    return digits();
  }

  bool list(int depth) {
    ++at_;
    if (depth == kMaxDepth) return false;
    if (take(']')) return true;
    do {
      if (!value(depth + 1)) return false;
    } while (take(','));
    return take(']');
  }

  bool object(int depth) {
    ++at_;
    if (depth == kMaxDepth) return false;
    if (take('}')) return true;
    do {
      skip_space();
      if (!next_is('"') || !skip_string() || !take(':') || !value(depth + 1)) return false;
    } while (take(','));
    return take('}');
  }

  const char* at_;
  const char* end_;
};

}  // namespace

std::optional<size_t> JsonTextReader::read(std::string_view row, char* out) const {
  Walk walk(row);
  const char* const begin = out;
  bool found = false;
  if (!walk.take('{')) return std::nullopt;
  do {
    std::string_view key;
    if (!walk.plain_string(key) || !walk.take(':')) return std::nullopt;
    if (key == field_) {
      if (found || !walk.string(out)) return std::nullopt;
      found = true;
    } else if (std::ranges::find(others_, key) != others_.end() || !walk.value(0)) {
      return std::nullopt;
    }
  } while (walk.take(','));
  if (!found || !walk.take('}') || !walk.at_end()) return std::nullopt;
  return static_cast<size_t>(out - begin);
}

}  // namespace anneal
