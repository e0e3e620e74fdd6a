#include "addon/tokenizer.h"

#include "addon/abort_signal.h"
#include "addon/arguments.h"
#include "addon/bpe_model.h"
#include "addon/split_pattern.h"
#include "addon/text_batch.h"

namespace anneal::addon {
namespace {

int threads(const Argument& options) {
  return static_cast<int>(options.property("threads").integer(1, 1024));
}

}  // namespace

Napi::Function Trainer::define(Napi::Env env) {
  return DefineClass(
      env, "BpeTrainer",
      {InstanceMethod<&Trainer::feed>("feed"), InstanceMethod<&Trainer::totals>("totals"),
       InstanceMethod<&Trainer::alphabet>("alphabet"), InstanceMethod<&Trainer::train>("train")});
}

Trainer::Trainer(const Napi::CallbackInfo& info)
    : Napi::ObjectWrap<Trainer>(info),
      calls_(info.Env(), "anneal tokenizer training", [this](bool keep) { keep ? Ref() : Unref(); }) {
  synchronous(info.Env(), [&] {
    const Argument options = argument(info, 0, "options");
    TrainerOptions settings;
    settings.pattern = split_pattern(options);
    settings.threads = threads(options);
    if (const Argument most = options.property("maxWords"); !most.is_absent()) {
      settings.max_words = static_cast<uint64_t>(most.integer(1, kMaxSafeInteger));
    }
    if (const Argument nfc = options.property("nfc"); !nfc.is_absent()) settings.nfc = nfc.boolean();
    if (const Argument space = options.property("space"); !space.is_absent()) settings.space = space.string();
    if (const Argument prefix = options.property("prefix"); !prefix.is_absent())
      settings.prefix = prefix.string();
    trainer_ = std::make_unique<BpeTrainer>(settings);
  });
}

Napi::Value Trainer::feed(const Napi::CallbackInfo& info) {
  return asynchronous(info.Env(), [&] {
    const auto documents = std::make_shared<TextBatch>(to_text_batch(argument(info, 0, "documents")));
    return calls_.run(info.Env(), thread_, [this, documents] { trainer_->feed(*documents); });
  });
}

Napi::Value Trainer::totals(const Napi::CallbackInfo& info) {
  return asynchronous(info.Env(), [&] {
    return calls_.run(
        info.Env(), thread_, [this] { return trainer_->totals(); },
        [](Napi::Env to, const WordTotals& totals) -> Napi::Value {
          auto object = Napi::Object::New(to);
          object.Set("distinct", static_cast<double>(totals.distinct));
          object.Set("prunings", static_cast<double>(totals.prunings));
          object.Set("droppedBelow", static_cast<double>(totals.dropped_below));
          return object;
        });
  });
}

Napi::Value Trainer::alphabet(const Napi::CallbackInfo& info) {
  return asynchronous(info.Env(), [&] {
    const Argument options = argument(info, 0, "options");
    AlphabetOptions wanted;
    wanted.coverage = options.property("coverage").number();
    if (const Argument limit = options.property("limit"); !limit.is_absent()) {
      wanted.limit = static_cast<size_t>(limit.integer(1, 1 << 30));
    }
    return calls_.run(
        info.Env(), thread_, [this, wanted] { return trainer_->alphabet(wanted); },
        [](Napi::Env to, const std::vector<uint32_t>& points) {
          return to_int32_array(to, std::vector<int32_t>(points.begin(), points.end()));
        });
  });
}

Napi::Value Trainer::train(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  return asynchronous(env, [&] {
    const Argument options = argument(info, 0, "options");
    const int64_t merges = options.property("merges").integer(0, int64_t{1} << 30);
    const int64_t min_frequency = options.property("minFrequency").integer(0, kMaxSafeInteger);
    const Argument least = options.property("minWordCount");
    const auto min_word_count =
        static_cast<uint64_t>(least.is_absent() ? 1 : least.integer(1, kMaxSafeInteger));
    std::shared_ptr<BaseVocabulary> base;
    if (const Argument from = options.property("base"); !from.is_absent()) {
      base = std::make_shared<BaseVocabulary>();
      base->model = model_parts(from.property("model"));
      base->first_result = static_cast<int32_t>(from.property("firstResult").integer(256, 1 << 30));
    }
    std::shared_ptr<std::vector<uint32_t>> alphabet;
    if (const Argument from = options.property("alphabet"); !from.is_absent()) {
      const std::vector<int32_t> points = from.int32s();
      alphabet = std::make_shared<std::vector<uint32_t>>(points.begin(), points.end());
    }
    TextBatch taken;
    if (const Argument from = options.property("taken"); !from.is_absent()) taken = to_text_batch(from);
    const auto cancelled = std::make_shared<std::atomic<bool>>(false);
    const auto abort = std::make_shared<AbortListener>(options.property("signal"), cancelled);
    const auto call = calls_.begin(env);
    call->set_cleanup([abort](Napi::Env) { abort->remove(); });
    return calls_.run(
        call, thread_,
        [this, merges, min_frequency, min_word_count, taken, base, alphabet, cancelled] {
          std::vector<int32_t> result = trainer_->train(
              {merges, min_frequency, min_word_count, taken, base.get(), alphabet.get()}, *cancelled);
          if (*cancelled) throw CodedError("cancelled", "the training of the tokenizer was cancelled");
          return result;
        },
        [](Napi::Env to, const std::vector<int32_t>& result) { return to_int32_array(to, result); });
  });
}

}  // namespace anneal::addon
