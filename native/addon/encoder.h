// The `BpeEncoder` object of src/native/tokenizer.ts.
#pragma once

#include <napi.h>

#include <memory>

#include "addon/calls.h"
#include "engine/task_thread.h"
#include "tokenizer/bpe_encoder.h"

namespace anneal::addon {

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
