// A bump allocator over one block of device memory. With no block it only measures: the same code that lays
// the buffers of a session out tells beforehand how many bytes they need.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

namespace anneal {

class Arena {
 public:
  /// `base` null: measure. The pointers of a measuring arena must not be read from or written to.
  explicit Arena(void* base = nullptr) : base_(reinterpret_cast<uintptr_t>(base)) {}

  /// `count` uninitialised values, aligned to 64 bytes.
  template <typename T = float>
  T* take(int64_t count) {
    const uintptr_t address = base_ + used_;
    used_ += (static_cast<size_t>(count) * sizeof(T) + kAlignment - 1) / kAlignment * kAlignment;
    peak_ = std::max(peak_, used_);
    return reinterpret_cast<T*>(address);
  }
  /// What is taken after `rewind(mark())` overlaps what was taken since: for buffers that are never alive
  /// together.
  [[nodiscard]] size_t mark() const { return used_; }
  void rewind(size_t mark) { used_ = mark; }
  /// Bytes needed in all.
  [[nodiscard]] size_t peak() const { return peak_; }

 private:
  static constexpr size_t kAlignment = 64;
  uintptr_t base_;
  size_t used_ = 0;
  size_t peak_ = 0;
};

}  // namespace anneal
