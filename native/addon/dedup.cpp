#include "addon/dedup.h"

#include <malloc.h>

#include <string>
#include <utility>

#include "addon/arguments.h"
#include "addon/text_batch.h"
#include "data/duplicates.h"

namespace anneal::addon {
namespace {

std::string optional_string(const Argument& argument) {
  return argument.is_absent() ? std::string() : argument.string();
}

/// What batches have left free in the heaps of threads goes back to the machine before sorting takes its
/// memory.
void trim_heaps() { malloc_trim(0); }

uint64_t count(const Argument& argument, int64_t most = kMaxSafeInteger) {
  return static_cast<uint64_t>(argument.integer(0, most));
}

int threads_of(const Argument& options) {
  return static_cast<int>(options.property("threads").integer(1, 1024));
}

double share(const Argument& argument) {
  const double value = argument.number();
  if (!(value >= 0 && value <= 1)) throw std::invalid_argument(argument.name + " must be from 0 to 1");
  return value;
}

PartOptions part_options(const Argument& options) {
  static constexpr const char* kParts[] = {"line", "paragraph"};
  return {.part = options.property("part").choice(kParts) == 0 ? TextPart::kLine : TextPart::kParagraph,
          .min_characters = static_cast<size_t>(count(options.property("minCharacters"))),
          .threads = threads_of(options)};
}

template <typename Array, typename Element>
void set(Napi::Env env, Napi::Object& object, const char* key, std::vector<Element>& values) {
  object.Set(key, to_typed_array<Array>(env, std::move(values)));
}

Napi::Number number(Napi::Env env, uint64_t value) {
  return Napi::Number::New(env, static_cast<double>(value));
}

std::vector<uint32_t> uint32s(const Argument& argument) {
  const auto view = argument.view<Napi::Uint32Array>(napi_uint32_array, "a Uint32Array");
  return {view.begin(), view.end()};
}

}  // namespace

Napi::Value find_duplicates_call(const Napi::CallbackInfo& info, Calls& calls, TaskThread& thread) {
  return asynchronous(info.Env(), [&] {
    const Argument from = argument(info, 0, "options");
    DuplicateOptions options{.memory = static_cast<size_t>(count(from.property("memoryBytes"))),
                             .folder = from.property("dir").string(),
                             .threads = threads_of(from)};
    if (const Argument near = from.property("near"); !near.is_absent()) {
      options.bands = static_cast<int>(near.property("bands").integer(1, 10'000));
      if (const Argument verify = near.property("verify"); !verify.is_absent()) {
        options.verify = share(verify.property("similarity"));
        options.permutations = static_cast<int>(verify.property("permutations").integer(1, 1'000'000));
      }
    }
    std::vector<FingerprintFiles> files;
    for (const Argument& each : from.property("files").elements()) {
      files.push_back({.exact = each.property("exact").string(),
                       .bands = optional_string(each.property("bands")),
                       .signatures = optional_string(each.property("signatures")),
                       .documents = count(each.property("documents")),
                       .group = count(each.property("group"))});
    }
    return calls.run(
        info.Env(), thread,
        [files = std::move(files), options] {
          trim_heaps();
          return std::make_shared<Duplicates>(find_duplicates(files, options));
        },
        [](Napi::Env env, const std::shared_ptr<Duplicates>& found) -> Napi::Value {
          auto object = Napi::Object::New(env);
          set<Napi::Float64Array>(env, object, "dropped", found->dropped);
          set<Napi::Uint8Array>(env, object, "exact", found->exact);
          set<Napi::Float64Array>(env, object, "kept", found->kept);
          object.Set("clusters", number(env, found->clusters));
          object.Set("largest", number(env, found->largest));
          object.Set("candidates", number(env, found->candidates));
          object.Set("refused", number(env, found->refused));
          object.Set("spilledBytes", number(env, static_cast<uint64_t>(found->spilled_bytes)));
          return object;
        });
  });
}

Napi::Value find_repeated_parts_call(const Napi::CallbackInfo& info, Calls& calls, TaskThread& thread) {
  return asynchronous(info.Env(), [&] {
    const Argument from = argument(info, 0, "options");
    std::vector<PartFiles> files;
    for (const Argument& each : from.property("files").elements()) {
      files.push_back({.hashes = each.property("hashes").string(),
                       .counts = each.property("counts").string(),
                       .documents = count(each.property("documents"))});
    }
    const auto least = static_cast<uint64_t>(from.property("minDocuments").integer(1, kMaxSafeInteger));
    const auto memory = static_cast<size_t>(count(from.property("memoryBytes")));
    const std::string folder = from.property("dir").string();
    const int threads = threads_of(from);
    return calls.run(
        info.Env(), thread,
        [files = std::move(files), least, memory, folder, threads] {
          trim_heaps();
          return std::make_shared<RepeatedParts>(find_repeated_parts(files, least, memory, folder, threads));
        },
        [](Napi::Env env, const std::shared_ptr<RepeatedParts>& found) -> Napi::Value {
          auto object = Napi::Object::New(env);
          std::vector<uint64_t> hashes, first;
          for (const RepeatedPart& part : found->parts) {
            hashes.push_back(part.hash);
            first.push_back(part.first);
          }
          set<Napi::BigUint64Array>(env, object, "hashes", hashes);
          set<Napi::BigUint64Array>(env, object, "first", first);
          object.Set("distinct", number(env, found->distinct));
          object.Set("spilledBytes", number(env, static_cast<uint64_t>(found->spilled_bytes)));
          return object;
        });
  });
}

Napi::Function PartHasherObject::define(Napi::Env env) {
  return DefineClass(env, "PartHasher", {InstanceMethod<&PartHasherObject::run>("run")});
}

PartHasherObject::PartHasherObject(const Napi::CallbackInfo& info)
    : Napi::ObjectWrap<PartHasherObject>(info),
      calls_(info.Env(), "anneal part hashes", [this](bool keep) { keep ? Ref() : Unref(); }) {
  synchronous(info.Env(), [&] { options_ = part_options(argument(info, 0, "options")); });
}

Napi::Value PartHasherObject::run(const Napi::CallbackInfo& info) {
  return asynchronous(info.Env(), [&] {
    return run_on_batch(
        info.Env(), calls_, thread_, argument(info, 0, "batch"),
        [options = options_](const TextBatchView& batch) {
          return std::make_shared<PartHashes>(hash_parts(batch, options));
        },
        [](Napi::Env env, const std::shared_ptr<PartHashes>& parts) -> Napi::Value {
          auto object = Napi::Object::New(env);
          set<Napi::BigUint64Array>(env, object, "hashes", parts->hashes);
          set<Napi::Uint32Array>(env, object, "counts", parts->counts);
          return object;
        });
  });
}

Napi::Function PartRemoverObject::define(Napi::Env env) {
  return DefineClass(env, "PartRemover", {InstanceMethod<&PartRemoverObject::run>("run")});
}

PartRemoverObject::PartRemoverObject(const Napi::CallbackInfo& info)
    : Napi::ObjectWrap<PartRemoverObject>(info),
      calls_(info.Env(), "anneal part remover", [this](bool keep) { keep ? Ref() : Unref(); }) {
  synchronous(info.Env(), [&] {
    const Argument options = argument(info, 0, "options");
    const auto numbers = [&](const char* key) {
      return options.property(key).view<Napi::BigUint64Array>(napi_biguint64_array, "a BigUint64Array");
    };
    const auto hashes = numbers("hashes"), first = numbers("first");
    if (hashes.size() != first.size()) throw std::invalid_argument("options.first must be as long as hashes");
    std::vector<RepeatedPart> parts;
    parts.reserve(hashes.size());
    for (size_t i = 0; i < hashes.size(); ++i) parts.push_back({hashes[i], first[i]});
    remover_ = std::make_unique<PartRemover>(std::move(parts), part_options(options));
  });
}

Napi::Value PartRemoverObject::run(const Napi::CallbackInfo& info) {
  return asynchronous(info.Env(), [&] {
    const uint64_t first = count(argument(info, 1, "firstDocument"));
    return run_on_batch(
        info.Env(), calls_, thread_, argument(info, 0, "batch"),
        [this, first](const TextBatchView& batch) {
          return std::make_shared<WithoutParts>(remover_->run(batch, first));
        },
        [](Napi::Env env, const std::shared_ptr<WithoutParts>& result) -> Napi::Value {
          auto object = Napi::Object::New(env);
          object.Set("texts", to_js(env, std::move(result->texts)));
          set<Napi::Uint32Array>(env, object, "removed", result->removed);
          return object;
        });
  });
}

Napi::Function ContaminationObject::define(Napi::Env env) {
  return DefineClass(
      env, "Contamination",
      {InstanceMethod<&ContaminationObject::add>("add"), InstanceMethod<&ContaminationObject::check>("check"),
       InstanceMethod<&ContaminationObject::tally>("tally"),
       InstanceMethod<&ContaminationObject::overlap>("overlap")});
}

ContaminationObject::ContaminationObject(const Napi::CallbackInfo& info)
    : Napi::ObjectWrap<ContaminationObject>(info),
      calls_(info.Env(), "anneal contamination", [this](bool keep) { keep ? Ref() : Unref(); }) {
  synchronous(info.Env(), [&] {
    const Argument options = argument(info, 0, "options");
    sets_ = static_cast<int>(options.property("sets").integer(1, 10'000));
    contamination_ = std::make_unique<Contamination>(
        ContaminationOptions{.ngram = static_cast<int>(options.property("ngram").integer(1, 1000)),
                             .min_words = static_cast<int>(options.property("minWords").integer(1, 1000)),
                             .sets = sets_,
                             .threads = threads_of(options)});
  });
}

Napi::Value ContaminationObject::add(const Napi::CallbackInfo& info) {
  return asynchronous(info.Env(), [&] {
    const auto rows = std::make_shared<TextBatch>(to_text_batch(argument(info, 0, "rows")));
    const auto set = static_cast<int>(argument(info, 1, "set").integer(0, sets_ - 1));
    return calls_.run(info.Env(), thread_, [this, rows, set] { contamination_->add(*rows, set); });
  });
}

Napi::Value ContaminationObject::check(const Napi::CallbackInfo& info) {
  return asynchronous(info.Env(), [&] {
    const Argument options = argument(info, 1, "options");
    const double threshold = share(options.property("threshold"));
    std::optional<CutOptions> cut;
    if (const Argument from = options.property("cut"); !from.is_absent()) {
      cut = {.margin = static_cast<size_t>(count(from.property("margin"))),
             .min_piece = static_cast<size_t>(count(from.property("minPiece")))};
    }
    return run_on_batch(
        info.Env(), calls_, thread_, argument(info, 0, "batch"),
        [this, threshold, cut](const TextBatchView& batch) {
          return std::make_shared<ContaminationCheck>(contamination_->check(batch, threshold, cut));
        },
        [](Napi::Env env, const std::shared_ptr<ContaminationCheck>& checked) -> Napi::Value {
          auto object = Napi::Object::New(env);
          set<Napi::Float64Array>(env, object, "shares", checked->shares);
          set<Napi::Uint32Array>(env, object, "documents", checked->documents);
          set<Napi::Uint32Array>(env, object, "grams", checked->grams);
          if (checked->texts) object.Set("texts", to_js(env, std::move(*checked->texts)));
          return object;
        });
  });
}

Napi::Value ContaminationObject::tally(const Napi::CallbackInfo& info) {
  return asynchronous(info.Env(), [&] {
    const auto documents = uint32s(argument(info, 0, "documents"));
    const auto grams = uint32s(argument(info, 1, "grams"));
    return calls_.run(info.Env(), thread_,
                      [this, documents, grams] { contamination_->tally(documents, grams); });
  });
}

Napi::Value ContaminationObject::overlap(const Napi::CallbackInfo& info) {
  return asynchronous(info.Env(), [&] {
    return calls_.run(
        info.Env(), thread_, [this] { return std::make_shared<Overlap>(contamination_->overlap()); },
        [](Napi::Env env, const std::shared_ptr<Overlap>& overlap) -> Napi::Value {
          auto object = Napi::Object::New(env);
          set<Napi::Float64Array>(env, object, "documents", overlap->documents);
          set<Napi::Float64Array>(env, object, "exact", overlap->exact);
          set<Napi::Float64Array>(env, object, "share", overlap->share);
          set<Napi::Float64Array>(env, object, "best", overlap->best);
          return object;
        });
  });
}

}  // namespace anneal::addon
