// The pages of the key/value cache: who holds which, and which are free.
//
// Pages are counted by how many sequences hold them; a page that several hold is read only, and whoever
// writes to it takes a copy first. Which page is given next depends on the calls alone, so a run is the same
// each time.
#pragma once

#include <cstdint>
#include <vector>

#include "backend/backend.h"

namespace anneal {

/// Pages that hold `rows` rows.
constexpr int64_t pages_of(int64_t rows) { return (rows + kPageRows - 1) / kPageRows; }

class PagePool {
 public:
  explicit PagePool(int64_t pages);

  [[nodiscard]] int64_t free() const { return static_cast<int64_t>(free_.size()); }
  [[nodiscard]] bool shared(int32_t page) const { return holders_[static_cast<size_t>(page)] > 1; }
  /// A free page, held once. There must be one.
  int32_t take();
  void hold(int32_t page) { ++holders_[static_cast<size_t>(page)]; }
  void release(int32_t page);
  /// Releases all of them and empties the list.
  void release(std::vector<int32_t>& pages);

 private:
  std::vector<int32_t> holders_;
  std::vector<int32_t> free_;  // the next one last
};

}  // namespace anneal
