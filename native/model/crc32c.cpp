#include "model/crc32c.h"

#include <array>
#include <cstring>
#include <vector>

#include "model/file.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace anneal {
namespace {

constexpr uint32_t kPolynomial = 0x82F63B78u;  // reflected

constexpr std::array<uint32_t, 256> make_table() {
  std::array<uint32_t, 256> table{};
  for (uint32_t i = 0; i < 256; ++i) {
    uint32_t value = i;
    for (int bit = 0; bit < 8; ++bit) value = (value >> 1) ^ ((value & 1u) != 0 ? kPolynomial : 0u);
    table[i] = value;
  }
  return table;
}

constexpr std::array<uint32_t, 256> kTable = make_table();

uint32_t update_by_table(uint32_t state, const unsigned char* data, size_t bytes) {
  for (size_t i = 0; i < bytes; ++i) state = (state >> 8) ^ kTable[(state ^ data[i]) & 0xFFu];
  return state;
}

#if defined(__x86_64__)
__attribute__((target("sse4.2"))) uint32_t update_by_instruction(uint32_t state, const unsigned char* data,
                                                                 size_t bytes) {
  uint64_t wide = state;
  for (; bytes >= 8; bytes -= 8, data += 8) {
    uint64_t word;
    std::memcpy(&word, data, sizeof(word));
    wide = _mm_crc32_u64(wide, word);
  }
  state = static_cast<uint32_t>(wide);
  for (; bytes > 0; --bytes, ++data) state = _mm_crc32_u8(state, *data);
  return state;
}
#endif

}  // namespace

uint32_t crc32c(uint32_t crc, const void* data, size_t bytes) {
  const auto* begin = static_cast<const unsigned char*>(data);
#if defined(__x86_64__)
  static const bool has_instruction = __builtin_cpu_supports("sse4.2") != 0;
  if (has_instruction) return ~update_by_instruction(~crc, begin, bytes);
#endif
  return ~update_by_table(~crc, begin, bytes);
}

uint32_t crc32c_file(const std::string& path) {
  const File file = File::open_for_reading(path);
  std::vector<unsigned char> buffer(size_t{1} << 20);
  const int64_t size = file.size();
  uint32_t crc = 0;
  for (int64_t offset = 0; offset < size;) {
    const size_t bytes = static_cast<size_t>(std::min<int64_t>(size - offset, std::ssize(buffer)));
    file.read(buffer.data(), bytes, offset);
    crc = crc32c(crc, buffer.data(), bytes);
    offset += static_cast<int64_t>(bytes);
  }
  return crc;
}

}  // namespace anneal
