#include "addon/json_text.h"

#include "addon/arguments.h"
#include "addon/calls.h"

namespace anneal::addon {

Napi::Function JsonTexts::define(Napi::Env env) {
  return DefineClass(env, "JsonTexts", {InstanceMethod<&JsonTexts::read>("read")});
}

JsonTexts::JsonTexts(const Napi::CallbackInfo& info) : Napi::ObjectWrap<JsonTexts>(info) {
  synchronous(info.Env(), [&] {
    const Argument options = argument(info, 0, "options");
    reader_ = std::make_unique<JsonTextReader>(options.property("field").string(),
                                               options.property("others").strings());
  });
}

Napi::Value JsonTexts::read(const Napi::CallbackInfo& info) {
  return synchronous(info.Env(), [&] {
    const auto row = argument(info, 0, "row").view<Napi::Uint8Array>(napi_uint8_array, "a Uint8Array");
    // Memory of the caller, to be written to.
    const Argument out = argument(info, 1, "out");
    const size_t room = out.view<Napi::Uint8Array>(napi_uint8_array, "a Uint8Array").size();
    const auto at = static_cast<size_t>(argument(info, 2, "at").integer(0, kMaxSafeInteger));
    if (at > room || room - at < row.size()) {
      throw std::invalid_argument("out: less room from `at` on than the row is long");
    }
    auto* to = reinterpret_cast<char*>(out.value.As<Napi::Uint8Array>().Data()) + at;
    const auto length = reader_->read({reinterpret_cast<const char*>(row.data()), row.size()}, to);
    return Napi::Number::New(info.Env(), length ? static_cast<double>(*length) : -1);
  });
}

}  // namespace anneal::addon
