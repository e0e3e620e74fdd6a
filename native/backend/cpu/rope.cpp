// Rotary positions: the pair (x[e], x[e + E/2]) of each head turns by position * inverse_frequencies[e].
//
// The angle is rounded to float32 once, as the reference implementations do; its reduction to a quarter turn
// is done in double precision, so that sine and cosine are right at any position.
#include <algorithm>
#include <cmath>

#include "backend/cpu/cpu_backend.h"
#include "backend/cpu/parallel.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "backend/cpu/rope.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "backend/cpu/simd-inl.h"

#ifndef ANNEAL_CPU_ROPE_LIMITS
#define ANNEAL_CPU_ROPE_LIMITS
namespace anneal::cpu {
constexpr int64_t kPairBlock = 128;  // pairs of a head whose sines are kept on the stack at a time
}
#endif

HWY_BEFORE_NAMESPACE();
namespace anneal::cpu::HWY_NAMESPACE {

/// Sine and cosine of r, |r| <= pi / 4.
HWY_INLINE void small_sin_cos(Vec r, Vec& sin, Vec& cos) {
  const F32 d;
  const Vec r2 = hn::Mul(r, r);
  Vec s = hn::MulAdd(hn::Set(d, -1.95166562e-4f), r2, hn::Set(d, 8.33217334e-3f));
  s = hn::MulAdd(s, r2, hn::Set(d, -1.66666552e-1f));
  sin = hn::MulAdd(hn::Mul(s, r2), r, r);
  Vec c = hn::MulAdd(hn::Set(d, 2.44377297e-5f), r2, hn::Set(d, -1.38873619e-3f));
  c = hn::MulAdd(c, r2, hn::Set(d, 4.16666456e-2f));
  cos = hn::MulAdd(hn::Mul(r2, r2), c, hn::NegMulAdd(r2, hn::Set(d, 0.5f), hn::Set(d, 1.0f)));
}

/// sin[i], cos[i] of position * frequencies[i], i < count.
HWY_INLINE void rotation(float* sin, float* cos, float position, const float* frequencies, int64_t count) {
  const F32 d;
  const I32 di;
  // Angle = turns * pi/2 + r; the low two bits of `turns` say which quarter.
  alignas(64) float reduced[kPairBlock];
  alignas(64) int32_t turns[kPairBlock];
  for (int64_t i = 0; i < count; ++i) {
    const float angle = position * frequencies[i];
    const double n = std::nearbyint(static_cast<double>(angle) * 0.63661977236758134);
    reduced[i] = static_cast<float>(static_cast<double>(angle) - n * 1.5707963267948966);
    turns[i] = static_cast<int32_t>(n);
  }
  for (int64_t i = 0; i < count; i += kLanes) {
    Vec s, c;
    small_sin_cos(hn::Load(d, reduced + i), s, c);
    const auto n = hn::Load(di, turns + i);
    const auto swap = hn::MaskFromVec(
        hn::BitCast(d, hn::VecFromMask(di, hn::Ne(hn::And(n, hn::Set(di, 1)), hn::Zero(di)))));
    // The sign bit: bit 1 of n for the sine, bit 1 of n + 1 for the cosine.
    const auto sin_sign = hn::ShiftLeft<30>(hn::And(n, hn::Set(di, 2)));
    const auto cos_sign = hn::ShiftLeft<30>(hn::And(hn::Add(n, hn::Set(di, 1)), hn::Set(di, 2)));
    hn::StoreU(hn::Xor(hn::IfThenElse(swap, c, s), hn::BitCast(d, sin_sign)), d, sin + i);
    hn::StoreU(hn::Xor(hn::IfThenElse(swap, s, c), hn::BitCast(d, cos_sign)), d, cos + i);
  }
}

void rope_rows(float* x, const int32_t* positions, const float* frequencies, int64_t heads, int64_t E,
               int64_t stride, float direction, int64_t begin, int64_t end) {
  const F32 d;
  const int64_t half = E / 2;
  alignas(64) float sin[kPairBlock];
  alignas(64) float cos[kPairBlock];
  const Vec sign = hn::Set(d, direction);
  for (int64_t t = begin; t < end; ++t) {
    for (int64_t block = 0; block < half; block += kPairBlock) {
      const int64_t count = std::min(kPairBlock, half - block);
      rotation(sin, cos, static_cast<float>(positions[t]), frequencies + block, count);
      for (int64_t h = 0; h < heads; ++h) {
        float* first = x + t * stride + h * E + block;
        float* second = first + half;
        const float* s = sin;
        const float* c = cos;
        for_each_vector(0, count, [=](auto load, auto store) HWY_ATTR {
          const Vec a = load(first);
          const Vec b = load(second);
          const Vec sv = hn::Mul(load(s), sign);
          const Vec cv = load(c);
          store(hn::NegMulAdd(b, sv, hn::Mul(a, cv)), first);
          store(hn::MulAdd(a, sv, hn::Mul(b, cv)), second);
        });
      }
    }
  }
}

}  // namespace anneal::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace anneal::cpu {

HWY_EXPORT(rope_rows);

void CpuBackend::rope(float* x, const int32_t* positions, const float* inverse_frequencies, int64_t T,
                      int64_t heads, int64_t E, int64_t stride, int direction) {
  constexpr int64_t kMinPerThread = 1 << 14;
  parallel_ranges(
      threads_, T, kMinPerThread / std::max<int64_t>(1, heads * E), [&](int64_t begin, int64_t end, int) {
        HWY_DYNAMIC_DISPATCH(rope_rows)
        (x, positions, inverse_frequencies, heads, E, stride, static_cast<float>(direction), begin, end);
      });
}

}  // namespace anneal::cpu
#endif
