// Lock-step generation: up to `generationSlots` sequences run side by side, one new token each a pass; a
// sequence that ends hands its slot to the next prompt.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "engine/buffers.h"
#include "engine/decoder.h"
#include "engine/options.h"
#include "engine/sampler.h"

namespace anneal {

enum class Finish { kStop, kLength, kCancelled };

/// Fields as in src/native/addon.ts.
struct Completion {
  std::vector<int32_t> tokens;
  std::vector<float> log_probs;
  Finish finish = Finish::kCancelled;
};

/// Called on the engine thread as tokens are drawn.
using TokenCallback = std::function<void(int64_t sequence, int32_t token)>;

class Generator {
 public:
  /// All references outlive the generator.
  Generator(Backend& backend, const SessionOptions& options, Decoder& decoder, const Activations& activations,
            const Scratch& scratch, const KvCache& cache);

  /// One completion a prompt, in their order. `cancelled` ends what still runs between two tokens. Throws
  /// std::invalid_argument if a prompt is empty, has a bad id or leaves no room.
  std::vector<Completion> run(const std::vector<std::vector<int32_t>>& prompts,
                              const SamplingOptions& options, const TokenCallback& on_token,
                              const std::atomic<bool>& cancelled);

 private:
  struct Sequence {
    int64_t index;  // of its prompt
    int32_t slot;
    int32_t length;  // rows in the cache
    int32_t next;    // token drawn last, not in the cache yet
    int64_t limit;   // new tokens at most
    Sampler sampler;
  };
  /// A row to compute: a token of a sequence at a position (its row of the cache).
  struct Rows {
    std::vector<int32_t> tokens, slots, positions;
  };

  void check(const std::vector<std::vector<int32_t>>& prompts) const;
  /// Fills caches with the prompts of `group`; ends with their last rows normalised in scored_normed.
  void prefill(std::span<Sequence> group, const std::vector<std::vector<int32_t>>& prompts);
  /// One row for each running sequence.
  void advance(std::span<Sequence> running);
  void upload(const Rows& rows);
  /// Rows of whole sequences from position 0, laid end to end.
  void pass_packed(const Rows& rows, const std::vector<int32_t>& cu_seqlens);
  /// Rows anywhere: each reads its sequence's cache up to itself.
  void pass_cached(const Rows& rows);
  void append(int64_t layer, const LayerActivations& a, int64_t count);
  /// Logits of the given rows of the last pass, then a token for each sequence.
  std::vector<Draw> draw(std::span<Sequence> sequences, const std::vector<int32_t>& rows,
                         const std::vector<Completion>& completions);

  Backend& backend_;
  const SessionOptions& options_;
  Decoder& decoder_;
  const Activations& activations_;
  const Scratch& scratch_;
  const KvCache& cache_;
  const AttentionShape shape_;
  std::vector<float> logits_;
};

}  // namespace anneal
