// A thread that runs tasks one after another, in the order of their submission.
#pragma once

#include <atomic>
#include <condition_variable>
#include <deque>
#include <functional>
#include <mutex>
#include <thread>

namespace anneal {

class TaskThread {
 public:
  /// A task is told whether it was abandoned: it then must not work, only tell whoever waits for it.
  using Task = std::function<void(bool abandoned)>;

  TaskThread();
  /// Closes and waits for the running task.
  ~TaskThread();
  TaskThread(const TaskThread&) = delete;
  TaskThread& operator=(const TaskThread&) = delete;

  /// After close, the task is abandoned at once, on the calling thread.
  void submit(Task task);
  /// Sets `closing`, abandons what waits, and has `after` run on the thread once the running task has ended.
  /// Returns at once. Further calls do nothing but run their `after`.
  void close(std::function<void()> after);
  /// For tasks to look at: they should end early.
  [[nodiscard]] const std::atomic<bool>& closing() const { return closing_; }

 private:
  void run();

  std::atomic<bool> closing_{false};
  std::mutex mutex_;
  std::condition_variable wake_;
  std::deque<Task> tasks_;
  bool ended_ = false;  // the thread takes nothing more
  std::thread thread_;  // last: starts when the rest is there
};

}  // namespace anneal
