// Mojibake: UTF-8 whose bytes were taken for characters of Windows-1252 or Latin-1 ("donâ€™t", "cafÃ©"). The
// idea is ftfy's (Speer 2019): look for runs of characters that are a UTF-8 sequence as bytes, and turn them
// back only where nobody would have written them. Such text may have gone through it twice, so the repair is
// repeated.
#include <array>
#include <cstring>
#include <vector>

#include "data/clean_repair.h"
#include "data/unicode.h"

namespace anneal {
namespace {

/// Characters of Windows-1252 from 0x80; 0: none, there Latin-1's control character stands for the byte.
constexpr std::array<uint32_t, 32> kWindows1252 = {
    0x20AC, 0,      0x201A, 0x0192, 0x201E, 0x2026, 0x2020, 0x2021, 0x02C6, 0x2030, 0x0160,
    0x2039, 0x0152, 0,      0x017D, 0,      0,      0x2018, 0x2019, 0x201C, 0x201D, 0x2022,
    0x2013, 0x2014, 0x02DC, 0x2122, 0x0161, 0x203A, 0x0153, 0,      0x017E, 0x0178};

/// The byte that a character stands for, or -1.
int byte_of(uint32_t point) {
  if (point < 0x100) return static_cast<int>(point);
  for (size_t i = 0; i < kWindows1252.size(); ++i) {
    if (kWindows1252[i] == point) return static_cast<int>(0x80 + i);
  }
  return -1;
}

/// Marks that do stand after a letter in proper text: closing quotes, dashes, an ellipsis, a no-break space.
bool follows_letters(uint32_t point) {
  switch (point) {
    case 0x2019:
    case 0x201D:
    case 0x203A:
    case 0xBB:
    case 0x2026:
    case 0x2013:
    case 0x2014:
    case 0x2122:
    case 0xAE:
    case 0xA9:
    case 0xA0:
      return true;
    default:
      return false;
  }
}

enum class Evidence : uint8_t { kStrong, kWeak, kNeedsNeighbour };

struct Sequence {
  size_t begin, end;
  uint32_t point;
  Evidence evidence;
};

bool is_lower(char c) { return c >= 'a' && c <= 'z'; }
bool is_letter(char c) { return is_lower(c) || (c >= 'A' && c <= 'Z'); }

/// How surely a sequence is mojibake; `last` is its last character.
Evidence evidence_of(std::string_view text, const Sequence& found, size_t length, bool controls,
                     uint32_t last) {
  if (controls || length == 4) return Evidence::kStrong;
  const char before = found.begin > 0 ? text[found.begin - 1] : ' ';
  const char after = found.end < text.size() ? text[found.end] : ' ';
  if (length == 3) {
    // Punctuation and symbols, and the byte order and replacement marks; other scripts never come alone.
    const bool mark = (found.point >= 0x2000 && found.point < 0x2C00) || found.point == 0xFEFF ||
                      found.point == kReplacementCharacter;
    return mark ? Evidence::kStrong : Evidence::kNeedsNeighbour;
  }
  const bool capital =
      found.begin > 0 &&
      (unicode_properties(utf8_point(&text[previous_character(text, found.begin)])) & kUpper) != 0;
  constexpr uint32_t kCapitalA = 0xC2;  // A with a circumflex ends no words
  if (follows_letters(last) && capital && !is_lower(after) && utf8_point(&text[found.begin]) != kCapitalA) {
    return Evidence::kNeedsNeighbour;
  }
  if (found.point < 0x100) return Evidence::kStrong;
  const bool latin = found.point < 0x180;
  // A capital after a small letter is no capital.
  if (latin && (is_lower(before) || is_lower(after) || (is_letter(before) && !follows_letters(last))))
    return Evidence::kStrong;
  // Greek, Cyrillic, Hebrew and Arabic.
  const bool script =
      (found.point >= 0x370 && found.point < 0x530) || (found.point >= 0x590 && found.point < 0x700);
  return latin || script ? Evidence::kWeak : Evidence::kNeedsNeighbour;
}

/// The sequence that begins with the character at `begin`, if there is one.
bool read_sequence(std::string_view text, size_t begin, Sequence& found) {
  const uint32_t lead = utf8_point(&text[begin]);
  if (lead < 0xC2 || lead > 0xF4) return false;
  const size_t length = utf8_length(static_cast<unsigned char>(lead));
  std::array<char, 4> bytes{static_cast<char>(lead)};
  bool controls = false;
  uint32_t last = 0;
  size_t at = begin + 2;
  for (size_t i = 1; i < length; ++i) {
    if (at >= text.size()) return false;
    last = utf8_point(&text[at]);
    const int byte = byte_of(last);
    if (byte < 0x80 || byte > 0xBF) return false;
    controls = controls || last < 0xA0;
    bytes[i] = static_cast<char>(byte);
    at += utf8_length(static_cast<unsigned char>(text[at]));
  }
  const std::string_view sequence(bytes.data(), length);
  if (valid_utf8_prefix(sequence) != length) return false;
  const uint32_t point = utf8_point(bytes.data());
  if (point < 0xA0) return false;  // a control character is nobody's text
  found = {begin, at, point, Evidence::kStrong};
  found.evidence = evidence_of(text, found, length, controls, last);
  return true;
}

/// One round; false if nothing was repaired.
bool repair_once(std::string_view text, std::string& out, Findings& findings) {
  std::vector<Sequence> sequences;
  constexpr char kFirstByte = '\xC3';  // of U+00C0 to U+00FF
  for (size_t at = 0; at + 2 < text.size();) {
    const void* next = std::memchr(&text[at], kFirstByte, text.size() - at);
    if (next == nullptr) break;
    const auto begin = static_cast<size_t>(static_cast<const char*>(next) - text.data());
    Sequence found;
    at = begin + 2;
    if (begin + 2 < text.size() && static_cast<unsigned char>(text[begin + 2]) >= 0x80 &&
        read_sequence(text, begin, found)) {
      sequences.push_back(found);
      at = found.end;
    }
  }
  const auto has_neighbour = [&](size_t i) {
    return (i > 0 && sequences[i - 1].end == sequences[i].begin) ||
           (i + 1 < sequences.size() && sequences[i].end == sequences[i + 1].begin);
  };
  const auto is_sure = [&](size_t i) {
    return sequences[i].evidence == Evidence::kStrong || has_neighbour(i);
  };
  size_t sure = 0;
  std::array<size_t, 3> of_script{};  // sure ones of two bytes; of scripts of Asia, west and east
  const auto script = [](uint32_t point) { return point < 0x800 ? 0 : point < 0x2000 ? 1 : 2; };
  for (size_t i = 0; i < sequences.size(); ++i) {
    if (!is_sure(i)) continue;
    ++sure;
    const uint32_t point = sequences[i].point;
    const bool mark = point >= 0x2000 && point < 0x2E80;
    of_script[script(point)] += mark ? 0 : 1;
  }
  if (sure == 0) return false;
  out.clear();
  size_t copied = 0;
  for (size_t i = 0; i < sequences.size(); ++i) {
    const Sequence& sequence = sequences[i];
    // Where some of the text is mojibake, a letter that may be is, and so is any of a script that is there.
    const int kind = script(sequence.point);
    const bool repair = is_sure(i) || (sequence.evidence == Evidence::kWeak && sure >= 2) ||
                        (kind > 0 && of_script[kind] >= 2);
    if (!repair) continue;
    out.append(text.substr(copied, sequence.begin - copied));
    findings.add(kMojibake, out.size());
    append_utf8(sequence.point, out);
    copied = sequence.end;
  }
  out.append(text.substr(copied));
  return true;
}

}  // namespace

bool repair_mojibake(std::string_view text, std::string& out, Findings& findings) {
  constexpr int kRounds = 3;
  if (!repair_once(text, out, findings)) return false;
  std::string before;
  for (int round = 1; round < kRounds; ++round) {
    before.swap(out);
    if (!repair_once(before, out, findings)) {
      out.swap(before);
      break;
    }
  }
  return true;
}

}  // namespace anneal
