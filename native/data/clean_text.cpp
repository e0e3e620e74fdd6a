#include "data/clean_text.h"

#include <algorithm>
#include <cstring>

#include "data/stable_hash.h"
#include "data/unicode.h"

namespace anneal {
namespace {

constexpr size_t kPadding = 128;  // vectors are read whole, also a few bytes on
constexpr uint32_t kRightQuote = 0x2019, kNextLine = 0x85, kLineSeparator = 0x2028,
                   kParagraphSeparator = 0x2029;

}  // namespace

void CleanText::assign(std::string_view text) {
  size_ = text.size();
  if (buffer_.size() < size_ + kPadding) buffer_.resize(size_ + size_ / 4 + kPadding);
  if (size_ > 0) std::memcpy(buffer_.data(), text.data(), size_);
  std::memset(buffer_.data() + size_, 0, kPadding);
  ascii_ = ascii_prefix(view()) == size_;
  has_characters_ = has_classes_ = has_words_ = has_lines_ = has_split_lines_ = false;
}

size_t CleanText::characters(std::string_view part) const {
  return ascii_ ? part.size() : count_characters(part);
}

size_t CleanText::characters() {
  if (!has_characters_) characters_ = characters(view());
  has_characters_ = true;
  return characters_;
}

const ByteClasses& CleanText::classes() {
  if (has_classes_) return classes_;
  has_classes_ = true;
  classify_bytes(view(), classes_);
  if (!ascii_) classify_high();
  join_words();
  return classes_;
}

/// Classes of the characters beyond ASCII.
void CleanText::classify_high() {
  for (size_t at = classes_.high.next(0, size_); at < size_;) {
    const uint32_t point = utf8_point(&buffer_[at]);
    const uint32_t length = utf8_length(static_cast<unsigned char>(buffer_[at]));
    const uint32_t properties = unicode_properties(point);
    if (properties & kLetter) classes_.letter.set(at, length);
    if (properties & kIdeograph) {
      classes_.ideograph.set(at, length);
      classes_.ideograph_begin.set(at, 1);
    } else if (properties & kWordCharacter) {
      classes_.word.set(at, length);
      if (properties & kNumber) classes_.number.set(at, length);
    } else if (properties & kSpace) {
      classes_.space.set(at, length);
      if (point == kNextLine || point == kLineSeparator || point == kParagraphSeparator) {
        classes_.line_break.set(at, 1);
      }
    } else if (properties & kTerminal) {
      classes_.stop.set(at, 1);
    }
    at = classes_.high.next(at + length, size_);
  }
}

/// What joins words becomes a part of them.
void CleanText::join_words() {
  const auto between = [](const uint64_t* bits, size_t i) {
    const uint64_t before = bits[i] << 1 | (i == 0 ? 0 : bits[i - 1] >> 63);
    const uint64_t after = bits[i] >> 1 | bits[i + 1] << 63;
    return before & after;
  };
  // Apostrophes look at words without what was joined: none of them can stand beside another.
  uint64_t* word = classes_.word.data();
  for (size_t i = 0; i <= size_ / 64; ++i) {
    const uint64_t apostrophe = classes_.apostrophe.data()[i];
    const uint64_t point = classes_.point.data()[i];
    if ((apostrophe | point) == 0) continue;
    // The bits below are the word's own as they were: a joined byte is never next to a joining one, because
    // what stands on both sides of a joining byte is a letter, mark or number.
    const uint64_t joined = (apostrophe & between(word, i)) | (point & between(classes_.number.data(), i));
    word[i] |= joined;
  }
  if (ascii_) return;
  for (size_t at = classes_.high.next(0, size_); at < size_;) {
    const uint32_t length = utf8_length(static_cast<unsigned char>(buffer_[at]));
    if (length == 3 && utf8_point(&buffer_[at]) == kRightQuote && at > 0 && classes_.word.at(at - 1) &&
        classes_.word.at(at + 3)) {
      classes_.word.set(at, 3);
    }
    at = classes_.high.next(at + length, size_);
  }
}

/// Where a word or white space begins, in the 64 bytes from 64 i; the carries are the bits before them.
struct CleanText::Edges {
  uint64_t word = 0, space = 1, ideograph = 0;

  uint64_t next(const ByteClasses& of, size_t i) {
    const uint64_t w = of.word.data()[i], s = of.space.data()[i], c = of.ideograph.data()[i];
    const uint64_t edges = (w ^ (w << 1 | word)) | (s ^ (s << 1 | space)) | (c ^ (c << 1 | ideograph)) |
                           of.ideograph_begin.data()[i];
    word = w >> 63;
    space = s >> 63;
    ideograph = c >> 63;
    return edges;
  }
};

size_t CleanText::count_words() {
  if (has_words_) return words_.size();
  const ByteClasses& of = classes();
  Edges edges;
  size_t count = 0;
  for (size_t i = 0; i << 6 < size_; ++i) {
    uint64_t begins = edges.next(of, i) & ~of.space.data()[i];
    if (size_ - (i << 6) < 64) begins &= (uint64_t{1} << (size_ & 63)) - 1;
    count += static_cast<size_t>(__builtin_popcountll(begins));
  }
  return count;
}

/// Calls emit(begin, end) for each word.
template <typename Emit>
void CleanText::for_each_word(const Emit& emit) {
  const ByteClasses& of = classes();
  Edges edges;
  size_t begin = 0;
  bool inside = false;  // a word, which began at `begin`
  for (size_t i = 0; i << 6 < size_; ++i) {
    const uint64_t spaces = of.space.data()[i];
    for (uint64_t left = edges.next(of, i); left != 0; left &= left - 1) {
      const auto bit = static_cast<size_t>(__builtin_ctzll(left));
      const size_t at = (i << 6) + bit;
      if (at >= size_) break;
      if (inside) emit(begin, at);
      inside = (spaces >> bit & 1) == 0;
      begin = at;
    }
  }
  if (inside) emit(begin, size_);
}

const Words& CleanText::words() {
  if (has_words_) return words_;
  Words& words = words_;
  const size_t count = count_words();
  words.starts.resize(count + 1);
  words.hashes.resize(count);
  words.with_letter = words.plain = words.plain_characters = 0;
  // Copies of words are made 16 bytes at a time, over what the next one will fill.
  if (words.joined.size() < size_ + 2 * kPadding) words.joined.resize(size_ + size_ / 4 + 2 * kPadding);
  char* const joined = words.joined.data();
  uint32_t* start = words.starts.data();
  uint64_t* hash = words.hashes.data();
  char* to = joined;
  for_each_word([&](size_t begin, size_t end) {
    const char* at = buffer_.data() + begin;
    const size_t length = end - begin;
    std::memcpy(to, at, 16);
    if (length > 16) std::memcpy(to + 16, at + 16, length - 16);
    *start++ = static_cast<uint32_t>(to - joined);
    to += length;
    *hash++ = stable_hash_padded(at, length);
    const bool letter = classes_.letter.at(begin) || classes_.letter.any(begin + 1, end);
    words.with_letter += letter ? 1 : 0;
    if (ascii_ || !classes_.high.any(begin, end)) {
      // Of ASCII, all that is neither letter nor number is punctuation.
      const bool plain = classes_.word.at(begin);
      words.plain += plain ? 1 : 0;
      words.plain_characters += plain ? length : 0;
      return;
    }
    size_t characters = 0;
    bool plain = false;
    for (size_t i = begin; i < end; i += utf8_length(static_cast<unsigned char>(buffer_[i]))) {
      plain = plain || (unicode_properties(utf8_point(&buffer_[i])) & kSymbol) == 0;
      ++characters;
    }
    words.plain += plain ? 1 : 0;
    words.plain_characters += plain ? characters : 0;
  });
  *start = static_cast<uint32_t>(to - joined);
  std::memset(to, 0, kPadding);
  has_words_ = true;
  return words_;
}

const std::vector<Span>& CleanText::lines() {
  if (has_lines_) return lines_;
  has_lines_ = true;
  lines_.clear();
  const ByteBits& breaks = classes().line_break;
  size_t begin = 0;
  for (size_t at = breaks.next(0, size_); at < size_; at = breaks.next(at + 1, size_)) {
    if (buffer_[at] != '\n') continue;
    lines_.push_back({static_cast<uint32_t>(begin), static_cast<uint32_t>(at)});
    begin = at + 1;
  }
  lines_.push_back({static_cast<uint32_t>(begin), static_cast<uint32_t>(size_)});
  return lines_;
}

const std::vector<Span>& CleanText::split_lines() {
  if (has_split_lines_) return split_lines_;
  has_split_lines_ = true;
  split_lines_.clear();
  const ByteBits& breaks = classes().line_break;
  size_t begin = 0;
  for (size_t at = breaks.next(0, size_); at < size_;) {
    split_lines_.push_back({static_cast<uint32_t>(begin), static_cast<uint32_t>(at)});
    const bool pair = buffer_[at] == '\r' && buffer_[at + 1] == '\n';
    begin = at + (pair ? 2 : utf8_length(static_cast<unsigned char>(buffer_[at])));
    at = breaks.next(begin, size_);
  }
  if (begin < size_) split_lines_.push_back({static_cast<uint32_t>(begin), static_cast<uint32_t>(size_)});
  return split_lines_;
}

Span CleanText::strip(Span span) {
  const ByteBits& space = classes().space;
  while (span.begin < span.end && space.at(span.begin)) ++span.begin;
  while (span.begin < span.end && space.at(span.end - 1)) --span.end;
  return span;
}

}  // namespace anneal
