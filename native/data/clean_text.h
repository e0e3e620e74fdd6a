// A document as the cleaning rules see it: its text, and what is derived from it when a rule first asks:
// which bytes are letters, spaces and so on (a bit a byte), its words, its lines.
//
// A word is a run of letters, marks and numbers; apostrophes between two of them and `.` or `,` between two
// numbers belong to it ("don't", "3.14"); each Han or kana character is a word; and so is each run of other
// characters that are no white space ("...", "$"). White space is what Python's str.split takes for it.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "data/byte_bits.h"

namespace anneal {

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

}  // namespace anneal
