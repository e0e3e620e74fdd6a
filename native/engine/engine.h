// One model with its gradients, optimiser state and buffers, and everything that is done with it. Plain
// synchronous calls, all from one thread (write_snapshot excepted); the binding gives each session a thread.
//
// The contract of every call is documented in src/native/addon.ts. Bad arguments are std::invalid_argument
// and leave the engine as it was.
#pragma once

#include <atomic>
#include <cstdint>
#include <deque>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "backend/backend.h"
#include "engine/adapter.h"
#include "engine/batch.h"
#include "engine/buffers.h"
#include "engine/decoder.h"
#include "engine/generator.h"
#include "engine/optimizer.h"
#include "engine/options.h"
#include "engine/parameter_set.h"
#include "engine/snapshot.h"
#include "engine/weights.h"
#include "model/tensors.h"
#include "model/weights_io.h"

namespace anneal {

/// Arrays of what the batch did not ask for are empty.
struct Scores {
  std::vector<float> log_probs{}, entropies{}, log_z{}, values{};
  std::vector<float> hits{}, mean_logits{}, log_sum_squares{};  // these have no gradient
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
  /// Index of an adapter where a call takes one: this means the base.
  static constexpr int64_t kBase = -1;
  /// Adds a frozen adapter, of zeros, to a session in which nothing is trained; gives its index.
  int64_t add_adapter(const AdapterOptions& options);
  [[nodiscard]] const TensorTable& table_of(int64_t adapter) const { return set_of(adapter).table(); }

  void init_weights(uint64_t seed, float std);
  void init_adapter(int64_t adapter, uint64_t seed, AdapterInit kind);
  void merge_adapter(int64_t adapter);
  void import_tensors(const std::vector<TensorSource>& sources, int64_t adapter = kBase);
  WrittenFile export_tensors(const std::string& path, std::span<const uint8_t> header,
                             const std::vector<std::string>& names, int64_t adapter = kBase);
  std::vector<float> read_tensor(const std::string& name, bool gradient, int64_t adapter = kBase);

  Scores forward(Batch batch);
  void backward(const ScoreGradients& gradients);
  Scores forward_backward(Batch batch, const std::vector<float>& weights);
  StepResult step(const StepOptions& options, int64_t adapter = kBase);
  void set_parameter_groups(const std::vector<ParameterGroup>& groups, int64_t adapter = kBase);
  /// Drops the accumulated gradients.
  void clear_gradients();
  std::vector<float> logits(Batch batch);
  TopTokens top_log_probs(Batch batch, int64_t k);
  void set_vocabulary(std::shared_ptr<const TokenTrie> trie) { generator_.set_vocabulary(std::move(trie)); }
  /// Ids rise.
  void submit_generation(int64_t id, GenerationRequest request) { generator_.submit(id, std::move(request)); }
  void cancel_generation(int64_t id) { generator_.cancel(id); }
  std::vector<GenerationUpdate> advance_generations();

  void take_snapshot();
  void restore_snapshot();
  /// Two steps: pin on the engine's thread in the order of the calls, then write on any other.
  void pin_snapshot();
  WrittenFile write_snapshot(const std::string& path) { return snapshot_->write(path, closing_); }
  void read_snapshot(const std::string& path);

 private:
  [[nodiscard]] ParameterSet& set_of(int64_t adapter) const;
  /// The same; throws if it is frozen. `call` is for the message.
  [[nodiscard]] ParameterSet& trained_set(const char* call, int64_t adapter) const;
  void require_snapshots(const char* call) const;
  /// To be called when any weights have changed.
  void weights_changed();
  /// Makes the decoder use an adapter, with its row lengths up to date.
  void use_adapter(int64_t adapter, std::optional<uint64_t> dropout_seed);
  void require_backward(const char* call) const;
  void mark_gradients() const;
  /// Validates, uploads and runs the layers; the scored rows end in scored_normed.
  void run_layers(Batch&& batch);
  [[nodiscard]] BatchLayout layout() const;
  [[nodiscard]] LmHead lm_head() const;
  Scores read_scores();
  /// From scratch.d_values: the scalar head's own gradient, and its part of d_scored.
  void score_backward(bool accumulate);

  const std::atomic<bool>& closing_;
  SessionOptions options_;
  const std::unique_ptr<Backend> backend_;
  SessionPlan plan_;
  const ModelTable table_;
  const std::unique_ptr<ParameterSet> base_;
  std::vector<std::unique_ptr<Adapter>> adapters_;
  std::deque<Weights> weights_;  // the base alone, then under each adapter
  DeviceMemory activations_memory_, scratch_memory_;
  const DeviceMemory cache_memory_;
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
