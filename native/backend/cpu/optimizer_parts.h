// Sums over an array that have the same bits whatever the threads: the array is cut at places that depend on
// its length alone, and the sums of the parts are added in their order.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "backend/cpu/parallel.h"

namespace anneal::cpu {

/// Sum of f(begin, end) over the parts of [0, count). `partial` holds one number for each, and bounds their
/// count.
template <class F>
double sum_of_parts(int threads, std::vector<double>& partial, int64_t count, int64_t min_per_part,
                    const F& f) {
  const auto parts = std::min<int64_t>(static_cast<int64_t>(partial.size()), 1 + count / min_per_part);
  parallel_ranges(threads, parts, 1, [&](int64_t first, int64_t last, int) {
    for (int64_t part = first; part < last; ++part) {
      partial[static_cast<size_t>(part)] = f(count * part / parts, count * (part + 1) / parts);
    }
  });
  double total = 0.0;
  for (int64_t part = 0; part < parts; ++part) total += partial[static_cast<size_t>(part)];
  return total;
}

}  // namespace anneal::cpu
