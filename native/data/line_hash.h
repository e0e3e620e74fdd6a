// The hash by which equal lines of different documents are known. It is stored in files of units, so it must
// not change: the same on every machine and in every version.
#pragma once

#include <cstdint>
#include <cstring>
#include <string_view>

namespace anneal {

/// Multiplications by an odd number, eight bytes at a time, folded; not for use against an adversary.
inline uint64_t stable_hash(std::string_view bytes) {
  constexpr uint64_t kOdd1 = 0x9E3779B97F4A7C15u;
  constexpr uint64_t kOdd2 = 0xC2B2AE3D27D4EB4Fu;
  const auto mix = [](uint64_t value) {
    __extension__ using Wide = unsigned __int128;
    const Wide product = static_cast<Wide>(value) * kOdd2;
    return static_cast<uint64_t>(product) ^ static_cast<uint64_t>(product >> 64);
  };
  const char* at = bytes.data();
  size_t left = bytes.size();
  uint64_t hash = left * kOdd1;
  for (; left >= 8; left -= 8, at += 8) {
    uint64_t block;
    std::memcpy(&block, at, 8);
    hash = mix(hash ^ block);
  }
  uint64_t tail = 0;
  if (left > 0) std::memcpy(&tail, at, left);
  return mix(hash ^ tail ^ kOdd1);
}

/// Of the line without ASCII white space at both ends.
inline uint64_t line_hash(std::string_view line) {
  constexpr std::string_view kSpace = " \t\r\n\v\f";
  const size_t begin = line.find_first_not_of(kSpace);
  if (begin == std::string_view::npos) return stable_hash({});
  return stable_hash(line.substr(begin, line.find_last_not_of(kSpace) + 1 - begin));
}

}  // namespace anneal
