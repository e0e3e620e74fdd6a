#include "addon/encoder.h"

#include <span>
#include <string_view>
#include <utility>

#include "addon/arguments.h"
#include "addon/bpe_model.h"
#include "addon/split_pattern.h"
#include "addon/text_batch.h"

namespace anneal::addon {
namespace {

std::vector<AddedToken> added_tokens(const Argument& array) {
  std::vector<AddedToken> tokens;
  for (const Argument& element : array.elements()) {
    AddedToken& token = tokens.emplace_back();
    token.text = element.property("content").string();
    token.id = static_cast<int32_t>(element.property("id").integer(0, INT32_MAX));
    if (token.text.empty()) throw std::invalid_argument(element.name + ".content is empty");
    token.single_word = element.property("singleWord").boolean();
    token.lstrip = element.property("lstrip").boolean();
    token.rstrip = element.property("rstrip").boolean();
    token.normalized = element.property("normalized").boolean();
    token.special = element.property("special").boolean();
  }
  return tokens;
}

BpeEncoderOptions encoder_options(const Argument& options) {
  static constexpr const char* kRules[] = {"never", "first", "always"};
  BpeEncoderOptions read;
  read.pattern = split_pattern(options);
  read.model = model_parts(options.property("model"));
  read.added = added_tokens(options.property("added"));
  const Argument text = options.property("text");
  read.nfc = text.property("nfc").boolean();
  read.prepend = text.property("prepend").string();
  read.space = text.property("space").string();
  read.late_space = text.property("lateSpace").string();
  read.prefix = text.property("prefix").string();
  read.prefix_rule = static_cast<PrefixRule>(text.property("prefixRule").choice(kRules));
  read.threads = static_cast<int>(options.property("threads").integer(1, 1024));
  return read;
}

}  // namespace

Napi::Function Encoder::define(Napi::Env env) {
  return DefineClass(
      env, "BpeEncoder",
      {InstanceMethod<&Encoder::encode>("encode"), InstanceMethod<&Encoder::encode_batch>("encodeBatch")});
}

Encoder::Encoder(const Napi::CallbackInfo& info)
    : Napi::ObjectWrap<Encoder>(info),
      calls_(info.Env(), "anneal tokenizer", [this](bool keep) { keep ? Ref() : Unref(); }) {
  synchronous(info.Env(), [&] {
    encoder_ = std::make_unique<BpeEncoder>(encoder_options(argument(info, 0, "options")));
  });
}

Napi::Value Encoder::encode(const Napi::CallbackInfo& info) {
  return synchronous(info.Env(), [&] {
    const std::span<const uint8_t> text =
        argument(info, 0, "text").view<Napi::Uint8Array>(napi_uint8_array, "a Uint8Array");
    const bool with_specials = argument(info, 1, "withSpecials").boolean();
    return to_typed_array<Napi::Int32Array>(
        info.Env(),
        encoder_->encode({reinterpret_cast<const char*>(text.data()), text.size()}, with_specials));
  });
}

Napi::Value Encoder::encode_batch(const Napi::CallbackInfo& info) {
  return asynchronous(info.Env(), [&] {
    const bool with_specials = argument(info, 1, "withSpecials").boolean();
    return run_on_batch(
        info.Env(), calls_, thread_, argument(info, 0, "documents"),
        [this, with_specials](const TextBatchView& documents) {
          return encoder_->encode_batch(documents, with_specials);
        },
        [](Napi::Env to, EncodedBatch& batch) -> Napi::Value {
          auto object = Napi::Object::New(to);
          object.Set("ids", to_typed_array<Napi::Int32Array>(to, std::move(batch.ids)));
          object.Set("ends", to_typed_array<Napi::Float64Array>(to, std::move(batch.ends)));
          return object;
        });
  });
}

}  // namespace anneal::addon
