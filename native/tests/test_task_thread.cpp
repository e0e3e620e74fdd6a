// The thread that runs the engine's tasks.
#include <doctest/doctest.h>

#include <atomic>
#include <thread>
#include <vector>

#include "engine/task_thread.h"

namespace anneal::test {

TEST_CASE("task thread: tasks run in order; closing abandons the rest and tells everyone") {
  std::vector<int> ran;
  std::vector<int> abandoned;
  std::atomic<bool> started{false};
  std::atomic<bool> closed{false};
  {
    TaskThread thread;
    for (int i = 0; i < 3; ++i) thread.submit([&ran, i](bool) { ran.push_back(i); });
    thread.submit([&](bool) {
      started = true;
      while (!thread.closing()) std::this_thread::yield();
    });
    for (int i = 3; i < 6; ++i) {
      thread.submit(
          [&ran, &abandoned, i](bool is_abandoned) { (is_abandoned ? abandoned : ran).push_back(i); });
    }
    while (!started) std::this_thread::yield();
    thread.close([&] { closed = true; });
  }
  CHECK(ran == std::vector<int>{0, 1, 2});
  CHECK(abandoned == std::vector<int>{3, 4, 5});
  CHECK(closed);
}

}  // namespace anneal::test
