// The way from native threads to the thread of JavaScript: functions posted from anywhere run there, in
// order.
#pragma once

#include <napi.h>

#include <functional>
#include <memory>
#include <mutex>

namespace anneal::addon {

class Channel {
 public:
  using Function = std::function<void(Napi::Env)>;

  /// Created unreferenced: it does not keep the process alive.
  static std::shared_ptr<Channel> open(Napi::Env env, const char* name);
  Channel() = default;
  Channel(const Channel&) = delete;
  Channel& operator=(const Channel&) = delete;

  /// From any thread. Once the environment goes down, functions are dropped unrun.
  void post(Function function);
  /// On the JavaScript thread: whether the channel keeps the process alive.
  void keep_alive(Napi::Env env, bool alive);
  /// On the JavaScript thread: no function runs any more.
  void close();

 private:
  std::mutex mutex_;
  // null once closed, by us or by the end of the environment: Node frees the object then.
  napi_threadsafe_function function_ = nullptr;
};

}  // namespace anneal::addon
