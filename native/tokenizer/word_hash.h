// A fast hash of short byte strings, for tables in memory. What is stored is hashed by
// native/data/stable_hash.h.
#pragma once

#include <cstdint>
#include <cstring>
#include <string_view>

namespace anneal {

/// Multiplies 64 x 64 to 128 bits and folds the halves. Stored hashes are made of it: it must not change.
inline uint64_t mix_bits(uint64_t a, uint64_t b) {
  __extension__ using Wide = unsigned __int128;
  const Wide product = static_cast<Wide>(a) * b;
  return static_cast<uint64_t>(product) ^ static_cast<uint64_t>(product >> 64);
}

template <typename Number>
uint64_t load_number(const char* from) {
  Number number;
  std::memcpy(&number, from, sizeof number);
  return number;
}

/// Reads overlap at the end of a word, so that no length needs a loop over single bytes.
inline uint64_t hash_word(std::string_view word) {
  constexpr uint64_t kOdd1 = 0x9E3779B97F4A7C15u;
  constexpr uint64_t kOdd2 = 0xC2B2AE3D27D4EB4Fu;
  const char* p = word.data();
  const size_t size = word.size();
  uint64_t hash = size * kOdd1;
  uint64_t tail = 0;
  if (size >= 8) {
    for (size_t at = 0; at + 8 < size; at += 8) hash = mix_bits(hash ^ load_number<uint64_t>(p + at), kOdd2);
    tail = load_number<uint64_t>(p + size - 8);
  } else if (size >= 4) {
    tail = load_number<uint32_t>(p) << 32 | load_number<uint32_t>(p + size - 4);
  } else if (size > 0) {
    tail = load_number<uint8_t>(p) << 16 | load_number<uint8_t>(p + size / 2) << 8 |
           load_number<uint8_t>(p + size - 1);
  }
  return mix_bits(hash ^ tail ^ kOdd1, kOdd2);
}

inline uint64_t hash_pair(uint64_t pair) { return mix_bits(pair ^ 0x9E3779B97F4A7C15u, 0xC2B2AE3D27D4EB4Fu); }

/// Two non-negative 32-bit numbers as one key whose order is left first, then right.
inline uint64_t pair_key(int32_t left, int32_t right) {
  return static_cast<uint64_t>(static_cast<uint32_t>(left)) << 32 | static_cast<uint32_t>(right);
}

}  // namespace anneal
