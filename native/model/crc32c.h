// CRC-32C (Castagnoli), the checksum of every file that the engine writes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

namespace anneal {

/// Continues `crc` (0 at the start) over `bytes` bytes: crc32c(crc32c(0, a), b) is the checksum of a then b.
uint32_t crc32c(uint32_t crc, const void* data, size_t bytes);

/// Checksum of a whole file; throws std::system_error.
uint32_t crc32c_file(const std::string& path);

}  // namespace anneal
