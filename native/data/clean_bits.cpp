// Classes of bytes, 16 to 64 at once.
#include "data/clean_text.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "data/clean_bits.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

HWY_BEFORE_NAMESPACE();
namespace anneal::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

void classify(const char* text, size_t size, ByteClasses& classes) {
  const hn::CappedTag<uint8_t, 64> d;
  const size_t lanes = hn::Lanes(d);
  const auto* bytes = reinterpret_cast<const uint8_t*>(text);
  const auto in_range = [d](auto v, int low, int high) HWY_ATTR {
    const auto above = hn::Sub(v, hn::Set(d, static_cast<uint8_t>(low)));
    return hn::Eq(hn::Min(above, hn::Set(d, static_cast<uint8_t>(high - low))), above);
  };
  const auto is = [d](auto v, char c) HWY_ATTR { return hn::Eq(v, hn::Set(d, static_cast<uint8_t>(c))); };
  for (size_t at = 0; at < size; at += lanes) {
    const auto v = hn::LoadU(d, bytes + at);
    const auto store = [&](auto mask, ByteBits& bits) HWY_ATTR {
      hn::StoreMaskBits(d, mask, reinterpret_cast<uint8_t*>(bits.data()) + at / 8);
    };
    const auto letter = in_range(hn::Or(v, hn::Set(d, 0x20)), 'a', 'z');
    const auto number = in_range(v, '0', '9');
    const auto space = hn::Or(in_range(v, 9, 13), in_range(v, 28, 32));
    store(letter, classes.letter);
    store(number, classes.number);
    store(hn::Or(letter, number), classes.word);
    store(space, classes.space);
    store(in_range(v, 0x80, 0xFF), classes.high);
    store(hn::Or(in_range(v, 10, 13), in_range(v, 28, 30)), classes.line_break);
    store(is(v, '\''), classes.apostrophe);
    store(hn::Or(is(v, '.'), is(v, ',')), classes.point);
    store(hn::Or(hn::Or(is(v, '.'), is(v, '!')), is(v, '?')), classes.stop);
  }
}

/// Four letters of a phrase, in lower case, by their distance from the first.
struct Hint {
  char letters[4];
  uint8_t offsets[4];
};
/// "java", "okie" of cookie, "licy" of policy, "ipsu", and "ms of use" by four of its letters.
constexpr Hint kHints[] = {{{'j', 'a', 'v', 'a'}, {0, 1, 2, 3}},
                           {{'o', 'k', 'i', 'e'}, {0, 1, 2, 3}},
                           {{'l', 'i', 'c', 'y'}, {0, 1, 2, 3}},
                           {{'i', 'p', 's', 'u'}, {0, 1, 2, 3}},
                           {{'m', 's', 'f', 'u'}, {0, 1, 4, 6}}};

bool find_hints(const char* text, size_t size) {
  const hn::CappedTag<uint8_t, 64> d;
  const size_t lanes = hn::Lanes(d);
  const auto* bytes = reinterpret_cast<const uint8_t*>(text);
  const auto case_bit = hn::Set(d, 0x20);
  for (size_t at = 0; at < size; at += lanes) {
    for (const Hint& hint : kHints) {
      const auto is = [&](int i) HWY_ATTR {
        const auto v = hn::Or(hn::LoadU(d, bytes + at + hint.offsets[i]), case_bit);
        return hn::Eq(v, hn::Set(d, static_cast<uint8_t>(hint.letters[i])));
      };
      const auto all = hn::And(hn::And(is(0), is(1)), hn::And(is(2), is(3)));
      if (!hn::AllFalse(d, all)) return true;
    }
  }
  return false;
}

}  // namespace anneal::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace anneal {

HWY_EXPORT(classify);

void classify_bytes(std::string_view text, ByteClasses& classes) {
  for (ByteBits* bits : {&classes.letter, &classes.number, &classes.word, &classes.space, &classes.high,
                         &classes.line_break, &classes.apostrophe, &classes.point, &classes.stop}) {
    bits->resize(text.size());
  }
  classes.ideograph.clear(text.size());
  classes.ideograph_begin.clear(text.size());
  HWY_DYNAMIC_DISPATCH(classify)(text.data(), text.size(), classes);
}

HWY_EXPORT(find_hints);

bool may_hold_phrase(std::string_view text) {
  return HWY_DYNAMIC_DISPATCH(find_hints)(text.data(), text.size());
}

}  // namespace anneal
#endif
