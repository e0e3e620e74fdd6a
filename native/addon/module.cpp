// What the addon exports, and what it keeps for each environment (the main thread, each worker thread).
#include <malloc.h>
#include <napi.h>

#include "addon/calls.h"
#include "addon/cleaning.h"
#include "addon/dedup.h"
#include "addon/encoder.h"
#include "addon/fingerprinter.h"
#include "addon/json_text.h"
#include "addon/options.h"
#include "addon/session.h"
#include "addon/tokenizer.h"
#include "engine/matrix_speed.h"
#include "model/crc32c.h"

namespace anneal::addon {
namespace {

/// Freed with its environment.
struct Environment {
  explicit Environment(Napi::Env env)
      : session(Napi::Persistent(Session::define(env))),
        trainer(Napi::Persistent(Trainer::define(env))),
        encoder(Napi::Persistent(Encoder::define(env))),
        cleaner(Napi::Persistent(CleanerObject::define(env))),
        fingerprinter(Napi::Persistent(FingerprinterObject::define(env))),
        part_hasher(Napi::Persistent(PartHasherObject::define(env))),
        part_remover(Napi::Persistent(PartRemoverObject::define(env))),
        contamination(Napi::Persistent(ContaminationObject::define(env))),
        json_texts(Napi::Persistent(JsonTexts::define(env))),
        calls(env, "anneal", [](bool) {}) {}

  Napi::FunctionReference session, trainer, encoder, cleaner, fingerprinter, part_hasher, part_remover,
      contamination, json_texts;
  Calls calls;
  TaskThread thread;  // of calls that belong to no object
};

Environment& environment(const Napi::CallbackInfo& info) {
  return *info.Env().GetInstanceData<Environment>();
}

Napi::Value create_session(const Napi::CallbackInfo& info) {
  return Session::create(info, environment(info).session);
}

Napi::Value plan_session_options(const Napi::CallbackInfo& info) {
  return synchronous(info.Env(), [&] {
    const SessionOptions options = session_options(argument(info, 0, "options"));
    validate(options);
    return to_js(info.Env(), plan_session(options, *make_cpu_backend(options.threads)));
  });
}

Napi::Value create_bpe_trainer(const Napi::CallbackInfo& info) {
  return environment(info).trainer.New({info[0]});
}

Napi::Value create_bpe_encoder(const Napi::CallbackInfo& info) {
  return environment(info).encoder.New({info[0]});
}

Napi::Value create_cleaner(const Napi::CallbackInfo& info) {
  return environment(info).cleaner.New({info[0]});
}

Napi::Value create_fingerprinter(const Napi::CallbackInfo& info) {
  return environment(info).fingerprinter.New({info[0]});
}

Napi::Value create_part_hasher(const Napi::CallbackInfo& info) {
  return environment(info).part_hasher.New({info[0]});
}

Napi::Value create_part_remover(const Napi::CallbackInfo& info) {
  return environment(info).part_remover.New({info[0]});
}

Napi::Value create_contamination(const Napi::CallbackInfo& info) {
  return environment(info).contamination.New({info[0]});
}

Napi::Value create_json_texts(const Napi::CallbackInfo& info) {
  return environment(info).json_texts.New({info[0]});
}

Napi::Value find_duplicates(const Napi::CallbackInfo& info) {
  return find_duplicates_call(info, environment(info).calls, environment(info).thread);
}

Napi::Value find_repeated_parts(const Napi::CallbackInfo& info) {
  return find_repeated_parts_call(info, environment(info).calls, environment(info).thread);
}

Napi::Value machine_info(const Napi::CallbackInfo& info) {
  // "simd, blas"
  const std::string description = cpu_backend_description();
  const size_t comma = description.find(", ");
  auto object = Napi::Object::New(info.Env());
  object.Set("simd", Napi::String::New(info.Env(), description.substr(0, comma)));
  object.Set("blas", Napi::String::New(info.Env(), description.substr(comma + 2)));
  return object;
}

Napi::Value measure_speed(const Napi::CallbackInfo& info) {
  return asynchronous(info.Env(), [&] {
    const int threads = static_cast<int>(argument(info, 0, "threads").integer(1, 1024));
    Environment& at = environment(info);
    return at.calls.run(
        info.Env(), at.thread, [threads] { return measure_matrix_speed(*make_cpu_backend(threads)); },
        [](Napi::Env to, double speed) -> Napi::Value { return Napi::Number::New(to, speed); });
  });
}

Napi::Value checksum_file(const Napi::CallbackInfo& info) {
  return asynchronous(info.Env(), [&] {
    Environment& at = environment(info);
    return at.calls.run(
        info.Env(), at.thread, [path = argument(info, 0, "path").string()] { return crc32c_file(path); },
        [](Napi::Env to, uint32_t crc) -> Napi::Value { return Napi::Number::New(to, crc); });
  });
}

/// From this size on, memory is mapped for itself and goes back to the machine when it is freed.
constexpr int kMappedBytes = 256 << 10;

Napi::Object initialise(Napi::Env env, Napi::Object exports) {
  // Left to itself, glibc raises the bound to the largest block that was freed, up to 32 MiB: batches of
  // documents then come from heaps, one a thread, which fill with holes and only grow.
  mallopt(M_MMAP_THRESHOLD, kMappedBytes);
  env.SetInstanceData(new Environment(env));  // Node deletes it
  const auto add = [&](const char* name, Napi::Value (*function)(const Napi::CallbackInfo&)) {
    exports.Set(name, Napi::Function::New(env, function, name));
  };
  add("createSession", create_session);
  add("planSession", plan_session_options);
  add("createBpeTrainer", create_bpe_trainer);
  add("createBpeEncoder", create_bpe_encoder);
  add("createCleaner", create_cleaner);
  add("createFingerprinter", create_fingerprinter);
  add("createPartHasher", create_part_hasher);
  add("createPartRemover", create_part_remover);
  add("createContamination", create_contamination);
  add("createJsonTexts", create_json_texts);
  add("findDuplicates", find_duplicates);
  add("findRepeatedParts", find_repeated_parts);
  add("machineInfo", machine_info);
  add("measureMatrixSpeed", measure_speed);
  add("crc32cFile", checksum_file);
  return exports;
}

}  // namespace
}  // namespace anneal::addon

static Napi::Object initialise_module(Napi::Env env, Napi::Object exports) {
  return anneal::addon::initialise(env, exports);
}

NODE_API_MODULE(anneal, initialise_module)
