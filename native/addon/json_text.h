// The `JsonTexts` object of src/native/json_texts.ts.
#pragma once

#include <napi.h>

#include <memory>

#include "data/json_text.h"

namespace anneal::addon {

class JsonTexts : public Napi::ObjectWrap<JsonTexts> {
 public:
  static Napi::Function define(Napi::Env env);
  explicit JsonTexts(const Napi::CallbackInfo& info);

 private:
  Napi::Value read(const Napi::CallbackInfo& info);

  std::unique_ptr<JsonTextReader> reader_;
};

}  // namespace anneal::addon
