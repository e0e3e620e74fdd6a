// AdamW whose moments are kept in 8 bits, block by block (Dettmers et al. 2022, "8-bit Optimizers via
// Block-wise Quantization").
//
// The dynamic map spends its codes on decades: the values of decade 10^-e are the middles of 2^(6 - e) equal
// parts (twice as many without a sign) of [0.1, 1] * 10^-e, for e = 0 ... 6, and there are 0 and 1. A code of
// the signed map counts its values upwards: 127 is 0, 255 is 1, and there is no -1.
#include <array>
#include <cmath>
#include <cstring>
#include <limits>

#include "backend/cpu/cpu_backend.h"
#include "backend/cpu/parallel.h"

#ifndef ANNEAL_OPTIMIZER_8BIT_MAP
#define ANNEAL_OPTIMIZER_8BIT_MAP
namespace anneal::cpu {

/// Values of a map, and how a number finds the nearest one.
struct DynamicMap {
  // Cells of numbers in [2^-24, 1] that share exponent and 7 bits of the mantissa: so narrow that at most one
  // border between two codes falls into each. Smaller numbers are nearest to 0.
  static constexpr int32_t kFirstCell = (127 - 24) << 7;
  static constexpr int32_t kCells = (127 << 7) - kFirstCell + 1;

  alignas(64) std::array<float, 256> values{};  // by code
  alignas(
      64) std::array<float, 256> borders{};  // above the magnitude of this index; the last one's is infinite
  alignas(64) std::array<int32_t, kCells> cells{};  // magnitude index at the cell's lower end

  explicit DynamicMap(bool is_signed) {
    std::array<double, 256> magnitudes{};
    size_t count = 1;  // 0 is the first
    for (int exponent = 6; exponent >= 0; --exponent) {
      const int parts = (is_signed ? 1 : 2) << (6 - exponent);
      for (int part = 0; part < parts; ++part) {
        magnitudes[count++] = std::pow(10.0, -exponent) * (0.1 + 0.9 * (part + 0.5) / parts);
      }
    }
    magnitudes[count++] = 1.0;
    const size_t zero = is_signed ? count - 2 : 0;
    for (size_t i = 0; i < count; ++i) {
      values[zero + i] = static_cast<float>(magnitudes[i]);
      if (is_signed && i + 1 < count) values[zero - i] = static_cast<float>(-magnitudes[i]);
      borders[i] = i + 1 < count ? static_cast<float>((magnitudes[i] + magnitudes[i + 1]) / 2)
                                 : std::numeric_limits<float>::infinity();
    }
    int32_t index = 0;
    for (int32_t cell = 0; cell < kCells; ++cell) {
      const int32_t bits = (kFirstCell + cell) << 16;
      float lower = 0.0f;
      std::memcpy(&lower, &bits, sizeof(lower));
      while (borders[static_cast<size_t>(index)] < lower) ++index;
      cells[static_cast<size_t>(cell)] = index;
    }
  }
};

inline const DynamicMap& signed_map() {
  static const DynamicMap map(true);
  return map;
}
inline const DynamicMap& unsigned_map() {
  static const DynamicMap map(false);
  return map;
}

}  // namespace anneal::cpu
#endif

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "backend/cpu/optimizer_8bit.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "backend/cpu/simd-inl.h"

HWY_BEFORE_NAMESPACE();
namespace anneal::cpu::HWY_NAMESPACE {

using Codes = hn::Rebind<uint8_t, I32>;
using Cells = hn::Vec<I32>;

HWY_INLINE Vec decode(const DynamicMap& map, const uint8_t* codes) {
  return hn::GatherIndex(F32(), map.values.data(), hn::PromoteTo(I32(), hn::LoadU(Codes(), codes)));
}

/// Index of the magnitude nearest to x in [0, 1].
HWY_INLINE Cells nearest(const DynamicMap& map, Vec x) {
  const I32 di;
  const auto cell = hn::Sub(hn::ShiftRight<16>(hn::BitCast(di, x)), hn::Set(di, DynamicMap::kFirstCell));
  const auto index = hn::GatherIndex(
      di, map.cells.data(), hn::Min(hn::Max(cell, hn::Zero(di)), hn::Set(di, DynamicMap::kCells - 1)));
  const auto above = hn::Gt(x, hn::GatherIndex(F32(), map.borders.data(), index));
  return hn::Sub(index, hn::VecFromMask(di, hn::RebindMask(di, above)));
}

HWY_INLINE float inverse(float scale) { return scale > 0.0f ? 1.0f / scale : 0.0f; }

/// One whole block; the scales are its own.
void adamw_8bit_block(float* w, uint8_t* m, uint8_t* v, float* m_scale, float* v_scale, const float* g,
                      const AdamWOptions& o, const DynamicMap& m_map, const DynamicMap& v_map) {
  const F32 d;
  const I32 di;
  alignas(64) float new_m[kStateBlock];
  alignas(64) float new_v[kStateBlock];
  const Vec grad_scale = hn::Set(d, o.grad_scale);
  const Vec keep = hn::Set(d, 1.0f - o.learning_rate * o.weight_decay);
  const Vec one_minus_beta1 = hn::Set(d, 1.0f - o.beta1);
  const Vec beta2 = hn::Set(d, o.beta2);
  const Vec one_minus_beta2 = hn::Set(d, 1.0f - o.beta2);
  const Vec inverse_root2 = hn::Set(d, 1.0f / std::sqrt(o.bias_correction2));
  const Vec step = hn::Set(d, o.learning_rate / o.bias_correction1);
  const Vec eps = hn::Set(d, o.eps);
  const Vec old_m_scale = hn::Set(d, *m_scale);
  const Vec old_v_scale = hn::Set(d, *v_scale);
  Vec m_largest = hn::Zero(d);
  Vec v_largest = hn::Zero(d);
  for (int64_t i = 0; i < kStateBlock; i += kLanes) {
    const Vec gv = hn::Mul(hn::LoadU(d, g + i), grad_scale);
    const Vec m0 = hn::Mul(decode(m_map, m + i), old_m_scale);
    const Vec v0 = hn::Mul(decode(v_map, v + i), old_v_scale);
    const Vec m1 = hn::MulAdd(hn::Sub(gv, m0), one_minus_beta1, m0);
    const Vec v1 = hn::MulAdd(hn::Mul(gv, gv), one_minus_beta2, hn::Mul(v0, beta2));
    const Vec denominator = hn::MulAdd(hn::Sqrt(v1), inverse_root2, eps);
    hn::StoreU(hn::NegMulAdd(step, hn::Div(m1, denominator), hn::Mul(hn::LoadU(d, w + i), keep)), d, w + i);
    hn::Store(m1, d, new_m + i);
    hn::Store(v1, d, new_v + i);
    m_largest = hn::Max(m_largest, hn::Abs(m1));
    v_largest = hn::Max(v_largest, v1);
  }
  *m_scale = hn::GetLane(hn::MaxOfLanes(d, m_largest));
  *v_scale = hn::GetLane(hn::MaxOfLanes(d, v_largest));
  const Vec m_inverse = hn::Set(d, inverse(*m_scale));
  const Vec v_inverse = hn::Set(d, inverse(*v_scale));
  const auto zero_code = hn::Set(di, 127);
  for (int64_t i = 0; i < kStateBlock; i += kLanes) {
    const Vec mv = hn::Load(d, new_m + i);
    const auto magnitude = nearest(m_map, hn::Mul(hn::Abs(mv), m_inverse));
    const auto negative = hn::Sub(zero_code, hn::Min(magnitude, zero_code));
    const auto is_negative = hn::RebindMask(di, hn::Lt(mv, hn::Zero(d)));
    const auto code = hn::IfThenElse(is_negative, negative, hn::Add(zero_code, magnitude));
    hn::StoreU(hn::DemoteTo(Codes(), code), Codes(), m + i);
    const auto v_code = nearest(v_map, hn::Mul(hn::Load(d, new_v + i), v_inverse));
    hn::StoreU(hn::DemoteTo(Codes(), v_code), Codes(), v + i);
  }
}

/// Blocks [begin, end) of n elements; the last one may be short, and is then padded with zeros.
void adamw_8bit_blocks(float* w, uint8_t* m, uint8_t* v, float* m_scales, float* v_scales, const float* g,
                       const AdamWOptions& o, int64_t n, int64_t begin, int64_t end) {
  const DynamicMap& m_map = signed_map();
  const DynamicMap& v_map = unsigned_map();
  for (int64_t block = begin; block < end; ++block) {
    const int64_t at = block * kStateBlock;
    if (at + kStateBlock <= n) {
      adamw_8bit_block(w + at, m + at, v + at, m_scales + block, v_scales + block, g + at, o, m_map, v_map);
      continue;
    }
    const auto rest = static_cast<size_t>(n - at);
    float padded_w[kStateBlock] = {};
    float padded_g[kStateBlock] = {};
    uint8_t padded_m[kStateBlock];
    uint8_t padded_v[kStateBlock] = {};
    std::memset(padded_m, 127, sizeof(padded_m));  // the code of 0
    std::memcpy(padded_w, w + at, rest * sizeof(float));
    std::memcpy(padded_g, g + at, rest * sizeof(float));
    std::memcpy(padded_m, m + at, rest);
    std::memcpy(padded_v, v + at, rest);
    adamw_8bit_block(padded_w, padded_m, padded_v, m_scales + block, v_scales + block, padded_g, o, m_map,
                     v_map);
    std::memcpy(w + at, padded_w, rest * sizeof(float));
    std::memcpy(m + at, padded_m, rest);
    std::memcpy(v + at, padded_v, rest);
  }
}

}  // namespace anneal::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace anneal::cpu {

HWY_EXPORT(adamw_8bit_blocks);

void CpuBackend::adamw_8bit(float* w, uint8_t* m, uint8_t* v, float* m_scales, float* v_scales,
                            const float* g, int64_t n, const AdamWOptions& options) {
  constexpr int64_t kMinBlocks = 32;
  const int64_t blocks = (n + kStateBlock - 1) / kStateBlock;
  parallel_ranges(threads_, blocks, kMinBlocks, [&](int64_t begin, int64_t end, int) {
    HWY_DYNAMIC_DISPATCH(adamw_8bit_blocks)(w, m, v, m_scales, v_scales, g, options, n, begin, end);
  });
}

}  // namespace anneal::cpu
#endif
