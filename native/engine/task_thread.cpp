#include "engine/task_thread.h"

#include <utility>

namespace anneal {

TaskThread::TaskThread() : thread_([this] { run(); }) {}

TaskThread::~TaskThread() {
  close([] {});
  thread_.join();
}

void TaskThread::submit(Task task) {
  {
    const std::lock_guard lock(mutex_);
    if (!closing_) {
      tasks_.push_back(std::move(task));
      wake_.notify_one();
      return;
    }
  }
  task(true);
}

void TaskThread::close(std::function<void()> after) {
  {
    const std::lock_guard lock(mutex_);
    closing_ = true;
    if (!ended_) {
      tasks_.push_back([after = std::move(after)](bool) { after(); });
      wake_.notify_one();
      return;
    }
  }
  after();
}

void TaskThread::run() {
  std::unique_lock lock(mutex_);
  while (true) {
    wake_.wait(lock, [this] { return closing_ || !tasks_.empty(); });
    if (tasks_.empty()) break;  // closing, and everyone has been told
    Task task = std::move(tasks_.front());
    tasks_.pop_front();
    lock.unlock();
    task(closing_);
    task = nullptr;  // its captures go on this thread, outside the lock
    lock.lock();
  }
  ended_ = true;
}

}  // namespace anneal
