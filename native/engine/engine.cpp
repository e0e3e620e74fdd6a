// Construction, weights, steps and snapshots of the engine; passes over batches are in engine_passes.cpp.
#include "engine/engine.h"

#include <algorithm>
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

TrainingState training_state(void* weights, void* gradients, void* moments, int64_t size) {
  auto* moment1 = static_cast<float*>(moments);
  return {static_cast<float*>(weights), moment1, moment1 == nullptr ? nullptr : moment1 + size,
          static_cast<float*>(gradients), false};
}

}  // namespace

Engine::Engine(std::unique_ptr<Backend> backend, const SessionOptions& options,
               const std::atomic<bool>& closing)
    : closing_(closing),
      options_(options),
      backend_(std::move(backend)),
      plan_(plan_session(options_, *backend_)),
      table_(options_.architecture),
      weights_block_(reserve(plan_.weights)),
      gradients_block_(reserve(plan_.gradients)),
      moments_block_(reserve(plan_.optimizer)),
      activations_block_(reserve(plan_.activations)),
      scratch_block_(reserve(plan_.workspace)),
      cache_block_(reserve(plan_.kv_cache)),
      state_(training_state(weights_block_.get(), gradients_block_.get(), moments_block_.get(),
                            table_.buffer_size())),
      activations_(lay_out<Activations>(activations_block_.get(), options_)),
      scratch_(lay_out<Scratch>(scratch_block_.get(), options_, *backend_)),
      cache_(lay_out<KvCache>(cache_block_.get(), options_)),
      decoder_(*backend_, options_, table_, activations_, scratch_, state_.weights, state_.gradients,
               closing_),
      generator_(*backend_, options_, table_, decoder_, activations_, scratch_, cache_, state_.weights) {
  backend_->zero(state_.weights, static_cast<size_t>(plan_.weights));
  if (options_.trainable) {
    backend_->zero(state_.gradients, static_cast<size_t>(plan_.gradients));
    backend_->zero(state_.moment1, static_cast<size_t>(plan_.optimizer));
    snapshot_ = std::make_unique<Snapshot>(table_);
  }
}

Engine::Block Engine::reserve(int64_t bytes) {
  return {bytes == 0 ? nullptr : backend_->allocate(static_cast<size_t>(bytes)), Release{backend_.get()}};
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
  initialise_weights(*backend_, state_.weights, table_, options_.architecture.num_layers, seed, std,
                     options_.threads);
}

void Engine::import_tensors(const std::vector<TensorSource>& sources) {
  for (const TensorSource& source : sources) (void)table_.find(source.name);  // all names before any change
  pending_ = false;
  for (const TensorSource& source : sources) import_tensor(*backend_, state_.weights, table_, source);
}

WrittenFile Engine::export_tensors(const std::string& path, std::span<const uint8_t> header,
                                   const std::vector<std::string>& names) {
  for (const std::string& name : names) (void)table_.find(name);  // all names before the file is made
  ChecksummedWriter writer(path);
  writer.write(header.data(), header.size());
  for (const std::string& name : names) export_tensor(*backend_, writer, state_.weights, table_.find(name));
  writer.finish();
  return {writer.bytes(), writer.crc()};
}

std::vector<float> Engine::read_tensor(const std::string& name, bool gradient) {
  if (gradient) require_trainable("readTensor");
  const Tensor& tensor = table_.find(name);
  std::vector<float> values(static_cast<size_t>(tensor.size));
  backend_->copy_to_host(values.data(), (gradient ? state_.gradients : state_.weights) + tensor.offset,
                         values.size() * sizeof(float));
  return values;
}

StepResult Engine::step(const StepOptions& o) {
  require_trainable("step");
  if (o.step < 1) throw std::invalid_argument("step: steps are counted from 1");
  pending_ = false;
  const int64_t size = table_.buffer_size();
  const double norm = std::sqrt(backend_->sum_of_squares(state_.gradients, size));
  const bool applied = std::isfinite(norm);
  if (applied) {
    // The small constant is PyTorch's: a clipped norm ends just below the bound.
    const double max_norm = static_cast<double>(o.max_grad_norm);
    const double scale = max_norm > 0.0 ? std::min(1.0, max_norm / (norm + 1e-6)) : 1.0;
    const double step = static_cast<double>(o.step);
    AdamWOptions options{o.learning_rate,
                         o.beta1,
                         o.beta2,
                         o.epsilon,
                         o.weight_decay,
                         static_cast<float>(1.0 - std::pow(static_cast<double>(o.beta1), step)),
                         static_cast<float>(1.0 - std::pow(static_cast<double>(o.beta2), step)),
                         static_cast<float>(scale)};
    const auto update = [&](int64_t begin, int64_t end) {
      backend_->adamw(state_.weights + begin, state_.moment1 + begin, state_.moment2 + begin,
                      state_.gradients + begin, end - begin, options);
    };
    update(0, table_.vectors_begin());
    options.weight_decay = 0.0f;
    update(table_.vectors_begin(), size);
  }
  clear_gradients();
  return {norm, applied};
}

void Engine::clear_gradients() {
  require_trainable("clearGradients");
  pending_ = false;
  backend_->zero(state_.gradients, static_cast<size_t>(plan_.gradients));
  state_.has_gradients = false;
}

void Engine::take_snapshot() {
  require_trainable("snapshot");
  snapshot_->take(*backend_, state_);
}

void Engine::restore_snapshot() {
  require_trainable("restoreSnapshot");
  snapshot_->restore(*backend_, state_);
  pending_ = false;
}

void Engine::pin_snapshot() {
  require_trainable("writeSnapshot");
  snapshot_->pin();
}

void Engine::read_snapshot(const std::string& path) {
  require_trainable("readSnapshot");
  snapshot_->read(path);
  snapshot_->restore(*backend_, state_);
  pending_ = false;
}

}  // namespace anneal
