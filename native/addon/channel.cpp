#include "addon/channel.h"

namespace anneal::addon {
namespace {

void run_posted(napi_env raw_env, napi_value, void*, void* data) {
  const std::unique_ptr<Channel::Function> function(static_cast<Channel::Function*>(data));
  if (raw_env == nullptr) return;  // the environment is going down
  const Napi::Env env(raw_env);
  const Napi::HandleScope scope(env);
  try {
    (*function)(env);
  } catch (const Napi::Error&) {
    // A thread that is being terminated runs no JavaScript any more, and nobody waits for the outcome.
  }
}

void check(napi_env env, napi_status status) {
  if (status != napi_ok) throw Napi::Error::New(env);
}

}  // namespace

std::shared_ptr<Channel> Channel::open(Napi::Env env, const char* name) {
  auto channel = std::make_shared<Channel>();
  auto keeper = std::make_unique<std::shared_ptr<Channel>>(channel);
  const auto finalize = [](napi_env, void* data, void*) {
    const std::unique_ptr<std::shared_ptr<Channel>> self(static_cast<std::shared_ptr<Channel>*>(data));
    const std::lock_guard lock((*self)->mutex_);
    (*self)->function_ = nullptr;
  };
  check(env,
        napi_create_threadsafe_function(env, nullptr, nullptr, Napi::String::New(env, name), 0, 1,
                                        keeper.get(), finalize, nullptr, run_posted, &channel->function_));
  keeper.release();  // finalize has it now
  channel->keep_alive(env, false);
  return channel;
}

void Channel::post(Function function) {
  auto data = std::make_unique<Function>(std::move(function));
  const std::lock_guard lock(mutex_);
  if (function_ == nullptr) return;
  if (napi_call_threadsafe_function(function_, data.get(), napi_tsfn_nonblocking) == napi_ok) {
    data.release();  // run_posted has it now
  } else {
    function_ = nullptr;
  }
}

void Channel::keep_alive(Napi::Env env, bool alive) {
  const std::lock_guard lock(mutex_);
  if (function_ == nullptr) return;
  check(env, alive ? napi_ref_threadsafe_function(env, function_)
                   : napi_unref_threadsafe_function(env, function_));
}

void Channel::close() {
  const std::lock_guard lock(mutex_);
  if (function_ != nullptr) napi_release_threadsafe_function(function_, napi_tsfn_abort);
  function_ = nullptr;
}

}  // namespace anneal::addon
