// The calls of src/native/dedup.ts that find duplicates and overlap with evaluation sets.
#pragma once

#include <napi.h>

#include <memory>

#include "addon/calls.h"
#include "data/contamination.h"
#include "data/repeated_parts.h"
#include "engine/task_thread.h"

namespace anneal::addon {

Napi::Value find_duplicates_call(const Napi::CallbackInfo& info, Calls& calls, TaskThread& thread);
Napi::Value find_repeated_parts_call(const Napi::CallbackInfo& info, Calls& calls, TaskThread& thread);

class PartHasherObject : public Napi::ObjectWrap<PartHasherObject> {
 public:
  static Napi::Function define(Napi::Env env);
  explicit PartHasherObject(const Napi::CallbackInfo& info);

 private:
  Napi::Value run(const Napi::CallbackInfo& info);

  Calls calls_;
  PartOptions options_{};
  TaskThread thread_;
};

class PartRemoverObject : public Napi::ObjectWrap<PartRemoverObject> {
 public:
  static Napi::Function define(Napi::Env env);
  explicit PartRemoverObject(const Napi::CallbackInfo& info);

 private:
  Napi::Value run(const Napi::CallbackInfo& info);

  Calls calls_;
  std::unique_ptr<PartRemover> remover_;
  TaskThread thread_;
};

class ContaminationObject : public Napi::ObjectWrap<ContaminationObject> {
 public:
  static Napi::Function define(Napi::Env env);
  explicit ContaminationObject(const Napi::CallbackInfo& info);

 private:
  Napi::Value add(const Napi::CallbackInfo& info);
  Napi::Value check(const Napi::CallbackInfo& info);
  Napi::Value tally(const Napi::CallbackInfo& info);
  Napi::Value overlap(const Napi::CallbackInfo& info);

  Calls calls_;
  int sets_ = 0;
  std::unique_ptr<Contamination> contamination_;
  TaskThread thread_;
};

}  // namespace anneal::addon
