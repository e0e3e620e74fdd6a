// SHA-1 (FIPS 180-4): only for hashes that others define by it. Not for anything that must be safe.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>

namespace anneal {

/// The first four bytes of the digest as a little-endian number, as datasketch's `sha1_hash32` gives them.
uint32_t sha1_hash32(std::string_view bytes);

}  // namespace anneal
