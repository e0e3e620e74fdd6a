// The order of the 256 bytes as units. GPT-2 writes every byte as a printable character: bytes that are
// printable in Latin-1 as themselves, the others as U+0100 and up; units are numbered by the code point of
// that character.
#pragma once

#include <array>
#include <cstdint>

namespace anneal {

/// Whether GPT-2's byte-level alphabet writes this byte as itself.
constexpr bool is_printable_byte(int byte) {
  return (byte >= '!' && byte <= '~') || (byte >= 0xA1 && byte <= 0xAC) || (byte >= 0xAE && byte <= 0xFF);
}

/// Unit of each byte value.
constexpr std::array<uint8_t, 256> make_byte_units() {
  std::array<uint8_t, 256> units{};
  uint8_t next = 0;
  for (const bool printable : {true, false}) {
    for (int byte = 0; byte < 256; ++byte) {
      if (is_printable_byte(byte) == printable) units[static_cast<size_t>(byte)] = next++;
    }
  }
  return units;
}

inline constexpr std::array<uint8_t, 256> kByteUnits = make_byte_units();

}  // namespace anneal
