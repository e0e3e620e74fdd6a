// Scanners of patterns in which a run of characters takes the space before it along: BLOOM, DeepSeek LLM and
// Coder.
#pragma once

#include "tokenizer/split_steps.h"

namespace anneal::split_steps {

/// `[\r\n]`: each line break alone, and what stands between them.
inline const Byte* each_newline(const Text& text, const Byte* p) {
  if (is_newline(*p)) return p + 1;
  while (p < text.end() && !is_newline(*p)) ++p;
  return p;
}

/// Matches of an expression, and what stands between them. `match` gives the end of a match at p, or p.
template <typename Match>
const Byte* matches(const Text& text, const Byte* p, const Match& match) {
  if (const Byte* q = match(p); q > p) return q;
  do {
    p = text.after(p);
  } while (p < text.end() && match(p) == p);
  return p;
}

/// `\s?[...]+`, the class by `accept`.
template <typename Accept>
const Byte* spaced_runs(const Text& text, const Byte* p, const Accept& accept) {
  return matches(text, p, [&](const Byte* from) {
    const Char c = text.at(from);
    if ((text.class_of(c.point) & kSpace) != 0) {
      const Byte* next = from + c.length;
      if (const Byte* q = text.skip_while(next, accept); q > next) return q;
    }
    return text.skip_while(from, accept);
  });
}

/// `\s?\p{L}+` and the like.
template <CharClass kWanted>
const Byte* spaced_class(const Text& text, const Byte* p) {
  return spaced_runs(text, p, [&](uint32_t point) { return (text.class_of(point) & kWanted) != 0; });
}

/// Letters with case, as DeepSeek LLM lists them.
inline constexpr unicode::Range kCasedLetters[] = {
    {0x41, 0x5A},       {0x61, 0x7A},       {0xB5, 0xB5},       {0xC0, 0xD6},       {0xD8, 0xF6},
    {0xF8, 0x1BA},      {0x1BC, 0x1BF},     {0x1C4, 0x293},     {0x295, 0x2AF},     {0x370, 0x373},
    {0x376, 0x376},     {0x377, 0x377},     {0x37B, 0x37D},     {0x37F, 0x37F},     {0x386, 0x386},
    {0x388, 0x38A},     {0x38C, 0x38C},     {0x38E, 0x3A1},     {0x3A3, 0x3F5},     {0x3F7, 0x481},
    {0x48A, 0x52F},     {0x531, 0x556},     {0x10A0, 0x10C5},   {0x13A0, 0x13F5},   {0x13F8, 0x13FD},
    {0x1C90, 0x1CBA},   {0x1CBD, 0x1CBF},   {0x1D00, 0x1D2B},   {0x1D6B, 0x1D77},   {0x1D79, 0x1D9A},
    {0x1E00, 0x1F15},   {0x1F18, 0x1F1D},   {0x1F20, 0x1F45},   {0x1F48, 0x1F4D},   {0x1F50, 0x1F57},
    {0x1F59, 0x1F59},   {0x1F5B, 0x1F5B},   {0x1F5D, 0x1F5D},   {0x1F5F, 0x1F7D},   {0x1F80, 0x1FB4},
    {0x1FB6, 0x1FBC},   {0x1FBE, 0x1FBE},   {0x1FC2, 0x1FC4},   {0x1FC6, 0x1FCC},   {0x1FD0, 0x1FD3},
    {0x1FD6, 0x1FDB},   {0x1FE0, 0x1FEC},   {0x1FF2, 0x1FF4},   {0x1FF6, 0x1FFC},   {0x2102, 0x2102},
    {0x2107, 0x2107},   {0x210A, 0x2113},   {0x2115, 0x2115},   {0x2119, 0x211D},   {0x2124, 0x2124},
    {0x2126, 0x2126},   {0x2128, 0x2128},   {0x212A, 0x212D},   {0x212F, 0x2134},   {0x2139, 0x2139},
    {0x213C, 0x213F},   {0x2145, 0x2149},   {0x214E, 0x214E},   {0x2183, 0x2183},   {0x2184, 0x2184},
    {0x2C00, 0x2C7B},   {0x2C7E, 0x2CE4},   {0x2CEB, 0x2CEE},   {0x2CF2, 0x2CF2},   {0x2CF3, 0x2CF3},
    {0xA640, 0xA66D},   {0xA680, 0xA69B},   {0xA722, 0xA76F},   {0xA771, 0xA787},   {0xA78B, 0xA78E},
    {0xAB70, 0xABBF},   {0xFB00, 0xFB06},   {0xFB13, 0xFB17},   {0xFF21, 0xFF3A},   {0xFF41, 0xFF5A},
    {0x10400, 0x1044F}, {0x104B0, 0x104D3}, {0x104D8, 0x104FB}, {0x10C80, 0x10CB2}, {0x10CC0, 0x10CF2},
    {0x118A0, 0x118DF}, {0x1E900, 0x1E943}};

/// `\s?[A-Za-z...]+` with these letters.
inline const Byte* spaced_cased_letters(const Text& text, const Byte* p) {
  static const CodePointTable letters = membership(kCasedLetters);
  return spaced_runs(text, p, [&](uint32_t point) { return letters[point] != 0; });
}

/// `\s?[!-/:-~...]+`: what ASCII has beside digits and spaces, its wide forms, quotation marks and full
/// stops.
inline const Byte* spaced_signs(const Text& text, const Byte* p) {
  return spaced_runs(text, p, [](uint32_t point) {
    const auto in = [point](uint32_t first, uint32_t last) { return point >= first && point <= last; };
    return in('!', '/') || in(':', '~') || in(0xFF01, 0xFF0F) || in(0xFF1A, 0xFF5E) || in(0x2018, 0x201F) ||
           in(0x3000, 0x3002);
  });
}

/// `\s+$` in a piece without line breaks, or one of a single one: the spaces at its end.
inline const Byte* spaces_at_end(const Text& text, const Byte* p) {
  const Byte* end = p;
  for (const Byte* q = p; q < text.end();) {
    const Char c = text.at(q);
    q += c.length;
    if ((text.class_of(c.point) & kSpace) == 0) end = q;
  }
  return end > p ? end : text.end();
}

/// `[\u4e00-\u9fa5\u0800-\u4e00\uac00-\ud7ff]+`
inline const Byte* han_kana_hangul(const Text& text, const Byte* p) {
  return runs(text, p, [](uint32_t point) {
    return (point >= 0x800 && point <= 0x9FA5) || (point >= 0xAC00 && point <= 0xD7FF);
  });
}

/// BLOOM's ` ?[^(\s|[.,!?...])]+`, where the parentheses and the bar are signs like any other.
inline const Byte* bloom(const Text& text, const Byte* p) {
  const auto accept = [&](uint32_t point) {
    switch (point) {
      case '(':
      case ')':
      case '|':
      case '.':
      case ',':
      case '!':
      case '?':
      case 0x2026:  // ellipsis
      case 0x3002:  // ideographic full stop, comma in three forms
      case 0xFF0C:
      case 0x3001:
      case 0x0964:  // danda
      case 0x06D4:  // Arabic full stop, comma
      case 0x060C:
        return false;
      default:
        return (text.class_of(point) & kSpace) == 0;
    }
  };
  return matches(text, p, [&](const Byte* from) {
    const Byte* word = *from == ' ' ? from + 1 : from;
    const Byte* q = text.skip_while(word, accept);
    return q > word ? q : from;
  });
}

}  // namespace anneal::split_steps
