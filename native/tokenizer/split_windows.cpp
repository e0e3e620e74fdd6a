#include "tokenizer/split_windows.h"

#include <cstring>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "tokenizer/split_windows.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

HWY_BEFORE_NAMESPACE();
namespace anneal::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

/// 64 bytes, of which `known` belong to the text.
void classify_window(const uint8_t* bytes, size_t known, split_steps::Window& window) {
  const hn::CappedTag<uint8_t, 64> d;
  const size_t lanes = hn::Lanes(d);
  const auto in_range = [d](auto v, int low, int high) HWY_ATTR {
    const auto above = hn::Sub(v, hn::Set(d, static_cast<uint8_t>(low)));
    return hn::Eq(hn::Min(above, hn::Set(d, static_cast<uint8_t>(high - low))), above);
  };
  const auto is = [d](auto v, char c) HWY_ATTR { return hn::Eq(v, hn::Set(d, static_cast<uint8_t>(c))); };
  uint64_t letter = 0, number = 0, blank = 0, tab = 0, upper = 0, line_break = 0, apostrophe = 0, slash = 0,
           high = 0;
  for (size_t at = 0; at < 64; at += lanes) {
    const auto v = hn::LoadU(d, bytes + at);
    const auto add = [&](auto mask, uint64_t& bits) HWY_ATTR {
      uint8_t stored[8]{};
      hn::StoreMaskBits(d, mask, stored);
      uint64_t part;
      std::memcpy(&part, stored, sizeof part);
      bits |= part << at;
    };
    add(in_range(hn::Or(v, hn::Set(d, 0x20)), 'a', 'z'), letter);
    add(in_range(v, 'A', 'Z'), upper);
    add(in_range(v, '0', '9'), number);
    add(is(v, ' '), blank);
    add(in_range(v, '\t', '\r'), tab);
    add(hn::Or(is(v, '\r'), is(v, '\n')), line_break);
    add(is(v, '\''), apostrophe);
    add(is(v, '/'), slash);
    add(in_range(v, 0x80, 0xFF), high);
  }
  known = std::min(known, static_cast<size_t>(std::countr_zero(high)));
  const uint64_t of_text = split_steps::first_bits(known);
  window.letter = letter & of_text;
  window.number = number & of_text;
  window.space = (blank | tab) & of_text;
  window.other = ~(letter | number | blank | tab) & of_text;
  window.upper = upper & of_text;
  window.blank = blank & of_text;
  window.line_break = line_break & of_text;
  window.apostrophe = apostrophe & of_text;
  window.slash = slash & of_text;
  window.known = known;
}

}  // namespace anneal::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace anneal::split_steps {

HWY_EXPORT(classify_window);

Window window_at(const Byte* p, const Byte* end, const Byte* readable_end) {
  Window window;
  const size_t left = static_cast<size_t>(end - p);
  if (readable_end - p >= 64) {
    HWY_DYNAMIC_DISPATCH(classify_window)(p, std::min<size_t>(64, left), window);
  } else {
    Byte padded[64]{};
    std::memcpy(padded, p, left);
    HWY_DYNAMIC_DISPATCH(classify_window)(padded, left, window);
  }
  window.ends_text = window.known == left;
  return window;
}

}  // namespace anneal::split_steps
#endif
