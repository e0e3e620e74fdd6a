// Who computes what in the next pass of generation, and in which pages of the cache.
//
// A request asks for several samples of one prompt. The first of them that has not ended, the leader,
// computes the prompt; when it is computed all draw their first token from it and the others take its pages
// as theirs (copied when written to). Samples run in the order of requests and samples, as many side by side
// as there are slots. A pass takes the one new row of each sample that is decoding, and beside them a bounded
// number of rows of prompts, so that a long prompt does not hold up the others.
//
// When no page is left for a row, the youngest sample gives up its pages, and computes its rows again once
// there is room: an older sample always gets on, so all end. Since a row's bits do not depend on the rows
// beside it, none of this shows in the result. New weights make all rows invalid: they are given up the same
// way (`forget_rows`).
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <vector>

#include "engine/constraint.h"
#include "engine/generation.h"
#include "engine/kv_pages.h"
#include "engine/options.h"

namespace anneal {

struct RunningRequest;

/// One completion under way.
struct RunningSample {
  RunningRequest* request = nullptr;
  int32_t index = 0;
  std::vector<int32_t> tokens;  // drawn so far
  std::vector<int32_t> pages;   // of its rows
  int64_t length = 0;           // rows that are in the cache
  int32_t state = 0;            // of the constraint
  std::vector<int32_t> seen;    // different tokens of prompt and answer; empty without a repetition penalty
  std::vector<bool> is_seen;
  bool finished = false;

  /// Rows of prompt and answer.
  [[nodiscard]] int64_t rows() const;
  /// The token of a row.
  [[nodiscard]] int32_t token(int64_t row) const;
  /// Marks a token as seen.
  void observe(int32_t token);
};

struct RunningRequest {
  int64_t id = 0;
  GenerationRequest asked;
  int64_t limit = 0;  // new tokens of a sample
  std::unique_ptr<Constraint> constraint;
  std::vector<RunningSample> samples;
};

/// Rows [first, first + count) of a sample, to be computed.
struct Chunk {
  RunningSample* sample = nullptr;
  int64_t first = 0;
  int64_t count = 0;
};

struct PageCopy {
  int32_t to, from;
};

/// The rows of one pass. Copies of pages come first, in their order.
struct Pass {
  int32_t adapter = -1;
  std::vector<PageCopy> copies;
  std::vector<Chunk> chunks;  // decoding samples first
};

class Scheduler {
 public:
  /// `options` outlives the scheduler.
  explicit Scheduler(const SessionOptions& options);

  /// Ids rise. `trie` may be null if the request has no constraint.
  void submit(int64_t id, GenerationRequest request, std::shared_ptr<const TokenTrie> trie);
  /// Ends what runs of a request; an unknown id is one that has ended.
  void cancel(int64_t id, std::vector<GenerationUpdate>& updates);
  [[nodiscard]] bool idle() const { return requests_.empty(); }

  /// The next pass, with pages for its rows; no chunks if there is nothing to do.
  Pass plan();
  /// The rows of a chunk are in the cache. True if the sample's next token is to be drawn from the last one.
  bool computed(const Chunk& chunk);
  /// Samples that draw from the last row of a sample: itself, and after a fresh prompt its siblings, which
  /// take its pages.
  std::vector<RunningSample*> drawing(RunningSample& sample);
  /// The sample has ended: its pages are free.
  void finish(RunningSample& sample);
  /// Forgets requests that have ended. Pointers to their samples are invalid from here on.
  void sweep();
  /// All rows in the cache are invalid.
  void forget_rows();

 private:
  [[nodiscard]] std::vector<RunningSample*> candidates();
  void plan_adapter(const std::vector<RunningSample*>& candidates, Pass& pass);
  /// Whether a sample may compute rows now; one that starts again takes what its leader has of the prompt.
  bool may_start(RunningSample& sample);
  [[nodiscard]] bool has_room_to_start(const RunningSample& sample) const;
  /// Pages for up to `count` rows more; gives how many rows have them.
  int64_t reserve(RunningSample& sample, int64_t count, Pass& pass);
  /// A free page, if need be by evicting samples younger than `sample`; -1 if there is none.
  int32_t page_for(const RunningSample& sample, Pass& pass);
  void give_up(RunningSample& sample);

  const SessionOptions& options_;
  const int64_t pass_rows_;
  PagePool pool_;
  std::map<int64_t, std::unique_ptr<RunningRequest>> requests_;
  int32_t last_adapter_ = -1;
};

}  // namespace anneal
