#include "addon/options.h"

#include <limits>

namespace anneal::addon {
namespace {

constexpr int64_t kMaxSize = std::numeric_limits<int32_t>::max();

constexpr const char* kOptimizerNames[] = {"adamw", "adamw_8bit", "lion", "muon", "adafactor", "sgd"};
constexpr OptimizerName kOptimizers[] = {OptimizerName::kAdamW,     OptimizerName::kAdamW8bit,
                                         OptimizerName::kLion,      OptimizerName::kMuon,
                                         OptimizerName::kAdafactor, OptimizerName::kSgd};

int64_t size(const Argument& object, const char* key) { return object.property(key).integer(0, kMaxSize); }

/// An optional boolean; absent: false.
bool flag(const Argument& object, const char* key) {
  const Argument value = object.property(key);
  return !value.is_absent() && value.boolean();
}

/// An optional array; absent: empty.
std::vector<float> optional_floats(const Argument& object, const char* key) {
  const Argument value = object.property(key);
  return value.is_absent() ? std::vector<float>() : value.floats();
}

Architecture architecture(const Argument& a) {
  static constexpr const char* kNorms[] = {"rmsnorm", "layernorm"};
  static constexpr const char* kActivations[] = {"swiglu", "gelu", "gelu_tanh"};
  static constexpr Activation kActivationKinds[] = {Activation::kSwiGlu, Activation::kGelu,
                                                    Activation::kGeluTanh};
  Architecture out;
  out.vocab_size = size(a, "vocabSize");
  out.hidden_size = size(a, "hiddenSize");
  out.intermediate_size = size(a, "intermediateSize");
  out.num_layers = size(a, "numLayers");
  out.num_heads = size(a, "numHeads");
  out.num_kv_heads = size(a, "numKvHeads");
  out.head_dim = size(a, "headDim");
  out.norm = a.property("norm").choice(kNorms) == 0 ? Norm::kRmsNorm : Norm::kLayerNorm;
  out.norm_eps = a.property("normEps").single();
  out.activation = kActivationKinds[a.property("activation").choice(kActivations)];
  out.rope_theta = a.property("ropeTheta").single();
  out.qkv_bias = a.property("qkvBias").boolean();
  out.out_bias = a.property("outBias").boolean();
  out.mlp_bias = a.property("mlpBias").boolean();
  out.qk_norm = a.property("qkNorm").boolean();
  out.tie_embeddings = a.property("tieEmbeddings").boolean();
  out.score_head = flag(a, "scoreHead");
  out.max_positions = size(a, "maxPositions");
  return out;
}

template <typename Number>
void set(Napi::Object& object, const char* key, Number value) {
  object.Set(key, Napi::Number::New(object.Env(), static_cast<double>(value)));
}

}  // namespace

int64_t adapter_index(const Argument& adapter) {
  return adapter.is_absent() ? Engine::kBase : adapter.integer(0, kMaxSize);
}

AdapterOptions adapter_options(const Argument& a) {
  AdapterOptions out;
  for (const Argument& module : a.property("modules").elements()) {
    out.modules.push_back({module.property("name").string(), size(module, "rank"),
                           module.property("scale").single(), module.property("dropout").single(),
                           module.property("dora").boolean()});
  }
  out.replaces = a.property("replaces").strings();
  out.score_head = flag(a, "scoreHead");
  out.trainable = a.property("trainable").boolean();
  return out;
}

SessionOptions session_options(const Argument& o) {
  SessionOptions out;
  out.architecture = architecture(o.property("architecture"));
  out.threads = static_cast<int>(size(o, "threads"));
  out.trainable = o.property("trainable").boolean();
  out.max_tokens = size(o, "maxTokens");
  out.max_sequences = size(o, "maxSequences");
  out.max_scored = size(o, "maxScored");
  const Argument max_targets = o.property("maxTargets");
  if (!max_targets.is_absent()) out.max_targets = max_targets.integer(1, kMaxSize);
  out.recompute = o.property("recompute").boolean();
  out.keep_logits = flag(o, "keepLogits");
  out.generation_slots = size(o, "generationSlots");
  out.generation_length = size(o, "generationLength");
  const Argument adapters = o.property("adapters");
  if (!adapters.is_absent()) {
    for (const Argument& adapter : adapters.elements()) out.adapters.push_back(adapter_options(adapter));
  }
  const Argument rows = o.property("generationRows");
  if (!rows.is_absent()) out.generation_rows = rows.integer(0, kMaxSize);
  const Argument optimizer = o.property("optimizer");
  if (!optimizer.is_absent()) out.optimizer = kOptimizers[optimizer.choice(kOptimizerNames)];
  return out;
}

Batch batch(const Argument& b) {
  Batch out;
  out.tokens = b.property("tokens").int32s();
  out.cu_seqlens = b.property("cuSeqlens").int32s();
  const Argument prefix = b.property("prefix");
  if (!prefix.is_absent()) out.prefix = prefix.int32s();
  out.scored = b.property("scored").int32s();
  out.targets = b.property("targets").int32s();
  const Argument targets_per_row = b.property("targetsPerRow");
  if (!targets_per_row.is_absent()) out.targets_per_row = targets_per_row.integer(1, kMaxSize);
  static constexpr const char* kOutputs[] = {"tokens", "values", "both"};
  const Argument outputs = b.property("outputs");
  if (!outputs.is_absent()) out.outputs = static_cast<Outputs>(outputs.choice(kOutputs));
  const Argument temperature = b.property("temperature");
  if (!temperature.is_absent()) out.temperature = temperature.single();
  out.adapter = adapter_index(b.property("adapter"));
  const Argument dropout_seed = b.property("dropoutSeed");
  if (!dropout_seed.is_absent()) {
    out.dropout_seed = static_cast<uint64_t>(dropout_seed.integer(0, kMaxSafeInteger));
  }
  return out;
}

ScoreGradients score_gradients(const Argument& g) {
  return {optional_floats(g, "logProbs"), optional_floats(g, "entropies"), optional_floats(g, "logZ"),
          optional_floats(g, "values")};
}

StepOptions step_options(const Argument& o, OptimizerName optimizer) {
  StepOptions out{};
  out.learning_rate = o.property("learningRate").single();
  out.weight_decay = o.property("weightDecay").single();
  out.max_grad_norm = o.property("maxGradNorm").single();
  out.step = o.property("step").integer(1, kMaxSafeInteger);
  if (optimizer == OptimizerName::kAdafactor) {
    out.beta2_decay = o.property("beta2Decay").single();
    out.clip_threshold = o.property("clipThreshold").single();
  } else if (optimizer != OptimizerName::kSgd) {
    out.beta1 = o.property("beta1").single();
    out.beta2 = o.property("beta2").single();
    if (optimizer != OptimizerName::kLion) out.epsilon = o.property("epsilon").single();
  }
  if (optimizer == OptimizerName::kSgd || optimizer == OptimizerName::kMuon) {
    out.momentum = o.property("momentum").single();
    out.nesterov = o.property("nesterov").boolean();
  }
  if (optimizer == OptimizerName::kMuon) out.match_rms_adamw = o.property("matchRmsAdamw").boolean();
  return out;
}

std::vector<ParameterGroup> parameter_groups(const Argument& groups) {
  std::vector<ParameterGroup> out;
  for (const Argument& group : groups.elements()) {
    ParameterGroup& to = out.emplace_back();
    to.names = group.property("names").strings();
    const Argument learning_rate = group.property("learningRateFactor");
    if (!learning_rate.is_absent()) to.learning_rate_factor = learning_rate.single();
    const Argument weight_decay = group.property("weightDecayFactor");
    if (!weight_decay.is_absent()) to.weight_decay_factor = weight_decay.single();
  }
  return out;
}

std::vector<TensorSource> tensor_sources(const Argument& sources) {
  static constexpr const char* kTypes[] = {"F32", "F16", "BF16"};
  static constexpr StoredType kStoredTypes[] = {StoredType::kF32, StoredType::kF16, StoredType::kBF16};
  std::vector<TensorSource> out;
  for (const Argument& source : sources.elements()) {
    out.push_back({source.property("name").string(), source.property("path").string(),
                   source.property("offset").integer(0, kMaxSafeInteger),
                   kStoredTypes[source.property("dtype").choice(kTypes)]});
  }
  return out;
}

Napi::Value to_js(Napi::Env env, const SessionPlan& plan) {
  auto object = Napi::Object::New(env);
  set(object, "parameters", plan.parameters);
  set(object, "weights", plan.weights);
  set(object, "gradients", plan.gradients);
  set(object, "optimizer", plan.optimizer);
  set(object, "activations", plan.activations);
  set(object, "workspace", plan.workspace);
  set(object, "kvCache", plan.kv_cache);
  set(object, "snapshot", plan.snapshot);
  set(object, "total", plan.total);
  set(object, "trainFlopsPerToken", plan.train_flops_per_token);
  return object;
}

Napi::Value to_js(Napi::Env env, const Scores& scores) {
  auto object = Napi::Object::New(env);
  object.Set("logProbs", to_float32_array(env, scores.log_probs));
  object.Set("entropies", to_float32_array(env, scores.entropies));
  object.Set("logZ", to_float32_array(env, scores.log_z));
  object.Set("values", to_float32_array(env, scores.values));
  object.Set("hits", to_float32_array(env, scores.hits));
  object.Set("meanLogits", to_float32_array(env, scores.mean_logits));
  object.Set("logSumSquares", to_float32_array(env, scores.log_sum_squares));
  return object;
}

Napi::Value to_js(Napi::Env env, const TopTokens& top) {
  auto object = Napi::Object::New(env);
  object.Set("ids", to_int32_array(env, top.ids));
  object.Set("logProbs", to_float32_array(env, top.log_probs));
  return object;
}

Napi::Value to_js(Napi::Env env, const StepResult& result) {
  auto object = Napi::Object::New(env);
  set(object, "gradNorm", result.grad_norm);
  object.Set("applied", Napi::Boolean::New(env, result.applied));
  return object;
}

Napi::Value to_js(Napi::Env env, const WrittenFile& file) {
  auto object = Napi::Object::New(env);
  set(object, "bytes", file.bytes);
  set(object, "crc32c", file.crc32c);
  return object;
}

Napi::Value to_js(Napi::Env env, const std::vector<Tensor>& tensors) {
  auto array = Napi::Array::New(env, tensors.size());
  for (size_t i = 0; i < tensors.size(); ++i) {
    auto shape = Napi::Array::New(env, tensors[i].shape.size());
    for (size_t axis = 0; axis < tensors[i].shape.size(); ++axis) {
      shape.Set(static_cast<uint32_t>(axis),
                Napi::Number::New(env, static_cast<double>(tensors[i].shape[axis])));
    }
    auto object = Napi::Object::New(env);
    object.Set("name", Napi::String::New(env, tensors[i].name));
    object.Set("shape", shape);
    array.Set(static_cast<uint32_t>(i), object);
  }
  return array;
}

}  // namespace anneal::addon
