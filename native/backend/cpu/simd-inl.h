// Vector helpers shared by the kernels: loads and stores with a tail, exp, sin and cos.
//
// Included once for each instruction set that is compiled (Highway's foreach_target). All is float32; the
// polynomials are least-maximum-error fits made for this file.
#if defined(ANNEAL_CPU_SIMD_INL_H) == defined(HWY_TARGET_TOGGLE)
#ifdef ANNEAL_CPU_SIMD_INL_H
#undef ANNEAL_CPU_SIMD_INL_H
#else
#define ANNEAL_CPU_SIMD_INL_H
#endif

#include <hwy/highway.h>

#include <cstdint>

HWY_BEFORE_NAMESPACE();
namespace anneal::cpu::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

using F32 = hn::ScalableTag<float>;
using I32 = hn::ScalableTag<int32_t>;
using Vec = hn::Vec<F32>;
constexpr int64_t kLanes = HWY_LANES(float);

/// Loads `count` <= kLanes floats; the other lanes are zero.
HWY_INLINE Vec load_tail(const float* p, int64_t count) {
  const F32 d;
  return hn::MaskedLoad(hn::FirstN(d, static_cast<size_t>(count)), d, p);
}

/// Stores the first `count` <= kLanes lanes.
HWY_INLINE void store_tail(Vec v, float* p, int64_t count) {
  const F32 d;
  hn::BlendedStore(v, hn::FirstN(d, static_cast<size_t>(count)), d, p);
}

/// Calls body(i, load, store) for each vector of [begin, end): `load(p)` reads at p + i, `store(v, p)`
/// writes.
template <class Body>
HWY_INLINE void for_each_vector(int64_t begin, int64_t end, const Body& body) {
  const F32 d;
  int64_t i = begin;
  for (; i + kLanes <= end; i += kLanes) {
    body([i, d](const float* p) HWY_ATTR { return hn::LoadU(d, p + i); },
         [i, d](Vec v, float* p) HWY_ATTR { hn::StoreU(v, d, p + i); });
  }
  if (i < end) {
    body([i, end](const float* p) HWY_ATTR { return load_tail(p + i, end - i); },
         [i, end](Vec v, float* p) HWY_ATTR { store_tail(v, p + i, end - i); });
  }
}

HWY_INLINE float sum_lanes(Vec v) {
  const F32 d;
  return hn::GetLane(hn::SumOfLanes(d, v));
}

/// e^x within 1 ulp or so; 0 below -87.7, about 2.4e38 above 88.4.
HWY_INLINE Vec exp(Vec x) {
  const F32 d;
  const I32 di;
  // On x86, min and max give their second operand if either is not a number: x stays not a number.
  x = hn::Min(hn::Set(d, 88.37f), hn::Max(hn::Set(d, -88.0f), x));
  // x = n ln 2 + r with |r| <= ln 2 / 2; ln 2 in two parts, so that n times the first is exact.
  const auto n = hn::NearestInt(hn::Mul(x, hn::Set(d, 1.44269504f)));
  const Vec nf = hn::ConvertTo(d, n);
  Vec r = hn::NegMulAdd(nf, hn::Set(d, 0.693359375f), x);
  r = hn::NegMulAdd(nf, hn::Set(d, -2.12194440e-4f), r);
  Vec p = hn::Set(d, 1.38146023e-3f);
  p = hn::MulAdd(p, r, hn::Set(d, 8.36871564e-3f));
  p = hn::MulAdd(p, r, hn::Set(d, 4.16683890e-2f));
  p = hn::MulAdd(p, r, hn::Set(d, 1.66665211e-1f));
  p = hn::MulAdd(p, r, hn::Set(d, 4.99999940e-1f));
  p = hn::Add(hn::MulAdd(hn::Mul(r, r), p, r), hn::Set(d, 1.0f));
  // 2^n by its exponent bits; n = -127 gives 0.
  const auto bits = hn::ShiftLeft<23>(hn::Add(n, hn::Set(di, 127)));
  return hn::Mul(p, hn::BitCast(d, bits));
}

/// 1 / (1 + e^-x)
HWY_INLINE Vec sigmoid(Vec x) {
  const F32 d;
  const Vec one = hn::Set(d, 1.0f);
  return hn::Div(one, hn::Add(one, exp(hn::Neg(x))));
}

}  // namespace anneal::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // ANNEAL_CPU_SIMD_INL_H
