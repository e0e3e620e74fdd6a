// The `BpeTrainer` and `BpeEncoder` objects of src/native/addon.ts.
#pragma once

#include <napi.h>

#include <memory>

#include "addon/calls.h"
#include "engine/task_thread.h"
#include "tokenizer/bpe_encoder.h"
#include "tokenizer/bpe_trainer.h"

namespace anneal::addon {

class Trainer : public Napi::ObjectWrap<Trainer> {
 public:
  static Napi::Function define(Napi::Env env);
  explicit Trainer(const Napi::CallbackInfo& info);

 private:
  Napi::Value feed(const Napi::CallbackInfo& info);
  Napi::Value totals(const Napi::CallbackInfo& info);
  Napi::Value train(const Napi::CallbackInfo& info);

  Calls calls_;
  std::unique_ptr<BpeTrainer> trainer_;
  TaskThread thread_;
};

class Encoder : public Napi::ObjectWrap<Encoder> {
 public:
  static Napi::Function define(Napi::Env env);
  explicit Encoder(const Napi::CallbackInfo& info);

 private:
  Napi::Value encode(const Napi::CallbackInfo& info);
  Napi::Value encode_batch(const Napi::CallbackInfo& info);

  Calls calls_;
  std::unique_ptr<BpeEncoder> encoder_;
  TaskThread thread_;
};

}  // namespace anneal::addon
