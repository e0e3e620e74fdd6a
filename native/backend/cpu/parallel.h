// How the CPU backend divides work over OpenMP threads.
//
// Results must not depend on scheduling: work is cut at places that depend on sizes and the thread count
// only, and what several threads sum is kept apart and added in a fixed order. Small work stays on the
// calling thread, because waking the others costs several microseconds.
#pragma once

#include <omp.h>

#include <algorithm>
#include <cstdint>

namespace anneal::cpu {

/// Number of parts to cut `count` items into, so that each part holds at least `min_per_part` of them.
inline int num_parts(int threads, int64_t count, int64_t min_per_part) {
  const int64_t most = count / std::max<int64_t>(1, min_per_part);
  return static_cast<int>(std::clamp<int64_t>(most, 1, threads));
}

/// Calls f(begin, end, part) for contiguous parts of [0, count), in parallel.
template <class F>
void parallel_ranges(int threads, int64_t count, int64_t min_per_part, const F& f) {
  const int parts = num_parts(threads, count, min_per_part);
  if (parts == 1) {
    f(int64_t{0}, count, 0);
    return;
  }
#pragma omp parallel for num_threads(parts) schedule(static, 1)
  for (int part = 0; part < parts; ++part) {
    f(count * part / parts, count * (part + 1) / parts, part);
  }
}

/// Calls f(task, worker) for each task of [0, count); whichever thread is free takes the next one. Tasks must
/// not share what they write, except scratch memory chosen by `worker` < threads.
template <class F>
void parallel_tasks(int threads, int64_t count, const F& f) {
  if (threads == 1 || count == 1) {
    for (int64_t task = 0; task < count; ++task) f(task, 0);
    return;
  }
#pragma omp parallel for num_threads(threads) schedule(dynamic, 1)
  for (int64_t task = 0; task < count; ++task) f(task, omp_get_thread_num());
}

}  // namespace anneal::cpu
