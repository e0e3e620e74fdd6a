// Matrix products by the BLAS, row-major, on the backend's threads.
//
// The OpenMP build of OpenBLAS takes its thread count from the calling thread's OpenMP setting, so its
// threads are the same pool as ours. It divides only rows and columns of the result, never the sum: the bits
// depend on the thread count alone.
#pragma once

#include <cblas.h>
#include <omp.h>

#include <cstdint>

namespace anneal::cpu {

/// c[m, n] = a b + beta c, where a is [m, k] ([k, m] if transposed) and b is [k, n] ([n, k] if transposed).
/// All three are dense: rows follow each other without gaps.
inline void gemm(int threads, bool transpose_a, bool transpose_b, int64_t m, int64_t n, int64_t k,
                 const float* a, const float* b, float beta, float* c) {
  if (omp_get_max_threads() != threads) omp_set_num_threads(threads);
  const auto dim = [](int64_t value) { return static_cast<blasint>(value); };
  cblas_sgemm(CblasRowMajor, transpose_a ? CblasTrans : CblasNoTrans, transpose_b ? CblasTrans : CblasNoTrans,
              dim(m), dim(n), dim(k), 1.0f, a, dim(transpose_a ? m : k), b, dim(transpose_b ? k : n), beta, c,
              dim(n));
}

}  // namespace anneal::cpu
