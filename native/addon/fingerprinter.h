// The `Fingerprinter` object of src/native/dedup.ts.
#pragma once

#include <napi.h>

#include <memory>

#include "addon/calls.h"
#include "data/fingerprint.h"
#include "engine/task_thread.h"

namespace anneal::addon {

class FingerprinterObject : public Napi::ObjectWrap<FingerprinterObject> {
 public:
  static Napi::Function define(Napi::Env env);
  explicit FingerprinterObject(const Napi::CallbackInfo& info);

 private:
  Napi::Value run(const Napi::CallbackInfo& info);

  Calls calls_;
  std::unique_ptr<Fingerprinter> fingerprinter_;
  TaskThread thread_;
};

}  // namespace anneal::addon
