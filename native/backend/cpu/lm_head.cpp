// The language-model head fused with log-softmax.
//
// The scored rows are taken in chunks: logits of a chunk [rows, V] by one matrix product, softmax row by row
// while a row is in the cache, gradients by two more products. Memory is one chunk, whatever N is.
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
  float log_prob, entropy, log_z;
  float inverse_sum;  // softmax_j = e^(z_j - max) * inverse_sum
};
struct RowGradient {
  float log_prob, entropy, log_z;  // the loss's gradients
};
}  // namespace anneal::cpu
#endif

HWY_BEFORE_NAMESPACE();
namespace anneal::cpu::HWY_NAMESPACE {

/// Scores one row of logits. With `keep_exp`, z is left as e^(z - max).
RowScore score_row(float* z, int64_t V, int32_t target, bool keep_exp) {
  const F32 d;
  const float z_target = z[target];
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

  // Sums of e and e * (z - max), by blocks in float lanes, the blocks in double.
  constexpr int64_t kBlock = 4096;
  const Vec shift = hn::Set(d, max);
  double sum = 0.0;
  double weighted = 0.0;
  for (int64_t block = 0; block < V; block += kBlock) {
    const int64_t end = std::min(V, block + kBlock);
    Vec sum_v = hn::Zero(d);
    Vec weighted_v = hn::Zero(d);
    int64_t i = block;
    for (; i + kLanes <= end; i += kLanes) {
      const Vec s = hn::Sub(hn::LoadU(d, z + i), shift);
      const Vec e = exp(s);
      if (keep_exp) hn::StoreU(e, d, z + i);
      sum_v = hn::Add(sum_v, e);
      weighted_v = hn::MulAdd(e, s, weighted_v);
    }
    if (i < end) {
      const auto live = hn::FirstN(d, static_cast<size_t>(end - i));
      const Vec s = hn::IfThenElseZero(live, hn::Sub(load_tail(z + i, end - i), shift));
      const Vec e = hn::IfThenElseZero(live, exp(s));
      if (keep_exp) store_tail(e, z + i, end - i);
      sum_v = hn::Add(sum_v, e);
      weighted_v = hn::MulAdd(e, s, weighted_v);
    }
    sum += static_cast<double>(sum_lanes(sum_v));
    weighted += static_cast<double>(sum_lanes(weighted_v));
  }
  const double log_sum = std::log(sum);
  RowScore score;
  score.log_z = static_cast<float>(static_cast<double>(max) + log_sum);
  score.log_prob = static_cast<float>(static_cast<double>(z_target) - static_cast<double>(max) - log_sum);
  score.entropy = static_cast<float>(log_sum - weighted / sum);
  score.inverse_sum = static_cast<float>(1.0 / sum);
  return score;
}

/// z = dz for a row of logits whose log_z and entropy are known (see lm_head_backward in backend.h).
void gradient_row(float* z, int64_t V, int32_t target, float log_z, float entropy, const RowGradient& g) {
  const F32 d;
  const Vec log_zv = hn::Set(d, log_z);
  // dz = p (d_log_z - d_log_prob - d_entropy (log p + h)) + d_log_prob [j = target]
  const Vec constant = hn::Set(d, g.log_z - g.log_prob - g.entropy * entropy);
  const Vec d_entropy = hn::Set(d, g.entropy);
  for_each_vector(0, V, [=](auto load, auto store) HWY_ATTR {
    const Vec log_p = hn::Sub(load(z), log_zv);
    store(hn::Mul(exp(log_p), hn::NegMulAdd(d_entropy, log_p, constant)), z);
  });
  z[target] += g.log_prob;
}

void scale_row(float* z, int64_t V, float factor) {
  const Vec f = hn::Set(F32(), factor);
  for_each_vector(0, V, [=](auto load, auto store) HWY_ATTR { store(hn::Mul(load(z), f), z); });
}

}  // namespace anneal::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace anneal::cpu {

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

}  // namespace

size_t CpuBackend::lm_head_workspace(int64_t N, int64_t /*D*/, int64_t V) const {
  return static_cast<size_t>(std::min(N, max_chunk_rows(V)) * V) * sizeof(float);
}

void CpuBackend::lm_head_logits(float* logits, const float* hidden, const float* w, int64_t B, int64_t D,
                                int64_t V) {
  linear_forward(logits, hidden, w, nullptr, B, D, V, false);
}

void CpuBackend::lm_head_forward(float* log_prob, float* entropy, float* log_z, const float* hidden,
                                 const float* w, const int32_t* targets, int64_t N, int64_t D, int64_t V,
                                 float* workspace) {
  for_each_chunk(N, V, [&](int64_t first, int64_t rows) {
    linear_forward(workspace, hidden + first * D, w, nullptr, rows, D, V, false);
    for_each_row(threads_, rows, V, [&](int64_t row) {
      const int64_t n = first + row;
      const RowScore score = HWY_DYNAMIC_DISPATCH(score_row)(workspace + row * V, V, targets[n], false);
      log_prob[n] = score.log_prob;
      entropy[n] = score.entropy;
      log_z[n] = score.log_z;
    });
  });
}

void CpuBackend::lm_head_backward(float* d_hidden, float* dw, const float* hidden, const float* w,
                                  const int32_t* targets, const float* log_z, const float* entropy,
                                  const float* d_log_prob, const float* d_entropy, const float* d_log_z,
                                  int64_t N, int64_t D, int64_t V, float* workspace) {
  for_each_chunk(N, V, [&](int64_t first, int64_t rows) {
    linear_forward(workspace, hidden + first * D, w, nullptr, rows, D, V, false);
    for_each_row(threads_, rows, V, [&](int64_t row) {
      const int64_t n = first + row;
      const RowGradient gradient{d_log_prob[n], d_entropy != nullptr ? d_entropy[n] : 0.0f,
                                 d_log_z != nullptr ? d_log_z[n] : 0.0f};
      HWY_DYNAMIC_DISPATCH(gradient_row)(workspace + row * V, V, targets[n], log_z[n], entropy[n], gradient);
    });
    linear_backward_input(d_hidden + first * D, workspace, w, rows, D, V, false);
    if (dw != nullptr) linear_backward_weight(dw, nullptr, workspace, hidden + first * D, rows, D, V);
  });
}

void CpuBackend::lm_head_forward_backward(float* log_prob, float* entropy, float* log_z, float* d_hidden,
                                          float* dw, const float* hidden, const float* w,
                                          const int32_t* targets, const float* weights, int64_t N, int64_t D,
                                          int64_t V, float* workspace) {
  for_each_chunk(N, V, [&](int64_t first, int64_t rows) {
    linear_forward(workspace, hidden + first * D, w, nullptr, rows, D, V, false);
    for_each_row(threads_, rows, V, [&](int64_t row) {
      const int64_t n = first + row;
      float* z = workspace + row * V;
      const RowScore score = HWY_DYNAMIC_DISPATCH(score_row)(z, V, targets[n], true);
      log_prob[n] = score.log_prob;
      entropy[n] = score.entropy;
      log_z[n] = score.log_z;
      HWY_DYNAMIC_DISPATCH(scale_row)(z, V, weights[n] * score.inverse_sum);
      z[targets[n]] -= weights[n];
    });
    linear_backward_input(d_hidden + first * D, workspace, w, rows, D, V, false);
    if (dw != nullptr) linear_backward_weight(dw, nullptr, workspace, hidden + first * D, rows, D, V);
  });
}

}  // namespace anneal::cpu
#endif
