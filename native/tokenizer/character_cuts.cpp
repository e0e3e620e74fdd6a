// Why a word may be cut where no merge joins the characters. Before the first merge across a border of two
// characters, the border lies between two tokens: the left one ends with the left character or, if it begins
// inside of it, is the rest of it; the right one begins with the right character or is the beginning of it.
// So a border is crossed only if some merge has such parts. Where none has, what is merged on one side does
// not depend on the other.
#include "tokenizer/character_cuts.h"

#include <array>
#include <bit>
#include <unordered_map>
#include <utility>

#include "data/utf8.h"

namespace anneal {
namespace {

constexpr size_t kCharacterBytes = 4;
constexpr size_t kBitsAPair = 32;
constexpr int kMaxRounds = 32;

const Byte* bytes_of(std::string_view text) { return reinterpret_cast<const Byte*>(text.data()); }

bool continues(char byte) { return (static_cast<Byte>(byte) & 0xC0) == 0x80; }

/// The code point of a text that is one character, else kInvalid.
uint32_t point_of(std::string_view text) {
  const Char c = char_at(bytes_of(text), bytes_of(text) + text.size());
  return c.length == text.size() ? c.point : kInvalid;
}

/// The first and last bytes of a token, as many as a character may have; empty: no word leads to it.
struct Ends {
  std::string first, last;

  bool operator==(const Ends&) const = default;

  [[nodiscard]] Ends joined(const Ends& right) const {
    Ends ends{first + right.first, last + right.last};
    ends.first.resize(std::min(ends.first.size(), kCharacterBytes));
    ends.last.erase(0, ends.last.size() - std::min(ends.last.size(), kCharacterBytes));
    return ends;
  }
  /// The character that the token begins or ends with, or what it has of it.
  [[nodiscard]] std::string_view first_character() const {
    const std::string_view text = first;
    const Char c = char_at(bytes_of(text), bytes_of(text) + text.size());
    return c.point == kInvalid ? text : text.substr(0, c.length);
  }
  [[nodiscard]] std::string_view last_character() const {
    size_t at = last.size() - 1;
    while (at > 0 && continues(last[at])) --at;
    return std::string_view(last).substr(at);
  }
};

/// What the merges of a vocabulary join.
class Crossings {
 public:
  void add(std::string_view left, std::string_view right) {
    const uint32_t left_point = point_of(left);
    const uint32_t right_point = point_of(right);
    if (left_point == kInvalid || right_point == kInvalid) {
      const uint8_t bit = left_point == kInvalid ? CutCharacter::kBeginsInside : CutCharacter::kEndsInside;
      after_[packed(left)] |= bit;
      before_[packed(right)] |= bit;
    } else if ((left_point | right_point) >= 0x80) {
      pairs_.emplace_back(left_point, right_point);
    }
  }
  void add_inside(std::string_view text) {
    const Byte* const end = bytes_of(text) + text.size();
    std::string_view before;
    for (const Byte* p = bytes_of(text); p < end; p += before.size()) {
      const std::string_view character(reinterpret_cast<const char*>(p), char_at(p, end).length);
      if (!before.empty()) add(before, character);
      before = character;
    }
  }

  [[nodiscard]] const std::vector<std::pair<uint32_t, uint32_t>>& pairs() const { return pairs_; }
  void set_bits(std::string_view character, CutCharacter& known) const {
    known.before = known.after = 0;
    for (size_t i = 0; i < character.size(); ++i) {
      known.after |= bits(after_, character.substr(i));
      known.before |= bits(before_, character.substr(0, i + 1));
    }
  }

 private:
  using Bits = std::unordered_map<uint32_t, uint8_t>;

  static uint32_t packed(std::string_view bytes) {
    uint32_t value = 0;
    for (const char byte : bytes) value = value << 8 | static_cast<Byte>(byte);
    return value;
  }
  static uint8_t bits(const Bits& map, std::string_view bytes) {
    const auto found = map.find(packed(bytes));
    return found == map.end() ? uint8_t{0} : found->second;
  }

  std::vector<std::pair<uint32_t, uint32_t>> pairs_;
  Bits after_, before_;  // by the bytes of a character, or its last or first ones
};

/// False where it is not clear what the tokens are, as an id has several texts.
bool add_merges(const std::vector<int32_t>& merges, const CharacterCuts::Units& units, Crossings& crossings) {
  int32_t last = merges.empty() ? 0 : *std::max_element(merges.begin(), merges.end());
  for (const auto& [id, text] : units) last = std::max(last, id);
  std::vector<Ends> ends(static_cast<size_t>(last) + 1);
  const auto name = [&](int32_t id, Ends with) {
    Ends& own = ends[static_cast<size_t>(id)];
    if (own.first.empty())
      own = std::move(with);
    else if (own != with)
      return false;
    return true;
  };
  for (const auto& [id, text] : units) {
    if (!name(id, Ends{}.joined({text, text}))) return false;
  }
  std::vector<size_t> waiting;
  for (size_t i = 0; i < merges.size(); i += 3) waiting.push_back(i);
  // A part may be the result of a later merge; hardly ever is that so again and again.
  for (int round = 0, done = 1; done > 0; ++round) {
    if (round == kMaxRounds) return false;
    done = 0;
    std::vector<size_t> still;
    for (const size_t i : waiting) {
      const Ends& left = ends[static_cast<size_t>(merges[i])];
      const Ends& right = ends[static_cast<size_t>(merges[i + 1])];
      if (left.first.empty() || right.first.empty()) {
        still.push_back(i);
        continue;
      }
      if (!name(merges[i + 2], left.joined(right))) return false;
      if (!continues(right.first[0])) crossings.add(left.last_character(), right.first_character());
      ++done;
    }
    waiting = std::move(still);
  }
  return true;
}

}  // namespace

CharacterCuts::CharacterCuts(const std::vector<int32_t>& merges, const Units& units,
                             const std::vector<std::string_view>& whole, const Encode& encode)
    : characters_(kBasicPlane + 1), pairs_(1), bit_mask_(63) {
  Crossings crossings;
  if (!add_merges(merges, units, crossings)) return;
  std::vector<bool> is_whole(kBasicPlane);
  for (const std::string_view word : whole) {
    crossings.add_inside(word);
    if (const uint32_t point = point_of(word); point < kBasicPlane) is_whole[point] = true;
  }
  pairs_.resize(std::bit_ceil(std::max<size_t>(1, crossings.pairs().size() * kBitsAPair / 64)));
  bit_mask_ = pairs_.size() * 64 - 1;
  for (const auto& [left, right] : crossings.pairs()) {
    const uint64_t bit = hash(left, right) & bit_mask_;
    pairs_[bit >> 6] |= uint64_t{1} << (bit & 63);
  }
  for (uint32_t point = 0; point < kBasicPlane; ++point) {
    if (point == 0xD800) point = 0xE000;
    std::string character;
    append_utf8(point, character);
    CutCharacter& known = characters_[point];
    crossings.set_bits(character, known);
    if (is_whole[point]) continue;
    std::array<int32_t, kCharacterBytes> ids{};
    const size_t count = encode(character, ids.data());
    if (count > CutCharacter::kMaxIds) continue;
    known.count = static_cast<uint8_t>(count);
    std::copy_n(ids.begin(), count, known.ids);
  }
}

}  // namespace anneal
