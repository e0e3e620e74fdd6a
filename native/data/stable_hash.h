// The hash of byte strings that is stored, by units of a dataset that several machines may have made, so it
// must not change: the same on every machine and in every version. (hash_word of the tokenizer is for tables
// in memory.)
#pragma once

#include <bit>
#include <cstdint>
#include <string_view>

#include "tokenizer/word_hash.h"

namespace anneal {

static_assert(std::endian::native == std::endian::little,
              "stored hashes read bytes as little-endian numbers");

constexpr uint64_t kStableOdd1 = 0x9E3779B97F4A7C15u;
constexpr uint64_t kStableOdd2 = 0xC2B2AE3D27D4EB4Fu;

/// Multiplications by an odd number, eight bytes at a time, folded; not for use against an adversary. `tail`
/// is called with where the last 0 to 7 bytes are, and gives them as a number.
template <typename Tail>
uint64_t stable_hash(const char* at, size_t size, const Tail& tail) {
  uint64_t hash = size * kStableOdd1;
  for (; size >= 8; size -= 8, at += 8) hash = mix_bits(hash ^ load_number<uint64_t>(at), kStableOdd2);
  return mix_bits(hash ^ tail(at, size) ^ kStableOdd1, kStableOdd2);
}

inline uint64_t stable_hash(std::string_view bytes) {
  return stable_hash(bytes.data(), bytes.size(), [](const char* at, size_t left) -> uint64_t {
    // Reads overlap, so that no length needs a loop.
    if (left >= 4) {
      return load_number<uint32_t>(at) | load_number<uint32_t>(at + left - 4) << 8 * (left - 4);
    }
    if (left == 0) return 0;
    const size_t middle = left / 2, last = left - 1;
    return load_number<uint8_t>(at) | load_number<uint8_t>(at + middle) << 8 * middle |
           load_number<uint8_t>(at + last) << 8 * last;
  });
}

/// The same hash, faster, of bytes that may be read 8 bytes beyond their end.
inline uint64_t stable_hash_padded(const char* bytes, size_t size) {
  const auto tail = [](const char* at, size_t left) {
    return load_number<uint64_t>(at) & ((uint64_t{1} << 8 * left) - 1);
  };
  if (size >= 16) return stable_hash(bytes, size, tail);
  // Words of a text have all lengths: no branch that would be guessed wrong.
  const uint64_t whole = uint64_t{0} - (size >> 3);  // all ones from 8 bytes on
  const uint64_t none = size * kStableOdd1;
  const uint64_t one = mix_bits(none ^ load_number<uint64_t>(bytes), kStableOdd2);
  const uint64_t hash = none ^ ((none ^ one) & whole);
  return mix_bits(hash ^ tail(bytes + (whole & 8), size & 7) ^ kStableOdd1, kStableOdd2);
}

}  // namespace anneal
