// Drawing tokens from rows of logits, without sorting a vocabulary.
//
// A row becomes e_j = e^(z_j / temperature - maximum), once. Each filter keeps the tokens with e_j at or
// above a threshold: the largest float for which enough of them (top-k) or enough of their mass (top-p) is
// left, found by halving the range of its bits, 31 looks at the row. The draw is the inverse of the cumulated
// sum, by blocks.
#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>

#include "backend/cpu/attention.h"
#include "backend/cpu/cpu_backend.h"
#include "backend/cpu/parallel.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "backend/cpu/sample.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "backend/cpu/simd-inl.h"

HWY_BEFORE_NAMESPACE();
namespace anneal::cpu::HWY_NAMESPACE {

constexpr int64_t kBlock = 256;  // tokens whose e are added in float lanes; blocks are added in double

/// Index of the first largest number.
int64_t first_maximum(const float* z, int64_t V) {
  const F32 d;
  Vec max_v = hn::Set(d, -std::numeric_limits<float>::infinity());
  int64_t i = 0;
  for (; i + kLanes <= V; i += kLanes) max_v = hn::Max(max_v, hn::LoadU(d, z + i));
  float max = hn::GetLane(hn::MaxOfLanes(d, max_v));
  for (; i < V; ++i) max = std::max(max, z[i]);
  // Not found: no number is one (NaN).
  const float* found = std::find(z, z + V, max);
  return found == z + V ? 0 : found - z;
}

/// e[j] = e^(factor (z[j] - max)) for tokens [0, V), e may be z; gives their sum. Null e: the sum only.
double exponentials(float* e, const float* z, int64_t V, float factor, float max) {
  const F32 d;
  const Vec f = hn::Set(d, factor);
  const Vec m = hn::Set(d, max);
  double sum = 0.0;
  for (int64_t block = 0; block < V; block += kBlock) {
    const int64_t end = std::min(V, block + kBlock);
    Vec sum_v = hn::Zero(d);
    int64_t i = block;
    for (; i + kLanes <= end; i += kLanes) {
      const Vec p = exp(hn::Mul(f, hn::Sub(hn::LoadU(d, z + i), m)));
      if (e != nullptr) hn::StoreU(p, d, e + i);
      sum_v = hn::Add(sum_v, p);
    }
    if (i < end) {
      const auto live = hn::FirstN(d, static_cast<size_t>(end - i));
      const Vec p = hn::IfThenElseZero(live, exp(hn::Mul(f, hn::Sub(load_tail(z + i, end - i), m))));
      if (e != nullptr) store_tail(p, e + i, end - i);
      sum_v = hn::Add(sum_v, p);
    }
    sum += static_cast<double>(sum_lanes(sum_v));
  }
  return sum;
}

/// The sum of e[j] >= threshold over tokens [begin, end).
HWY_INLINE float block_mass(const float* e, int64_t begin, int64_t end, float threshold) {
  const F32 d;
  const Vec t = hn::Set(d, threshold);
  Vec sum_v = hn::Zero(d);
  for_each_vector(begin, end, [&](auto load, auto) HWY_ATTR {
    const Vec p = load(e);
    sum_v = hn::Add(sum_v, hn::IfThenElseZero(hn::Ge(p, t), p));
  });
  return sum_lanes(sum_v);
}

double mass_above(const float* e, int64_t V, float threshold) {
  double mass = 0.0;
  for (int64_t block = 0; block < V; block += kBlock) {
    mass += static_cast<double>(block_mass(e, block, std::min(V, block + kBlock), threshold));
  }
  return mass;
}

int64_t count_above(const float* e, int64_t V, float threshold) {
  const F32 d;
  const Vec t = hn::Set(d, threshold);
  int64_t count = 0;
  int64_t i = 0;
  for (; i + kLanes <= V; i += kLanes) {
    count += static_cast<int64_t>(hn::CountTrue(d, hn::Ge(hn::LoadU(d, e + i), t)));
  }
  for (; i < V; ++i) count += e[i] >= threshold ? 1 : 0;
  return count;
}

/// The token at which the sum of e[j] >= threshold first exceeds `target`; -1 when it never does.
int64_t token_at(const float* e, int64_t V, float threshold, double target) {
  double sum = 0.0;
  for (int64_t block = 0; block < V; block += kBlock) {
    const int64_t end = std::min(V, block + kBlock);
    const double next = sum + static_cast<double>(block_mass(e, block, end, threshold));
    if (next > target) {
      int64_t last = -1;
      for (int64_t j = block; j < end; ++j) {
        if (e[j] < threshold || e[j] == 0.0f) continue;
        last = j;
        sum += static_cast<double>(e[j]);
        if (sum > target) break;
      }
      // The block's sum in lanes may be above its sum in order: the block's last token stands in then.
      return last;
    }
    sum = next;
  }
  return -1;
}

}  // namespace anneal::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace anneal::cpu {

HWY_EXPORT(first_maximum);
HWY_EXPORT(exponentials);
HWY_EXPORT(mass_above);
HWY_EXPORT(count_above);
HWY_EXPORT(token_at);

namespace {

/// The largest threshold above 0 for which `enough(threshold)` holds, or 0 if it holds for none. `enough`
/// must hold for all smaller ones too. Floats above 0 are ordered as their bits are.
template <class Enough>
float largest_threshold(const Enough& enough) {
  uint32_t low = 0;
  uint32_t high = std::bit_cast<uint32_t>(1.0f) + 1;  // no e is above 1
  while (high - low > 1) {
    const uint32_t middle = low + (high - low) / 2;
    (enough(std::bit_cast<float>(middle)) ? low : high) = middle;
  }
  return std::bit_cast<float>(low);
}

/// The logits that the filters work on: z, or a copy in `scratch` with penalty and allowed tokens applied.
const float* filtered(float* scratch, const float* z, const SampleRow& row, int64_t V) {
  const bool penalised = row.repetition_penalty != 1.0f && row.num_seen > 0;
  if (!penalised && row.allowed == nullptr) return z;
  std::copy_n(z, V, scratch);
  if (penalised) {
    for (int64_t i = 0; i < row.num_seen; ++i) {
      float& score = scratch[row.seen[i]];
      score = score < 0.0f ? score * row.repetition_penalty : score / row.repetition_penalty;
    }
  }
  if (row.allowed != nullptr) {
    for (int64_t j = 0; j < V; ++j) {
      if ((row.allowed[j / 64] >> (j % 64) & 1) == 0) scratch[j] = -std::numeric_limits<float>::infinity();
    }
  }
  return scratch;
}

Draw draw_row(const float* z, const SampleRow& row, int64_t V, float* scratch) {
  const float factor = row.temperature > 0.0f ? 1.0f / row.temperature : 1.0f;
  const int64_t likeliest = HWY_DYNAMIC_DISPATCH(first_maximum)(z, V);
  const float max = z[likeliest];
  const float* scores = filtered(scratch, z, row, V);
  int64_t token = likeliest;
  double sum = 0.0;
  if (scores == z) {
    sum = HWY_DYNAMIC_DISPATCH(exponentials)(scratch, z, V, factor, max);
  } else {
    sum = HWY_DYNAMIC_DISPATCH(exponentials)(nullptr, z, V, factor, max);
    token = HWY_DYNAMIC_DISPATCH(first_maximum)(scores, V);
  }
  if (row.temperature > 0.0f) {
    double mass = sum;
    if (scores != z) mass = HWY_DYNAMIC_DISPATCH(exponentials)(scratch, scratch, V, factor, scores[token]);
    float threshold = 0.0f;
    if (row.top_k > 0 && row.top_k < V) {
      threshold = largest_threshold(
          [&](float t) { return HWY_DYNAMIC_DISPATCH(count_above)(scratch, V, t) >= row.top_k; });
      mass = HWY_DYNAMIC_DISPATCH(mass_above)(scratch, V, threshold);
    }
    if (row.top_p < 1.0f) {
      const double wanted = static_cast<double>(row.top_p) * mass;
      threshold = std::max(threshold, largest_threshold([&](float t) {
                             return HWY_DYNAMIC_DISPATCH(mass_above)(scratch, V, t) >= wanted;
                           }));
    }
    threshold = std::max(threshold, row.min_p);
    if (threshold > 0.0f) mass = HWY_DYNAMIC_DISPATCH(mass_above)(scratch, V, threshold);
    const int64_t drawn = HWY_DYNAMIC_DISPATCH(token_at)(scratch, V, threshold, row.uniform * mass);
    // Rounding may leave a remainder after the last token: the likeliest stands in.
    if (drawn >= 0) token = drawn;
  }
  const double score =
      static_cast<double>(factor) * (static_cast<double>(z[token]) - static_cast<double>(max));
  return {static_cast<int32_t>(token), static_cast<float>(score - std::log(sum))};
}

}  // namespace

size_t CpuBackend::sample_workspace(int64_t V) const {
  return static_cast<size_t>(threads_ * round_up(V, 16)) * sizeof(float);
}

void CpuBackend::sample(Draw* draws, const float* logits, const SampleRow* rows, int64_t N, int64_t V,
                        float* workspace) {
  constexpr int64_t kMinPerThread = 1 << 13;  // tokens
  const int threads = num_parts(threads_, N * V, kMinPerThread);
  parallel_tasks(threads, N, [&](int64_t n, int worker) {
    draws[n] = draw_row(logits + rows[n].logits_row * V, rows[n], V, workspace + worker * round_up(V, 16));
  });
}

}  // namespace anneal::cpu
#endif
