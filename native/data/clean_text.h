// A document as the cleaning rules see it: its text, and what is derived from it when a rule first asks:
// which bytes are letters, spaces and so on (a bit a byte), its words, its lines.
//
// A word is a run of letters, marks and numbers; apostrophes between two of them and `.` or `,` between two
// numbers belong to it ("don't", "3.14"); each Han or kana character is a word; and so is each run of other
// characters that are no white space ("...", "$"). White space is what Python's str.split takes for it.
#pragma once

#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>
#include <vector>

#include "tokenizer/word_hash.h"

namespace anneal {

/// One bit for each byte of a text; bits beyond its end are 0, and a word beyond the last may be read.
class ByteBits {
 public:
  /// For a text of this many bytes. Words that begin beyond its last whole 64 are cleared, others are left.
  void resize(size_t bytes) {
    words_.resize(bytes / 64 + 2);
    words_[bytes / 64] = words_[bytes / 64 + 1] = 0;
  }
  void clear(size_t bytes) { words_.assign(bytes / 64 + 2, 0); }
  [[nodiscard]] bool at(size_t i) const { return (words_[i >> 6] >> (i & 63) & 1) != 0; }
  void set(size_t begin, size_t length) {
    for (size_t i = begin; i < begin + length; ++i) words_[i >> 6] |= uint64_t{1} << (i & 63);
  }
  /// Whether any bit of [begin, end) is set.
  [[nodiscard]] bool any(size_t begin, size_t end) const { return next(begin, end) < end; }
  /// The first set bit in [begin, end), or `end`.
  [[nodiscard]] size_t next(size_t begin, size_t end) const {
    if (begin >= end) return end;
    size_t word = begin >> 6;
    uint64_t bits = words_[word] & ~uint64_t{0} << (begin & 63);
    while (bits == 0) {
      if (++word << 6 >= end) return end;
      bits = words_[word];
    }
    const size_t found = (word << 6) + static_cast<size_t>(__builtin_ctzll(bits));
    return found < end ? found : end;
  }
  [[nodiscard]] uint64_t* data() { return words_.data(); }
  [[nodiscard]] const uint64_t* data() const { return words_.data(); }

 private:
  std::vector<uint64_t> words_;
};

/// Classes of the bytes of a text; all bytes of a character are of its class.
struct ByteClasses {
  ByteBits letter, number, word, space, high, line_break, apostrophe, point, stop, ideograph, ideograph_begin;
};

struct Span {
  uint32_t begin, end;
  [[nodiscard]] uint32_t size() const { return end - begin; }
};

/// The words of a text. `joined` holds them end to end without what stood between; word i begins there at
/// starts[i], and starts has one more element, the end.
struct Words {
  std::vector<char> joined;  // zero bytes follow the last word
  std::vector<uint32_t> starts;
  std::vector<uint64_t> hashes;
  size_t with_letter = 0;
  /// Words that are not of punctuation alone, and their characters.
  size_t plain = 0, plain_characters = 0;

  [[nodiscard]] size_t size() const { return hashes.size(); }
};

class CleanText {
 public:
  void assign(std::string_view text);
  [[nodiscard]] std::string_view view() const { return {buffer_.data(), size_}; }
  [[nodiscard]] std::string_view view(Span span) const { return view().substr(span.begin, span.size()); }

  [[nodiscard]] bool ascii() const { return ascii_; }
  /// Code points of the text, or of a part of it.
  [[nodiscard]] size_t characters();
  [[nodiscard]] size_t characters(std::string_view part) const;

  const ByteClasses& classes();
  const Words& words();
  /// Words alone are counted faster than they are listed.
  size_t count_words();
  /// What lies between \n, as Python's split('\n').
  const std::vector<Span>& lines();
  /// Python's splitlines().
  const std::vector<Span>& split_lines();

  /// Without white space at both ends.
  [[nodiscard]] Span strip(Span span);

 private:
  struct Edges;
  template <typename Emit>
  void for_each_word(const Emit& emit);
  void classify_high();
  void join_words();

  std::vector<char> buffer_;  // the text and zeros after it
  size_t size_ = 0;
  bool ascii_ = true;
  size_t characters_ = 0;
  bool has_characters_ = false, has_classes_ = false, has_words_ = false, has_lines_ = false,
       has_split_lines_ = false;
  ByteClasses classes_;
  Words words_;
  std::vector<Span> lines_, split_lines_;
};

/// Sets the classes of ASCII bytes, and `high` for the others. `text` may be read 128 bytes beyond its end.
void classify_bytes(std::string_view text, ByteClasses& classes);

/// Whether the text may hold one of the phrases that C4's rules look for: if not, it surely holds none.
/// `text` may be read 128 bytes beyond its end.
bool may_hold_phrase(std::string_view text);

/// A hash of a byte string, which may be read 8 bytes beyond its end; for tables of one document.
inline uint64_t hash_padded(const char* at, size_t length) {
  constexpr uint64_t kOdd1 = 0x9E3779B97F4A7C15u, kOdd2 = 0xC2B2AE3D27D4EB4Fu;
  const auto load = [](const char* from) {
    uint64_t value;
    std::memcpy(&value, from, 8);
    return value;
  };
  uint64_t hash = length * kOdd1;
  for (; length > 8; length -= 8, at += 8) hash = mix_bits(hash ^ load(at), kOdd2);
  const uint64_t tail = length == 0 ? 0 : load(at) & (~uint64_t{0} >> (64 - 8 * length));
  return mix_bits(hash ^ tail ^ kOdd1, kOdd2);
}

}  // namespace anneal
