// One bit for each byte of a text: what vectors find out about 16 to 64 bytes at once.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace anneal {

/// Bits beyond the text's end are 0, and a word of 64 beyond the last may be read.
class ByteBits {
 public:
  /// For a text of this many bytes. Words that begin beyond its last whole 64 are cleared, others are left.
  void resize(size_t bytes) {
    words_.resize(bytes / 64 + 2);
    words_[bytes / 64] = words_[bytes / 64 + 1] = 0;
  }
  void clear(size_t bytes) { words_.assign(bytes / 64 + 2, 0); }
  [[nodiscard]] bool at(size_t i) const { return (words_[i >> 6] >> (i & 63) & 1) != 0; }
  void set(size_t begin, size_t length) {
    for (size_t i = begin; i < begin + length; ++i) words_[i >> 6] |= uint64_t{1} << (i & 63);
  }
  /// Whether any bit of [begin, end) is set.
  [[nodiscard]] bool any(size_t begin, size_t end) const { return next(begin, end) < end; }
  /// The first set bit in [begin, end), or `end`.
  [[nodiscard]] size_t next(size_t begin, size_t end) const {
    if (begin >= end) return end;
    size_t word = begin >> 6;
    uint64_t bits = words_[word] & ~uint64_t{0} << (begin & 63);
    while (bits == 0) {
      if (++word << 6 >= end) return end;
      bits = words_[word];
    }
    const size_t found = (word << 6) + static_cast<size_t>(__builtin_ctzll(bits));
    return found < end ? found : end;
  }
  [[nodiscard]] uint64_t* data() { return words_.data(); }
  [[nodiscard]] const uint64_t* data() const { return words_.data(); }

 private:
  std::vector<uint64_t> words_;
};

}  // namespace anneal
