#include "addon/fingerprinter.h"

#include <utility>

#include "addon/arguments.h"
#include "addon/text_batch.h"

namespace anneal::addon {
namespace {

std::optional<NearOptions> near_options(const Argument& near) {
  if (near.is_absent()) return std::nullopt;
  static constexpr const char* kUnits[] = {"word", "character"};
  static constexpr const char* kSchemes[] = {"multiplicative", "datasketch", "datasketch_legacy"};
  const auto count = [&](const char* key, int64_t most) {
    return static_cast<int>(near.property(key).integer(1, most));
  };
  return NearOptions{
      .unit = near.property("unit").choice(kUnits) == 0 ? ShingleUnit::kWord : ShingleUnit::kCharacter,
      .shingle = count("shingle", 1000),
      .bands = count("bands", 10'000),
      .rows = count("rows", 1000),
      .permutations = count("permutations", 1'000'000),
      .seed = static_cast<uint64_t>(near.property("seed").integer(0, kMaxSafeInteger)),
      .scheme = static_cast<MinHashScheme>(near.property("scheme").choice(kSchemes)),
      .signatures = !near.property("signatures").is_absent() && near.property("signatures").boolean(),
  };
}

}  // namespace

Napi::Function FingerprinterObject::define(Napi::Env env) {
  return DefineClass(env, "Fingerprinter", {InstanceMethod<&FingerprinterObject::run>("run")});
}

FingerprinterObject::FingerprinterObject(const Napi::CallbackInfo& info)
    : Napi::ObjectWrap<FingerprinterObject>(info),
      calls_(info.Env(), "anneal fingerprints", [this](bool keep) { keep ? Ref() : Unref(); }) {
  synchronous(info.Env(), [&] {
    const Argument options = argument(info, 0, "options");
    fingerprinter_ =
        std::make_unique<Fingerprinter>(near_options(options.property("near")),
                                        static_cast<int>(options.property("threads").integer(1, 1024)));
  });
}

Napi::Value FingerprinterObject::run(const Napi::CallbackInfo& info) {
  return asynchronous(info.Env(), [&] {
    return run_on_batch(
        info.Env(), calls_, thread_, argument(info, 0, "batch"),
        [this](const TextBatchView& batch) {
          return std::make_shared<Fingerprints>(fingerprinter_->run(batch));
        },
        [](Napi::Env to, const std::shared_ptr<Fingerprints>& prints) -> Napi::Value {
          auto object = Napi::Object::New(to);
          object.Set("exact", to_typed_array<Napi::BigUint64Array>(to, std::move(prints->exact)));
          object.Set("bands", to_typed_array<Napi::BigUint64Array>(to, std::move(prints->bands)));
          object.Set("signatures", to_typed_array<Napi::Uint32Array>(to, std::move(prints->signatures)));
          return object;
        });
  });
}

}  // namespace anneal::addon
