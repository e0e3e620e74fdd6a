// Elementwise sums and factors.
#include "backend/cpu/cpu_backend.h"
#include "backend/cpu/parallel.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "backend/cpu/elementwise.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "backend/cpu/simd-inl.h"

HWY_BEFORE_NAMESPACE();
namespace anneal::cpu::HWY_NAMESPACE {

void add_range(float* y, const float* x, int64_t begin, int64_t end) {
  for_each_vector(begin, end, [=](auto load, auto store) HWY_ATTR { store(hn::Add(load(y), load(x)), y); });
}

void scale_range(float* x, float factor, int64_t begin, int64_t end) {
  const Vec f = hn::Set(F32(), factor);
  for_each_vector(begin, end, [=](auto load, auto store) HWY_ATTR { store(hn::Mul(load(x), f), x); });
}

}  // namespace anneal::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace anneal::cpu {

HWY_EXPORT(add_range);
HWY_EXPORT(scale_range);

namespace {
constexpr int64_t kMinPerThread = 1 << 15;
}

void CpuBackend::add(float* y, const float* x, int64_t n) {
  parallel_ranges(threads_, n, kMinPerThread, [&](int64_t begin, int64_t end, int) {
    HWY_DYNAMIC_DISPATCH(add_range)(y, x, begin, end);
  });
}

void CpuBackend::scale(float* x, float factor, int64_t n) {
  parallel_ranges(threads_, n, kMinPerThread, [&](int64_t begin, int64_t end, int) {
    HWY_DYNAMIC_DISPATCH(scale_range)(x, factor, begin, end);
  });
}

}  // namespace anneal::cpu
#endif
