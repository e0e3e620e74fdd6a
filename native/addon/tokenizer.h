// The `BpeTrainer` object of src/native/tokenizer.ts.
#pragma once

#include <napi.h>

#include <memory>

#include "addon/calls.h"
#include "engine/task_thread.h"
#include "tokenizer/bpe_trainer.h"

namespace anneal::addon {

class Trainer : public Napi::ObjectWrap<Trainer> {
 public:
  static Napi::Function define(Napi::Env env);
  explicit Trainer(const Napi::CallbackInfo& info);

 private:
  Napi::Value feed(const Napi::CallbackInfo& info);
  Napi::Value totals(const Napi::CallbackInfo& info);
  Napi::Value alphabet(const Napi::CallbackInfo& info);
  Napi::Value train(const Napi::CallbackInfo& info);

  Calls calls_;
  std::unique_ptr<BpeTrainer> trainer_;
  TaskThread thread_;
};

}  // namespace anneal::addon
