// The `Cleaner` object of src/native/cleaning.ts.
#pragma once

#include <napi.h>

#include <memory>
#include <string>
#include <vector>

#include "addon/calls.h"
#include "data/cleaner.h"
#include "engine/task_thread.h"

namespace anneal::addon {

class CleanerObject : public Napi::ObjectWrap<CleanerObject> {
 public:
  static Napi::Function define(Napi::Env env);
  explicit CleanerObject(const Napi::CallbackInfo& info);

 private:
  Napi::Value rules(const Napi::CallbackInfo& info);
  Napi::Value languages(const Napi::CallbackInfo& info);
  Napi::Value run(const Napi::CallbackInfo& info);

  Calls calls_;
  std::vector<std::string> languages_;
  std::unique_ptr<Cleaner> cleaner_;
  TaskThread thread_;
};

}  // namespace anneal::addon
