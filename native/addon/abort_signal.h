// Listening to an AbortSignal from native code.
#pragma once

#include <napi.h>

#include <atomic>
#include <memory>

#include "addon/arguments.h"

namespace anneal::addon {

/// Sets a flag when the signal is aborted, or at once if it already is. Lives on the JavaScript thread.
class AbortListener {
 public:
  /// `signal` may be absent: then nothing ever sets the flag.
  AbortListener(const Argument& signal, std::shared_ptr<std::atomic<bool>> flag);
  /// Stops listening.
  void remove();

 private:
  Napi::ObjectReference signal_;
  Napi::FunctionReference listener_;
};

}  // namespace anneal::addon
