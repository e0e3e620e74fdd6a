// Generation by passes: each computes the rows that the scheduler picks, appends their keys and values to the
// cache, and draws the next tokens of the samples whose last row was among them.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "engine/buffers.h"
#include "engine/decoder.h"
#include "engine/generation.h"
#include "engine/options.h"
#include "engine/scheduler.h"

namespace anneal {

class Generator {
 public:
  /// All references outlive the generator.
  Generator(Backend& backend, const SessionOptions& options, Decoder& decoder, const Activations& activations,
            const Scratch& scratch, const KvCache& cache);

  /// The bytes of the vocabulary's tokens, for constraints.
  void set_vocabulary(std::shared_ptr<const TokenTrie> trie) { trie_ = std::move(trie); }
  /// Ids rise. Throws std::invalid_argument if the request is not valid.
  void submit(int64_t id, GenerationRequest request);
  void cancel(int64_t id) { scheduler_.cancel(id, updates_); }
  /// One pass, if there is anything to do; what happened since the last call. `use_adapter` makes the decoder
  /// use the weights of the pass.
  std::vector<GenerationUpdate> advance(const std::function<void(int32_t)>& use_adapter);
  /// The weights have changed: rows in the cache are computed again before they are used.
  void forget_rows() { scheduler_.forget_rows(); }

 private:
  /// The rows of a pass as the backend wants them.
  struct Rows {
    explicit Rows(const Pass& pass);
    [[nodiscard]] PagedLayout layout() const;
    std::vector<int32_t> tokens, positions, cache_rows, lengths, page_starts, pages;
    std::vector<int32_t> group_starts, shared_pages;

   private:
    void add_chunk(const Chunk& chunk, const Chunk* before);
  };
  /// A sample that draws from a row of the pass.
  struct Drawing {
    int32_t row;
    RunningSample* sample;
  };

  void run_layers(const Rows& rows);
  void draw(const std::vector<Drawing>& drawings);
  /// How the sample draws from a row of logits; false if its output is complete before any draw.
  bool sample_row(RunningSample& sample, int32_t logits_row, SampleRow& row);
  void book(RunningSample& sample, const Draw& draw);
  void end(RunningSample& sample, Finish finish);

  Backend& backend_;
  const SessionOptions& options_;
  Decoder& decoder_;
  const Activations& activations_;
  const Scratch& scratch_;
  const KvCache& cache_;
  const AttentionShape shape_;
  Scheduler scheduler_;
  std::shared_ptr<const TokenTrie> trie_;
  std::vector<GenerationUpdate> updates_;
};

}  // namespace anneal
