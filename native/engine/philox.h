// Counter-based random numbers: Philox4x32-10 (Salmon et al. 2011). A number depends on key and counter only,
// so results do not depend on threads or on the order of the work.
#pragma once

#include <array>
#include <cstdint>

namespace anneal {

using PhiloxBlock = std::array<uint32_t, 4>;

/// Four independent 32-bit numbers for (key, counter).
constexpr PhiloxBlock philox(uint64_t key, PhiloxBlock counter) {
  uint32_t key0 = static_cast<uint32_t>(key);
  uint32_t key1 = static_cast<uint32_t>(key >> 32);
  for (int round = 0; round < 10; ++round) {
    const uint64_t product0 = uint64_t{0xD2511F53u} * counter[0];
    const uint64_t product1 = uint64_t{0xCD9E8D57u} * counter[2];
    counter = {static_cast<uint32_t>(product1 >> 32) ^ counter[1] ^ key0, static_cast<uint32_t>(product1),
               static_cast<uint32_t>(product0 >> 32) ^ counter[3] ^ key1, static_cast<uint32_t>(product0)};
    key0 += 0x9E3779B9u;
    key1 += 0xBB67AE85u;
  }
  return counter;
}

/// Uniform in [0, 1) with 53 bits, from two of a block's numbers.
constexpr double uniform(uint32_t high, uint32_t low) {
  return static_cast<double>((uint64_t{high} << 21) ^ (low >> 11)) * 0x1p-53;
}

}  // namespace anneal
