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

}  // namespace anneal::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace anneal {

HWY_EXPORT(classify);

void classify_bytes(std::string_view text, ByteClasses& classes) {
  ByteBits* const all[] = {&classes.letter, &classes.number,     &classes.word,           &classes.space,
                           &classes.high,   &classes.line_break, &classes.apostrophe,     &classes.point,
                           &classes.stop,   &classes.ideograph,  &classes.ideograph_begin};
  for (ByteBits* bits : all) bits->resize(text.size());
  HWY_DYNAMIC_DISPATCH(classify)(text.data(), text.size(), classes);
}

}  // namespace anneal
#endif
