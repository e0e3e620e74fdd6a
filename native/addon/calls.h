// Asynchronous calls: each is a promise that a task on a native thread settles. The one way in which the
// addon returns promises.
#pragma once

#include <napi.h>

#include <exception>
#include <functional>
#include <memory>
#include <utility>

#include "addon/channel.h"
#include "engine/task_thread.h"
#include "model/errors.h"

namespace anneal::addon {

/// The error that JavaScript sees: `code` as native/model/errors.h says.
Napi::Error to_js_error(Napi::Env env, std::exception_ptr error);

/// Runs `body`; a native exception becomes a JavaScript one.
template <typename Body>
auto synchronous(Napi::Env env, const Body& body) {
  try {
    return body();
  } catch (const Napi::Error&) {
    throw;
  } catch (...) {
    throw to_js_error(env, std::current_exception());
  }
}

/// Runs `body`, which returns a promise; an exception (a bad argument) becomes a rejected one.
template <typename Body>
Napi::Value asynchronous(Napi::Env env, const Body& body) {
  const auto reject = [env](const Napi::Error& error) -> Napi::Value {
    const auto deferred = Napi::Promise::Deferred::New(env);
    deferred.Reject(error.Value());
    return deferred.Promise();
  };
  try {
    return body();
  } catch (const Napi::Error& error) {
    return reject(error);
  } catch (...) {
    return reject(to_js_error(env, std::current_exception()));
  }
}

class Calls;

/// One promise under way. Settle it once, from any thread.
class Call {
 public:
  using Convert = std::function<Napi::Value(Napi::Env)>;
  Call(Calls& calls, Napi::Env env) : calls_(calls), deferred_(Napi::Promise::Deferred::New(env)) {}

  [[nodiscard]] Napi::Promise promise() const { return deferred_.Promise(); }
  /// Runs on the JavaScript thread after the promise was settled. Set it before the call is handed to a
  /// thread.
  void set_cleanup(std::function<void(Napi::Env)> cleanup) { cleanup_ = std::move(cleanup); }
  /// `convert` runs on the JavaScript thread; a Napi::Error that it throws rejects the promise.
  void resolve(Convert convert);
  void reject(std::exception_ptr error);

 private:
  Calls& calls_;
  Napi::Promise::Deferred deferred_;
  std::function<void(Napi::Env)> cleanup_ = [](Napi::Env) {};
};

/// The calls of one object. While any is under way, object and process are kept alive.
class Calls {
 public:
  /// `keep` is called with true when the first call begins and with false when the last has ended.
  Calls(Napi::Env env, const char* name, std::function<void(bool)> keep)
      : channel_(Channel::open(env, name)), keep_(std::move(keep)) {}
  ~Calls() { channel_->close(); }
  Calls(const Calls&) = delete;
  Calls& operator=(const Calls&) = delete;

  std::shared_ptr<Call> begin(Napi::Env env);
  /// Runs `function` on the JavaScript thread while a call is under way.
  void post(Channel::Function function) { channel_->post(std::move(function)); }

  /// `work()` on the thread, then `convert(env, result)` on JavaScript's.
  template <typename Work, typename Convert>
  Napi::Value run(Napi::Env env, TaskThread& thread, Work work, Convert convert) {
    return run(begin(env), thread, std::move(work), std::move(convert));
  }

  /// The same for a call that was begun before.
  template <typename Work, typename Convert>
  Napi::Value run(const std::shared_ptr<Call>& call, TaskThread& thread, Work work, Convert convert) {
    thread.submit([call, work = std::move(work), convert = std::move(convert)](bool abandoned) mutable {
      try {
        if (abandoned) throw CodedError("closed", "the session was closed");
        auto result = std::make_shared<decltype(work())>(work());
        call->resolve([result, convert](Napi::Env to) { return convert(to, *result); });
      } catch (...) {
        call->reject(std::current_exception());
      }
    });
    return call->promise();
  }

  /// The same for work without a result.
  template <typename Work>
  Napi::Value run(Napi::Env env, TaskThread& thread, Work work) {
    return run(
        env, thread,
        [work = std::move(work)]() mutable {
          work();
          return true;
        },
        [](Napi::Env to, bool) { return to.Undefined(); });
  }

 private:
  friend class Call;
  void settle(std::function<void(Napi::Env)> function);

  std::shared_ptr<Channel> channel_;
  std::function<void(bool)> keep_;
  int under_way_ = 0;  // JavaScript thread only
};

}  // namespace anneal::addon
