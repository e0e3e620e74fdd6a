// The products of low-rank updates, one side of which is the rank: see low_rank_products.cpp.
#pragma once

#include <cstdint>

namespace anneal::cpu {

/// Rows [begin, end) of y [T, n] (+)= u [T, rank] w [rank, n], rows of y y_stride floats apart. The bits of a
/// row depend on that row alone.
void expand_rank(float* y, const float* u, const float* w, int64_t rank, int64_t n, int64_t y_stride,
                 int64_t begin, int64_t end, bool accumulate);

/// Columns [begin, end) of d += u^T x for u [T, rank] and x [T, n], whose rows are x_stride floats apart;
/// element (r, column) of d lies at r * row_stride + column * column_stride.
void contract_rows(float* d, int64_t row_stride, int64_t column_stride, const float* u, const float* x,
                   int64_t T, int64_t rank, int64_t x_stride, int64_t begin, int64_t end);

}  // namespace anneal::cpu
