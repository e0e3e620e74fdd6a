// An array whose size is fixed, on the system's large pages where it has them: tables that are read all over
// would else wait for the translation of addresses.
#pragma once

#include <sys/mman.h>

#include <algorithm>
#include <cstddef>
#include <cstdlib>
#include <memory>
#include <new>
#include <type_traits>

namespace anneal {

template <typename T>
class HugeArray {
 public:
  HugeArray(size_t size, const T& value) : size_(size) {
    static_assert(std::is_trivially_copyable_v<T> && std::is_trivially_destructible_v<T>);
    constexpr size_t kPage = size_t{1} << 21;
    const size_t bytes = (size * sizeof(T) + kPage - 1) / kPage * kPage;
    memory_.reset(static_cast<T*>(std::aligned_alloc(kPage, bytes)));
    if (memory_ == nullptr) throw std::bad_alloc();
    (void)madvise(memory_.get(), bytes, MADV_HUGEPAGE);
    std::uninitialized_fill_n(memory_.get(), size, value);
  }

  [[nodiscard]] size_t size() const { return size_; }
  T& operator[](size_t i) { return memory_.get()[i]; }
  const T& operator[](size_t i) const { return memory_.get()[i]; }

 private:
  struct Free {
    void operator()(T* memory) const { std::free(memory); }
  };
  std::unique_ptr<T, Free> memory_;
  size_t size_;
};

}  // namespace anneal
