// Plain threads for work that is cut into numbered parts.
#pragma once

#include <atomic>
#include <cstddef>
#include <exception>
#include <mutex>
#include <thread>
#include <vector>

namespace anneal {

/// Calls work(thread, part) for each part in [0, parts), on up to `threads` threads (the caller is thread 0);
/// parts go to whichever thread is free. Returns when all are done; the first exception is thrown on.
template <typename Work>
void for_each_part(int threads, size_t parts, const Work& work) {
  std::atomic<size_t> next{0};
  std::exception_ptr failure;
  std::mutex failure_mutex;
  const auto run = [&](int thread) {
    try {
      for (size_t part = next++; part < parts; part = next++) work(thread, part);
    } catch (...) {
      const std::lock_guard lock(failure_mutex);
      if (!failure) failure = std::current_exception();
      next = parts;
    }
  };
  {
    std::vector<std::jthread> others;
    for (int thread = 1; thread < threads && static_cast<size_t>(thread) < parts; ++thread) {
      others.emplace_back(run, thread);
    }
    run(0);
  }
  if (failure) std::rethrow_exception(failure);
}

}  // namespace anneal
