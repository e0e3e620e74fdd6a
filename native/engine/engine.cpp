// Construction, weights, steps and snapshots of the engine; passes over batches are in engine_passes.cpp.
#include "engine/engine.h"

#include <cmath>
#include <stdexcept>

#include "engine/initialise.h"

namespace anneal {
namespace {

template <typename Buffers, typename... Arguments>
Buffers lay_out(void* memory, const Arguments&... arguments) {
  Arena arena(memory);
  return Buffers(arena, arguments...);
}

std::vector<std::unique_ptr<Adapter>> make_adapters(Backend& backend, const SessionOptions& options,
                                                    const ModelTable& table) {
  std::vector<std::unique_ptr<Adapter>> adapters;
  for (size_t i = 0; i < options.adapters.size(); ++i) {
    adapters.push_back(std::make_unique<Adapter>(backend, options.adapters[i], table, options.architecture,
                                                 options.optimizer, i));
  }
  return adapters;
}

std::deque<Weights> resolve_all(const Architecture& architecture, ParameterSet& base,
                                const std::vector<std::unique_ptr<Adapter>>& adapters) {
  std::deque<Weights> all{resolve_weights(architecture, base, nullptr)};
  for (const auto& adapter : adapters) all.push_back(resolve_weights(architecture, base, adapter.get()));
  return all;
}

}  // namespace

Engine::Engine(std::unique_ptr<Backend> backend, const SessionOptions& options,
               const std::atomic<bool>& closing)
    : closing_(closing),
      options_(options),
      backend_(std::move(backend)),
      plan_(plan_session(options_, *backend_)),
      table_(options_.architecture),
      base_(std::make_unique<ParameterSet>(*backend_, table_, options_.trainable, options_.optimizer)),
      adapters_(make_adapters(*backend_, options_, table_)),
      weights_(resolve_all(options_.architecture, *base_, adapters_)),
      activations_memory_(reserve(*backend_, plan_.activations)),
      scratch_memory_(reserve(*backend_, plan_.workspace)),
      cache_memory_(reserve(*backend_, plan_.kv_cache)),
      activations_(lay_out<Activations>(activations_memory_.get(), options_)),
      scratch_(lay_out<Scratch>(scratch_memory_.get(), options_, *backend_)),
      cache_(lay_out<KvCache>(cache_memory_.get(), options_)),
      decoder_(*backend_, options_, activations_, scratch_, closing_),
      generator_(*backend_, options_, decoder_, activations_, scratch_, cache_) {
  if (!options_.any_trainable()) return;
  std::vector<ParameterSet*> sets{base_.get()};
  for (const auto& adapter : adapters_) sets.push_back(&adapter->set());
  snapshot_ = std::make_unique<Snapshot>(sets);
}

int64_t Engine::add_adapter(const AdapterOptions& options) {
  if (options_.any_trainable() || options.trainable) {
    throw std::invalid_argument("addAdapter: it is for sessions in which nothing is trained");
  }
  SessionOptions grown = options_;
  grown.adapters.push_back(options);
  const SessionPlan plan = plan_session(grown, *backend_);
  auto adapter = std::make_unique<Adapter>(*backend_, options, table_, options_.architecture,
                                           options_.optimizer, adapters_.size());
  // The buffers of a pass may have to be larger; what outlives a pass (keys and values) stays where it is.
  DeviceMemory activations = reserve(*backend_, plan.activations);
  DeviceMemory scratch = reserve(*backend_, plan.workspace);
  weights_.push_back(resolve_weights(options_.architecture, *base_, adapter.get()));
  adapters_.push_back(std::move(adapter));
  options_ = std::move(grown);
  plan_ = plan;
  const float* inverse_frequencies = scratch_.inverse_frequencies;
  activations_ = lay_out<Activations>(activations.get(), options_);
  scratch_ = lay_out<Scratch>(scratch.get(), options_, *backend_);
  backend_->copy(scratch_.inverse_frequencies, inverse_frequencies,
                 static_cast<size_t>(options_.architecture.head_dim / 2) * sizeof(float));
  activations_memory_ = std::move(activations);
  scratch_memory_ = std::move(scratch);
  pending_ = false;
  return std::ssize(adapters_) - 1;
}

ParameterSet& Engine::set_of(int64_t adapter) const {
  if (adapter == kBase) return *base_;
  if (adapter < 0 || adapter >= std::ssize(adapters_)) {
    throw std::invalid_argument("adapter is " + std::to_string(adapter) + ", but the session has " +
                                std::to_string(adapters_.size()));
  }
  return adapters_[static_cast<size_t>(adapter)]->set();
}

ParameterSet& Engine::trained_set(const char* call, int64_t adapter) const {
  ParameterSet& set = set_of(adapter);
  if (!set.trainable()) {
    const std::string what = adapter == kBase ? "the base" : "adapter " + std::to_string(adapter);
    throw std::invalid_argument(std::string(call) + ": " + what + " is frozen (trainable: false)");
  }
  return set;
}

void Engine::require_snapshots(const char* call) const {
  if (snapshot_ == nullptr) {
    throw std::invalid_argument(std::string(call) + ": nothing in the session is trainable");
  }
}

void Engine::weights_changed() {
  pending_ = false;
  for (const auto& adapter : adapters_) adapter->forget_norms();
  generator_.forget_rows();
}

void Engine::use_adapter(int64_t adapter, std::optional<uint64_t> dropout_seed) {
  if (adapter != kBase) {
    adapters_[static_cast<size_t>(adapter)]->refresh_norms(*backend_, *base_, scratch_.dora);
  }
  decoder_.use(weights_[static_cast<size_t>(adapter + 1)], dropout_seed);
}

void Engine::init_weights(uint64_t seed, float std) {
  if (!(std > 0.0f) || !std::isfinite(std)) throw std::invalid_argument("initWeights: std must be above 0");
  weights_changed();
  initialise_weights(*backend_, base_->weights(), table_, options_.architecture.num_layers, seed, std,
                     options_.threads);
}

void Engine::init_adapter(int64_t adapter, uint64_t seed, AdapterInit kind) {
  if (adapter == kBase) throw std::invalid_argument("initAdapter: names no adapter");
  (void)set_of(adapter);
  weights_changed();
  anneal::init_adapter(*backend_, *adapters_[static_cast<size_t>(adapter)], *base_, kind, seed,
                       options_.threads);
}

void Engine::merge_adapter(int64_t adapter) {
  if (adapter == kBase) throw std::invalid_argument("mergeAdapter: names no adapter");
  (void)set_of(adapter);
  weights_changed();
  anneal::merge_adapter(*backend_, *adapters_[static_cast<size_t>(adapter)], *base_, options_.threads);
}

void Engine::import_tensors(const std::vector<TensorSource>& sources, int64_t adapter) {
  const ParameterSet& set = set_of(adapter);
  for (const TensorSource& source : sources) (void)set.table().find(source.name);  // before any change
  weights_changed();
  for (const TensorSource& source : sources) import_tensor(*backend_, set.weights(), set.table(), source);
}

WrittenFile Engine::export_tensors(const std::string& path, std::span<const uint8_t> header,
                                   const std::vector<std::string>& names, int64_t adapter) {
  const ParameterSet& set = set_of(adapter);
  for (const std::string& name : names) (void)set.table().find(name);  // before the file is made
  ChecksummedWriter writer(path);
  writer.write(header.data(), header.size());
  for (const std::string& name : names) {
    export_tensor(*backend_, writer, set.weights(), set.table().find(name));
  }
  writer.finish();
  return {writer.bytes(), writer.crc()};
}

std::vector<float> Engine::read_tensor(const std::string& name, bool gradient, int64_t adapter) {
  const ParameterSet& set = gradient ? trained_set("readTensor", adapter) : set_of(adapter);
  const Tensor& tensor = set.table().find(name);
  std::vector<float> values(static_cast<size_t>(tensor.size));
  backend_->copy_to_host(values.data(), (gradient ? set.gradients() : set.weights()) + tensor.offset,
                         values.size() * sizeof(float));
  return values;
}

StepResult Engine::step(const StepOptions& options, int64_t adapter) {
  ParameterSet& set = trained_set("step", adapter);
  const StepResult result = optimizer_step(*backend_, set, options, scratch_.optimizer);
  weights_changed();
  return result;
}

void Engine::set_parameter_groups(const std::vector<ParameterGroup>& groups, int64_t adapter) {
  anneal::set_parameter_groups(trained_set("setParameterGroups", adapter), groups);
}

void Engine::clear_gradients() {
  require_snapshots("clearGradients");
  pending_ = false;
  if (base_->trainable()) base_->clear_gradients(*backend_);
  for (const auto& adapter : adapters_) {
    if (adapter->set().trainable()) adapter->set().clear_gradients(*backend_);
  }
}

void Engine::take_snapshot() {
  require_snapshots("snapshot");
  snapshot_->take(*backend_);
}

void Engine::restore_snapshot() {
  require_snapshots("restoreSnapshot");
  snapshot_->restore(*backend_);
  weights_changed();
}

void Engine::pin_snapshot() {
  require_snapshots("writeSnapshot");
  snapshot_->pin();
}

void Engine::read_snapshot(const std::string& path) {
  require_snapshots("readSnapshot");
  snapshot_->read(path);
  snapshot_->restore(*backend_);
  weights_changed();
}

}  // namespace anneal
