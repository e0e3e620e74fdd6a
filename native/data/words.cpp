#include "data/words.h"

#include <algorithm>
#include <bit>
#include <cstring>

#include "data/unicode.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "data/words.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

HWY_BEFORE_NAMESPACE();
namespace anneal::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

constexpr size_t kUnrolled = 14;

/// Makes ASCII letters lower case, and marks letters and digits, and bytes that are not ASCII. Whole vectors.
void lower_and_mark(uint8_t* bytes, size_t size, uint8_t* word, uint8_t* high) {
  const hn::CappedTag<uint8_t, 64> d;
  const auto in_range = [d](auto v, char low, char high_end) HWY_ATTR {
    const auto above = hn::Sub(v, hn::Set(d, static_cast<uint8_t>(low)));
    return hn::Eq(hn::Min(above, hn::Set(d, static_cast<uint8_t>(high_end - low))), above);
  };
  const auto case_bit = hn::Set(d, 0x20), high_bit = hn::Set(d, 0x80);
  for (size_t at = 0; at < size; at += hn::Lanes(d)) {
    auto v = hn::LoadU(d, bytes + at);
    v = hn::Or(v, hn::IfThenElseZero(in_range(v, 'A', 'Z'), case_bit));
    hn::StoreU(v, d, bytes + at);
    hn::StoreMaskBits(d, hn::Or(in_range(v, 'a', 'z'), in_range(v, '0', '9')), word + at / 8);
    hn::StoreMaskBits(d, hn::Eq(hn::And(v, high_bit), high_bit), high + at / 8);
  }
}

/// Lists where words begin and end; `border` may be missing. Returns how many there are. (Machines with wide
/// vectors find set bits faster.)
size_t list_places(const uint64_t* word, const uint64_t* border, size_t size,
                   std::vector<PlainWords::Place>& places) {
  size_t begins = 0, ends = 0;
  uint64_t last = 0;  // whether the byte before these 64 is one of a word
  // One byte more than the text has, so that its last word ends.
  for (size_t i = 0; i <= size / 64; ++i) {
    const uint64_t now = word[i];
    const uint64_t before = now << 1 | last;
    const uint64_t borders = border == nullptr ? 0 : border[i];
    last = now >> 63;
    if (places.size() < begins + 64 + kUnrolled) places.resize(2 * begins + 128);
    const auto list = [&](uint64_t bits, size_t count, size_t PlainWords::Place::*side) HWY_ATTR {
      // A few at a time, whether they are there or not: what is too much will be written over.
      const auto all = static_cast<size_t>(std::popcount(bits));
      PlainWords::Place* to = places.data() + count;
      for (size_t done = 0; done < all; done += kUnrolled, to += kUnrolled) {
        for (size_t k = 0; k < kUnrolled; ++k, bits &= bits - 1) {
          to[k].*side = 64 * i + static_cast<size_t>(std::countr_zero(bits));
        }
      }
      return count + all;
    };
    begins = list(now & (~before | borders), begins, &PlainWords::Place::begin);
    ends = list(before & (~now | borders), ends, &PlainWords::Place::end);
  }
  return ends;
}

}  // namespace anneal::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace anneal {

HWY_EXPORT(lower_and_mark);
HWY_EXPORT(list_places);

namespace {

constexpr size_t kPadding = 64 + 8;  // whole vectors, and what hashes read

}  // namespace

void PlainWords::find(std::string_view text) {
  const size_t size = text.size();
  if (lower_.size() < size + kPadding) lower_.resize(size + size / 4 + kPadding);
  std::copy(text.begin(), text.end(), lower_.begin());
  std::memset(lower_.data() + size, 0, kPadding);
  word_.resize(size);
  high_.resize(size);
  HWY_DYNAMIC_DISPATCH(lower_and_mark)
  (reinterpret_cast<uint8_t*>(lower_.data()), size, reinterpret_cast<uint8_t*>(word_.data()),
   reinterpret_cast<uint8_t*>(high_.data()));
  const bool ascii = !high_.any(0, size);
  if (!ascii) mark_high(text);
  count_ = HWY_DYNAMIC_DISPATCH(list_places)(word_.data(), ascii ? nullptr : border_.data(), size, places_);
}

/// Marks words beyond ASCII.
void PlainWords::mark_high(std::string_view text) {
  border_.clear(text.size());
  for (size_t at = high_.next(0, text.size()); at < text.size();) {
    const uint32_t bytes = utf8_length(static_cast<unsigned char>(text[at]));
    const std::string_view character = text.substr(at, bytes);
    if (valid_utf8_prefix(character) != bytes) {
      at = high_.next(at + 1, text.size());
      continue;
    }
    const uint32_t properties = unicode_properties(utf8_point(character.data()));
    if (properties & (kIdeograph | kWordCharacter)) word_.set(at, bytes);
    if (properties & kIdeograph) {
      border_.set(at, 1);
      border_.set(at + bytes, 1);
    }
    at = high_.next(at + bytes, text.size());
  }
}

}  // namespace anneal
#endif
