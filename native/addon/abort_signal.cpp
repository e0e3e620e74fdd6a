#include "addon/abort_signal.h"

#include <stdexcept>

namespace anneal::addon {

AbortListener::AbortListener(const Argument& signal, std::shared_ptr<std::atomic<bool>> flag) {
  if (signal.is_absent()) return;
  const Argument add = signal.property("addEventListener");
  if (!add.value.IsFunction()) throw std::invalid_argument(signal.name + " must be an AbortSignal");
  const Napi::Env env = signal.value.Env();
  const auto object = signal.value.As<Napi::Object>();
  if (object.Get("aborted").ToBoolean()) *flag = true;
  const auto listener = Napi::Function::New(env, [flag](const Napi::CallbackInfo&) { *flag = true; });
  add.value.As<Napi::Function>().Call(object, {Napi::String::New(env, "abort"), listener});
  signal_ = Napi::Persistent(object);
  listener_ = Napi::Persistent(listener);
}

void AbortListener::remove() {
  if (signal_.IsEmpty()) return;
  const Napi::Env env = signal_.Env();
  const Napi::Object signal = signal_.Value();
  signal.Get("removeEventListener")
      .As<Napi::Function>()
      .Call(signal, {Napi::String::New(env, "abort"), listener_.Value()});
}

}  // namespace anneal::addon
