#include "engine/kv_pages.h"

#include <numeric>

namespace anneal {

PagePool::PagePool(int64_t pages)
    : holders_(static_cast<size_t>(pages), 0), free_(static_cast<size_t>(pages)) {
  std::iota(free_.rbegin(), free_.rend(), 0);
}

int32_t PagePool::take() {
  const int32_t page = free_.back();
  free_.pop_back();
  holders_[static_cast<size_t>(page)] = 1;
  return page;
}

void PagePool::release(int32_t page) {
  if (--holders_[static_cast<size_t>(page)] == 0) free_.push_back(page);
}

void PagePool::release(std::vector<int32_t>& pages) {
  for (const int32_t page : pages) release(page);
  pages.clear();
}

}  // namespace anneal
