// Products of few to some hundred rows, row by row independent of each other: see linear_rows.cpp.
#pragma once

#include <cstdint>

namespace anneal::cpu {

/// Columns [begin, end) of y [T, out] (+)= x [T, in] w^T + bias (may be null), w [out, in], rows of x and
/// y x_stride and y_stride floats apart. The bits of a row depend on that row of x only, not on T, nor on how
/// the columns are divided.
void linear_rows(float* y, const float* x, const float* w, const float* bias, int64_t T, int64_t in,
                 int64_t x_stride, int64_t y_stride, int64_t begin, int64_t end, bool accumulate);

}  // namespace anneal::cpu
