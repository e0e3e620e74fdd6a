// The session's calls for generation: requests in, updates out. Loops, callbacks and signals are TypeScript's
// (src/native/generations.ts).
#include <limits>

#include "addon/options.h"
#include "addon/session.h"

namespace anneal::addon {
namespace {

constexpr int64_t kMaxSize = std::numeric_limits<int32_t>::max();

SamplingOptions sampling_options(const Argument& o) {
  SamplingOptions out;
  out.max_new_tokens = o.property("maxNewTokens").integer(1, kMaxSize);
  out.temperature = o.property("temperature").single();
  out.top_k = o.property("topK").integer(0, kMaxSize);
  out.top_p = o.property("topP").single();
  out.min_p = o.property("minP").single();
  out.repetition_penalty = o.property("repetitionPenalty").single();
  out.seed = static_cast<uint64_t>(o.property("seed").integer(0, kMaxSafeInteger));
  out.stop_tokens = o.property("stopTokens").int32s();
  return out;
}

GenerationRequest generation_request(const Argument& r) {
  GenerationRequest out;
  out.prompt = r.property("prompt").int32s();
  out.samples = static_cast<int32_t>(r.property("samples").integer(1, kMaxSize));
  out.sampling = sampling_options(r.property("sampling"));
  const Argument adapter = r.property("adapter");
  if (!adapter.is_absent()) out.adapter = static_cast<int32_t>(adapter.integer(0, kMaxSize));
  const Argument constraint = r.property("constraint");
  if (!constraint.is_absent()) {
    auto automaton = std::make_shared<Automaton>();
    automaton->transitions = constraint.property("transitions").int32s();
    automaton->accepting = constraint.property("accepting").bytes();
    validate(*automaton);
    out.constraint = std::move(automaton);
  }
  return out;
}

/// As `GenerationUpdates` of src/native/addon.ts: an array for each field.
Napi::Value to_js(Napi::Env env, const std::vector<GenerationUpdate>& updates) {
  auto requests = Napi::Int32Array::New(env, updates.size());
  auto samples = Napi::Int32Array::New(env, updates.size());
  auto tokens = Napi::Int32Array::New(env, updates.size());
  auto log_probs = Napi::Float32Array::New(env, updates.size());
  auto finishes = Napi::Int32Array::New(env, updates.size());
  for (size_t i = 0; i < updates.size(); ++i) {
    const GenerationUpdate& update = updates[i];
    requests[i] = static_cast<int32_t>(update.request);
    samples[i] = update.sample;
    tokens[i] = update.token;
    log_probs[i] = update.log_prob;
    finishes[i] = update.finished ? static_cast<int32_t>(update.finish) : -1;
  }
  auto object = Napi::Object::New(env);
  object.Set("requests", requests);
  object.Set("samples", samples);
  object.Set("tokens", tokens);
  object.Set("logProbs", log_probs);
  object.Set("finishes", finishes);
  return object;
}

}  // namespace

Napi::Value Session::set_vocabulary(const Napi::CallbackInfo& info) {
  return synchronous(info.Env(), [&] {
    const Argument vocabulary = argument(info, 0, "vocabulary");
    std::vector<uint8_t> bytes = vocabulary.property("bytes").bytes();
    std::vector<int32_t> ends = vocabulary.property("ends").int32s();
    const auto size = static_cast<size_t>(options_.architecture.vocab_size);
    if (ends.size() > size)
      throw std::invalid_argument("vocabulary: more tokens than the model has (vocabSize)");
    // Rows of the model that no token has are in no text.
    ends.resize(size, static_cast<int32_t>(bytes.size()));
    const auto trie = std::make_shared<const TokenTrie>(std::move(bytes), std::move(ends));
    has_vocabulary_ = true;
    thread_.submit([this, trie](bool abandoned) {
      if (!abandoned) engine_->set_vocabulary(trie);
    });
    return info.Env().Undefined();
  });
}

Napi::Value Session::submit_generation(const Napi::CallbackInfo& info) {
  return synchronous(info.Env(), [&] {
    const auto request =
        std::make_shared<GenerationRequest>(generation_request(argument(info, 0, "request")));
    validate(*request, options_);
    if (request->constraint && !has_vocabulary_) {
      throw std::invalid_argument("constraint: the session has no vocabulary (setVocabulary)");
    }
    const int64_t id = next_generation_++;
    thread_.submit([this, id, request](bool abandoned) {
      if (!abandoned) engine_->submit_generation(id, std::move(*request));
    });
    return Napi::Number::New(info.Env(), static_cast<double>(id));
  });
}

Napi::Value Session::advance_generations(const Napi::CallbackInfo& info) {
  return calls_.run(
      info.Env(), thread_, [this] { return engine_->advance_generations(); },
      [](Napi::Env to, const std::vector<GenerationUpdate>& updates) { return to_js(to, updates); });
}

Napi::Value Session::cancel_generation(const Napi::CallbackInfo& info) {
  return synchronous(info.Env(), [&] {
    const int64_t id = argument(info, 0, "id").integer(0, kMaxSafeInteger);
    thread_.submit([this, id](bool abandoned) {
      if (!abandoned) engine_->cancel_generation(id);
    });
    return info.Env().Undefined();
  });
}

}  // namespace anneal::addon
