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

}  // namespace

Engine::Engine(std::unique_ptr<Backend> backend, const SessionOptions& options,
               const std::atomic<bool>& closing)
    : closing_(closing),
      options_(options),
      backend_(std::move(backend)),
      plan_(plan_session(options_, *backend_)),
      table_(options_.architecture),
      base_(*backend_, table_, options_.trainable, options_.optimizer),
      activations_memory_(reserve(*backend_, plan_.activations)),
      scratch_memory_(reserve(*backend_, plan_.workspace)),
      cache_memory_(reserve(*backend_, plan_.kv_cache)),
      activations_(lay_out<Activations>(activations_memory_.get(), options_)),
      scratch_(lay_out<Scratch>(scratch_memory_.get(), options_, *backend_)),
      cache_(lay_out<KvCache>(cache_memory_.get(), options_)),
      decoder_(*backend_, options_, table_, activations_, scratch_, base_.weights(), base_.gradients(),
               closing_),
      generator_(*backend_, options_, table_, decoder_, activations_, scratch_, cache_, base_.weights()) {
  if (options_.trainable) snapshot_ = std::make_unique<Snapshot>(std::vector<ParameterSet*>{&base_});
}

void Engine::require_trainable(const char* call) const {
  if (!options_.trainable) {
    throw std::invalid_argument(std::string(call) +
                                ": the session was made without gradients (trainable: false)");
  }
}

void Engine::init_weights(uint64_t seed, float std) {
  if (!(std > 0.0f) || !std::isfinite(std)) throw std::invalid_argument("initWeights: std must be above 0");
  pending_ = false;
  initialise_weights(*backend_, base_.weights(), table_, options_.architecture.num_layers, seed, std,
                     options_.threads);
}

void Engine::import_tensors(const std::vector<TensorSource>& sources) {
  for (const TensorSource& source : sources) (void)table_.find(source.name);  // all names before any change
  pending_ = false;
  for (const TensorSource& source : sources) import_tensor(*backend_, base_.weights(), table_, source);
}

WrittenFile Engine::export_tensors(const std::string& path, std::span<const uint8_t> header,
                                   const std::vector<std::string>& names) {
  for (const std::string& name : names) (void)table_.find(name);  // all names before the file is made
  ChecksummedWriter writer(path);
  writer.write(header.data(), header.size());
  for (const std::string& name : names) export_tensor(*backend_, writer, base_.weights(), table_.find(name));
  writer.finish();
  return {writer.bytes(), writer.crc()};
}

std::vector<float> Engine::read_tensor(const std::string& name, bool gradient) {
  if (gradient) require_trainable("readTensor");
  const Tensor& tensor = table_.find(name);
  std::vector<float> values(static_cast<size_t>(tensor.size));
  backend_->copy_to_host(values.data(), (gradient ? base_.gradients() : base_.weights()) + tensor.offset,
                         values.size() * sizeof(float));
  return values;
}

StepResult Engine::step(const StepOptions& options) {
  require_trainable("step");
  pending_ = false;
  return optimizer_step(*backend_, base_, options, scratch_.optimizer);
}

void Engine::set_parameter_groups(const std::vector<ParameterGroup>& groups) {
  require_trainable("setParameterGroups");
  anneal::set_parameter_groups(base_, groups);
}

void Engine::clear_gradients() {
  require_trainable("clearGradients");
  pending_ = false;
  base_.clear_gradients(*backend_);
}

void Engine::take_snapshot() {
  require_trainable("snapshot");
  snapshot_->take(*backend_);
}

void Engine::restore_snapshot() {
  require_trainable("restoreSnapshot");
  snapshot_->restore(*backend_);
  pending_ = false;
}

void Engine::pin_snapshot() {
  require_trainable("writeSnapshot");
  snapshot_->pin();
}

void Engine::read_snapshot(const std::string& path) {
  require_trainable("readSnapshot");
  snapshot_->read(path);
  snapshot_->restore(*backend_);
  pending_ = false;
}

}  // namespace anneal
