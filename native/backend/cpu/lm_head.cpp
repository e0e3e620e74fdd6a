// The language-model head fused with log-softmax.
//
// The scored rows are taken in chunks: logits of a chunk [rows, V] by one matrix product, softmax row by row
// while a row is in the cache, gradients by two more products. Memory is one chunk, whatever N is, and what
// the caller gives for logits to be kept in from a forward to its backward, which otherwise computes them
// again: the same products, so the same bits either way.
#include <algorithm>
#include <cmath>

#include "backend/cpu/cpu_backend.h"
#include "backend/cpu/gemm.h"
#include "backend/cpu/parallel.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "backend/cpu/lm_head.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "backend/cpu/simd-inl.h"

#ifndef ANNEAL_CPU_LM_HEAD_TYPES
#define ANNEAL_CPU_LM_HEAD_TYPES
namespace anneal::cpu {
struct RowScore {
  double max, log_sum;  // log_z is their sum
  float entropy;
  float inverse_sum;  // softmax_j = e^(z_j - max) * inverse_sum
  float mean;         // of the logits
  float log_sum_squares;
  [[nodiscard]] float log_z() const { return static_cast<float>(max + log_sum); }
  /// Of an id whose logit is z.
  [[nodiscard]] float log_prob(float z) const {
    return static_cast<float>(static_cast<double>(z) - max - log_sum);
  }
};
/// The loss's gradients; `log_prob` is the sum over the targets.
struct RowGradient {
  float log_prob, entropy, log_z;
};
}  // namespace anneal::cpu
#endif

HWY_BEFORE_NAMESPACE();
namespace anneal::cpu::HWY_NAMESPACE {

/// The largest logit of a row.
float row_max(const float* z, int64_t V) {
  const F32 d;
  // The tail overlaps what was read before; a maximum does not mind. Rows shorter than a vector read one by
  // one.
  float max = z[0];
  if (V >= kLanes) {
    Vec max0 = hn::LoadU(d, z + V - kLanes);
    Vec max1 = max0;
    int64_t i = 0;
    for (; i + 2 * kLanes <= V; i += 2 * kLanes) {
      max0 = hn::Max(max0, hn::LoadU(d, z + i));
      max1 = hn::Max(max1, hn::LoadU(d, z + i + kLanes));
    }
    if (i + kLanes <= V) max0 = hn::Max(max0, hn::LoadU(d, z + i));
    max = hn::GetLane(hn::MaxOfLanes(d, hn::Max(max0, max1)));
  } else {
    for (int64_t i = 1; i < V; ++i) max = std::max(max, z[i]);
  }
  return max;
}

/// Scores one row of logits whose largest is `max`. With `keep_exp`, z is left as e^(z - max).
RowScore score_row(float* z, int64_t V, float max, bool keep_exp) {
  const F32 d;
  // With s = z - max: sums of e^s, e^s s, e^s e^s and z, by blocks in float lanes, the blocks in double.
  constexpr int64_t kBlock = 4096;
  const Vec shift = hn::Set(d, max);
  double sum = 0.0;
  double weighted = 0.0;
  double squares = 0.0;
  double total = 0.0;
  for (int64_t block = 0; block < V; block += kBlock) {
    const int64_t end = std::min(V, block + kBlock);
    Vec sum_v = hn::Zero(d);
    Vec weighted_v = hn::Zero(d);
    Vec squares_v = hn::Zero(d);
    Vec total_v = hn::Zero(d);
    int64_t i = block;
    for (; i + kLanes <= end; i += kLanes) {
      const Vec logit = hn::LoadU(d, z + i);
      const Vec s = hn::Sub(logit, shift);
      const Vec e = exp(s);
      if (keep_exp) hn::StoreU(e, d, z + i);
      sum_v = hn::Add(sum_v, e);
      weighted_v = hn::MulAdd(e, s, weighted_v);
      squares_v = hn::MulAdd(e, e, squares_v);
      total_v = hn::Add(logit, total_v);
    }
    if (i < end) {
      const auto live = hn::FirstN(d, static_cast<size_t>(end - i));
      const Vec logit = load_tail(z + i, end - i);
      const Vec s = hn::IfThenElseZero(live, hn::Sub(logit, shift));
      const Vec e = hn::IfThenElseZero(live, exp(s));
      if (keep_exp) store_tail(e, z + i, end - i);
      sum_v = hn::Add(sum_v, e);
      weighted_v = hn::MulAdd(e, s, weighted_v);
      squares_v = hn::MulAdd(e, e, squares_v);
      total_v = hn::Add(logit, total_v);
    }
    sum += static_cast<double>(sum_lanes(sum_v));
    weighted += static_cast<double>(sum_lanes(weighted_v));
    squares += static_cast<double>(sum_lanes(squares_v));
    total += static_cast<double>(sum_lanes(total_v));
  }
  const double log_sum = std::log(sum);
  return {.max = static_cast<double>(max),
          .log_sum = log_sum,
          .entropy = static_cast<float>(log_sum - weighted / sum),
          .inverse_sum = static_cast<float>(1.0 / sum),
          .mean = static_cast<float>(total / static_cast<double>(V)),
          .log_sum_squares = static_cast<float>(std::log(squares) - 2.0 * log_sum)};
}

/// z = dz without the targets' own terms, for a row of logits whose log_z and entropy are known (see
/// lm_head_backward in backend.h).
void gradient_row(float* z, int64_t V, float log_z, float entropy, const RowGradient& g) {
  const F32 d;
  const Vec log_zv = hn::Set(d, log_z);
  // dz = p (d_log_z - d_log_prob - d_entropy (log p + h)) + d_log_prob [j = target]
  const Vec constant = hn::Set(d, g.log_z - g.log_prob - g.entropy * entropy);
  const Vec d_entropy = hn::Set(d, g.entropy);
  for_each_vector(0, V, [=](auto load, auto store) HWY_ATTR {
    const Vec log_p = hn::Sub(load(z), log_zv);
    store(hn::Mul(exp(log_p), hn::NegMulAdd(d_entropy, log_p, constant)), z);
  });
}

void scale_row(float* z, int64_t V, float factor) {
  const Vec f = hn::Set(F32(), factor);
  for_each_vector(0, V, [=](auto load, auto store) HWY_ATTR { store(hn::Mul(load(z), f), z); });
}

}  // namespace anneal::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace anneal::cpu {

HWY_EXPORT(row_max);
HWY_EXPORT(score_row);
HWY_EXPORT(gradient_row);
HWY_EXPORT(scale_row);

namespace {

/// The most rows of a chunk. More rows read the head's weights and add to their gradient fewer times; fewer
/// rows keep the chunk nearer to the cache.
int64_t max_chunk_rows(int64_t V) {
  constexpr int64_t kChunkFloats = int64_t{16} << 20;
  return std::max<int64_t>(128, kChunkFloats / V);
}

/// Calls f(first row, rows) for each chunk; the chunks are about equally long.
template <class F>
void for_each_chunk(int64_t N, int64_t V, const F& f) {
  const int64_t chunks = (N + max_chunk_rows(V) - 1) / max_chunk_rows(V);
  for (int64_t chunk = 0; chunk < chunks; ++chunk) {
    const int64_t first = N * chunk / chunks;
    f(first, N * (chunk + 1) / chunks - first);
  }
}

/// Calls f(row) for the rows of a chunk, over the threads.
template <class F>
void for_each_row(int threads, int64_t rows, int64_t V, const F& f) {
  parallel_ranges(threads, rows, (1 << 13) / std::max<int64_t>(1, V), [&](int64_t begin, int64_t end, int) {
    for (int64_t row = begin; row < end; ++row) f(row);
  });
}

int64_t align(int64_t floats) { return (floats + 15) / 16 * 16; }

/// 1 where z[id] is the largest logit of the row and no smaller id has the same.
float hit(const float* z, int32_t id, float max) {
  return z[id] == max && std::find(z, z + id, max) == z + id ? 1.0f : 0.0f;
}

/// Notes what is told of row n as a whole.
void note_row(const HeadScores& scores, int64_t n, const RowScore& score) {
  scores.entropy[n] = score.entropy;
  scores.log_z[n] = score.log_z();
  scores.mean_logit[n] = score.mean;
  scores.log_sum_squares[n] = score.log_sum_squares;
}

/// The update as rows from `first` on see it.
LowRank at_row(LowRank update, int64_t first) {
  update.dropout_row = first;
  return update;
}

/// Inserts a candidate into the `count` best so far, sorted best first, of which k are kept.
void insert_candidate(int32_t* ids, float* scores, int64_t& count, int64_t k, int32_t id, float score) {
  if (count == k && !(score > scores[k - 1])) return;
  int64_t place = count < k ? count++ : k - 1;
  for (; place > 0 && score > scores[place - 1]; --place) {
    scores[place] = scores[place - 1];
    ids[place] = ids[place - 1];
  }
  scores[place] = score;
  ids[place] = id;
}

/// Some rows and their memory: logits (where they are not kept), then u of each update, then scratch of one
/// update.
struct Chunk {
  Chunk(float* workspace, const LmHead& head, int64_t first_row, int64_t num_rows, KeptLogits kept)
      : first(first_row), rows(num_rows), logits(workspace) {
    if (kept != KeptLogits::kNone && first + rows <= head.kept_rows) {
      logits = head.kept_logits + first * head.vocab_size;
      ready = kept == KeptLogits::kRead;
    }
    float* next = workspace + align(rows * head.vocab_size);
    for (const LowRank& update : head.updates) {
      u.push_back(next);
      next += align(rows * update.rank);
    }
    scratch = next;
  }
  int64_t first, rows;
  float* logits;
  bool ready = false;  // the logits are there already, divided by the temperature
  std::vector<float*> u;
  float* scratch;
};

}  // namespace

size_t CpuBackend::lm_head_workspace(const LmHead& head, int64_t N) const {
  const int64_t rows = std::min(N, max_chunk_rows(head.vocab_size));
  int64_t floats = align(rows * head.vocab_size);
  size_t scratch = 0;
  for (const LowRank& update : head.updates) {
    floats += align(rows * update.rank);
    scratch = std::max(scratch, low_rank_workspace(update, rows));
  }
  return static_cast<size_t>(floats) * sizeof(float) + scratch;
}

template <class F>
void CpuBackend::for_each_logits(const LmHead& head, KeptLogits kept, const float* hidden, int64_t N,
                                 float* workspace, const F& f) {
  const int64_t V = head.vocab_size;
  const int64_t D = head.hidden_size;
  for_each_chunk(N, V, [&](int64_t first, int64_t rows) {
    const Chunk chunk(workspace, head, first, rows, kept);
    const float* x = hidden + first * D;
    if (!chunk.ready) linear_forward(chunk.logits, x, head.w, nullptr, rows, D, V, V, false);
    for (size_t i = 0; i < head.updates.size(); ++i) {
      low_rank_forward(chunk.ready ? nullptr : chunk.logits, chunk.u[i], x, at_row(head.updates[i], first),
                       rows, V, chunk.scratch);
    }
    f(chunk);
  });
}

void CpuBackend::lm_head_chunk_backward(float* d_hidden, const float* hidden, const LmHead& head,
                                        int64_t first, int64_t rows, const float* dz, float* const* u,
                                        float* scratch) {
  const int64_t V = head.vocab_size;
  const int64_t D = head.hidden_size;
  float* dx = d_hidden + first * D;
  const float* x = hidden + first * D;
  linear_backward_input(dx, dz, head.w, rows, D, V, V, false);
  if (head.dw != nullptr) linear_backward_weight(head.dw, nullptr, dz, x, rows, D, V, V);
  for (size_t i = 0; i < head.updates.size(); ++i) {
    low_rank_backward(dx, dz, x, u[i], at_row(head.updates[i], first), rows, V, scratch);
  }
}

void CpuBackend::lm_head_logits(float* logits, const float* hidden, const LmHead& head, int64_t B,
                                float* workspace) {
  const int64_t V = head.vocab_size;
  linear_forward(logits, hidden, head.w, nullptr, B, head.hidden_size, V, V, false);
  for (const LowRank& update : head.updates) {
    low_rank_forward(logits, workspace, hidden, update, B, V, workspace + align(B * update.rank));
  }
}

void CpuBackend::lm_head_forward(const HeadScores& scores, const float* hidden, const LmHead& head,
                                 const int32_t* targets, int64_t N, float* workspace) {
  const int64_t V = head.vocab_size;
  const int64_t K = head.targets_per_row;
  for_each_logits(head, KeptLogits::kWrite, hidden, N, workspace, [&](const Chunk& chunk) {
    for_each_row(threads_, chunk.rows, V, [&](int64_t row) {
      const int64_t n = chunk.first + row;
      float* z = chunk.logits + row * V;
      if (head.temperature != 1.0f) HWY_DYNAMIC_DISPATCH(scale_row)(z, V, 1.0f / head.temperature);
      const float max = HWY_DYNAMIC_DISPATCH(row_max)(z, V);
      const RowScore score = HWY_DYNAMIC_DISPATCH(score_row)(z, V, max, false);
      for (int64_t k = n * K; k < (n + 1) * K; ++k) {
        scores.log_prob[k] = score.log_prob(z[targets[k]]);
        scores.hit[k] = hit(z, targets[k], max);
      }
      note_row(scores, n, score);
    });
  });
}

void CpuBackend::lm_head_backward(float* d_hidden, const float* hidden, const LmHead& head,
                                  const int32_t* targets, const float* log_z, const float* entropy,
                                  const float* d_log_prob, const float* d_entropy, const float* d_log_z,
                                  int64_t N, float* workspace) {
  const int64_t V = head.vocab_size;
  const int64_t K = head.targets_per_row;
  const float inverse_temperature = 1.0f / head.temperature;
  for_each_logits(head, KeptLogits::kRead, hidden, N, workspace, [&](const Chunk& chunk) {
    for_each_row(threads_, chunk.rows, V, [&](int64_t row) {
      const int64_t n = chunk.first + row;
      float* z = chunk.logits + row * V;
      const bool undivided = !chunk.ready && head.temperature != 1.0f;
      if (undivided) HWY_DYNAMIC_DISPATCH(scale_row)(z, V, inverse_temperature);
      // The gradient of the divided logits is divided as well.
      RowGradient gradient{0.0f, d_entropy != nullptr ? d_entropy[n] * inverse_temperature : 0.0f,
                           d_log_z != nullptr ? d_log_z[n] * inverse_temperature : 0.0f};
      if (d_log_prob != nullptr) {
        for (int64_t k = 0; k < K; ++k) gradient.log_prob += d_log_prob[n * K + k] * inverse_temperature;
      }
      HWY_DYNAMIC_DISPATCH(gradient_row)(z, V, log_z[n], entropy[n], gradient);
      if (d_log_prob == nullptr) return;
      for (int64_t k = 0; k < K; ++k) z[targets[n * K + k]] += d_log_prob[n * K + k] * inverse_temperature;
    });
    lm_head_chunk_backward(d_hidden, hidden, head, chunk.first, chunk.rows, chunk.logits, chunk.u.data(),
                           chunk.scratch);
  });
}

void CpuBackend::lm_head_forward_backward(const HeadScores& scores, float* d_hidden, const float* hidden,
                                          const LmHead& head, const int32_t* targets, const float* weights,
                                          int64_t N, float* workspace) {
  const int64_t V = head.vocab_size;
  const int64_t K = head.targets_per_row;
  const float inverse_temperature = 1.0f / head.temperature;
  for_each_logits(head, KeptLogits::kNone, hidden, N, workspace, [&](const Chunk& chunk) {
    for_each_row(threads_, chunk.rows, V, [&](int64_t row) {
      const int64_t n = chunk.first + row;
      const int32_t* target = targets + n * K;
      const float* weight = weights + n * K;
      float* z = chunk.logits + row * V;
      if (head.temperature != 1.0f) HWY_DYNAMIC_DISPATCH(scale_row)(z, V, inverse_temperature);
      float* log_prob = scores.log_prob + n * K;
      const float max = HWY_DYNAMIC_DISPATCH(row_max)(z, V);
      float sum = 0.0f;
      for (int64_t k = 0; k < K; ++k) {
        log_prob[k] = z[target[k]];  // the logit, until the row has been summed
        scores.hit[n * K + k] = hit(z, target[k], max);
        sum += weight[k];
      }
      const RowScore score = HWY_DYNAMIC_DISPATCH(score_row)(z, V, max, true);
      note_row(scores, n, score);
      HWY_DYNAMIC_DISPATCH(scale_row)(z, V, sum * score.inverse_sum * inverse_temperature);
      for (int64_t k = 0; k < K; ++k) {
        log_prob[k] = score.log_prob(log_prob[k]);
        z[target[k]] -= weight[k] * inverse_temperature;
      }
    });
    lm_head_chunk_backward(d_hidden, hidden, head, chunk.first, chunk.rows, chunk.logits, chunk.u.data(),
                           chunk.scratch);
  });
}

void CpuBackend::lm_head_top(int32_t* ids, float* log_probs, const float* hidden, const LmHead& head,
                             int64_t k, int64_t N, float* workspace) {
  const int64_t V = head.vocab_size;
  for_each_logits(head, KeptLogits::kNone, hidden, N, workspace, [&](const Chunk& chunk) {
    for_each_row(threads_, chunk.rows, V, [&](int64_t row) {
      const int64_t n = chunk.first + row;
      float* z = chunk.logits + row * V;
      if (head.temperature != 1.0f) HWY_DYNAMIC_DISPATCH(scale_row)(z, V, 1.0f / head.temperature);
      const float max = HWY_DYNAMIC_DISPATCH(row_max)(z, V);
      const RowScore score = HWY_DYNAMIC_DISPATCH(score_row)(z, V, max, false);
      int64_t count = 0;
      for (int64_t j = 0; j < V; ++j) {
        insert_candidate(ids + n * k, log_probs + n * k, count, k, static_cast<int32_t>(j), z[j]);
      }
      for (int64_t i = 0; i < k; ++i) log_probs[n * k + i] = score.log_prob(log_probs[n * k + i]);
    });
  });
}

}  // namespace anneal::cpu
#endif
