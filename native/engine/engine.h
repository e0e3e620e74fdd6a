// One model with its gradients, optimiser state and buffers, and everything that is done with it. Plain
// synchronous calls, all from one thread (write_snapshot excepted); the binding gives each session a thread.
//
// The contract of every call is documented in src/native/addon.ts. Bad arguments are std::invalid_argument
// and leave the engine as it was.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "backend/backend.h"
#include "engine/batch.h"
#include "engine/buffers.h"
#include "engine/decoder.h"
#include "engine/generator.h"
#include "engine/optimizer.h"
#include "engine/options.h"
#include "engine/parameter_set.h"
#include "engine/snapshot.h"
#include "model/tensors.h"
#include "model/weights_io.h"

namespace anneal {

/// Arrays of what the batch did not ask for are empty.
struct Scores {
  std::vector<float> log_probs{}, entropies{}, log_z{}, values{};
};

/// Gradient of the loss with respect to Scores; empty arrays are zeros.
struct ScoreGradients {
  std::vector<float> log_probs{}, entropies{}, log_z{}, values{};
};

/// The most likely tokens of each scored row, [N, k], best first.
struct TopTokens {
  std::vector<int32_t> ids;
  std::vector<float> log_probs;
};

class Engine {
 public:
  /// Reserves everything. `closing` ends a running call between two layers with CodedError "closed".
  Engine(std::unique_ptr<Backend> backend, const SessionOptions& options, const std::atomic<bool>& closing);

  [[nodiscard]] const ModelTable& table() const { return table_; }
  [[nodiscard]] const SessionPlan& plan() const { return plan_; }

  void init_weights(uint64_t seed, float std);
  void import_tensors(const std::vector<TensorSource>& sources);
  WrittenFile export_tensors(const std::string& path, std::span<const uint8_t> header,
                             const std::vector<std::string>& names);
  std::vector<float> read_tensor(const std::string& name, bool gradient);

  Scores forward(Batch batch);
  void backward(const ScoreGradients& gradients);
  Scores forward_backward(Batch batch, const std::vector<float>& weights);
  StepResult step(const StepOptions& options);
  void set_parameter_groups(const std::vector<ParameterGroup>& groups);
  /// Drops the accumulated gradients.
  void clear_gradients();
  std::vector<float> logits(Batch batch);
  TopTokens top_log_probs(Batch batch, int64_t k);
  std::vector<Completion> generate(const std::vector<std::vector<int32_t>>& prompts,
                                   const SamplingOptions& options, const TokenCallback& on_token,
                                   const std::atomic<bool>& cancelled);

  void take_snapshot();
  void restore_snapshot();
  /// Two steps: pin on the engine's thread in the order of the calls, then write on any other.
  void pin_snapshot();
  WrittenFile write_snapshot(const std::string& path) { return snapshot_->write(path, closing_); }
  void read_snapshot(const std::string& path);

 private:
  void require_trainable(const char* call) const;
  /// Validates, uploads and runs the layers; the scored rows end in scored_normed.
  void run_layers(Batch&& batch);
  [[nodiscard]] BatchLayout layout() const;
  [[nodiscard]] LmHead lm_head() const;
  Scores read_scores();
  /// From scratch.d_values: the scalar head's own gradient, and its part of d_scored.
  void score_backward(bool accumulate);

  const std::atomic<bool>& closing_;
  const SessionOptions options_;
  const std::unique_ptr<Backend> backend_;
  const SessionPlan plan_;
  const ModelTable table_;
  ParameterSet base_;
  const DeviceMemory activations_memory_, scratch_memory_, cache_memory_;
  Activations activations_;
  Scratch scratch_;
  KvCache cache_;
  Decoder decoder_;
  Generator generator_;
  std::unique_ptr<Snapshot> snapshot_;
  Batch batch_;           // of the last forward
  bool pending_ = false;  // its activations are there for backward
};

}  // namespace anneal
