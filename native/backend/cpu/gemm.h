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

/// An operand: rows follow each other at `stride` floats. Transposed: the product reads its columns as rows.
struct Matrix {
  const float* data;
  int64_t stride;
  bool transposed = false;
};

/// c[m, n] = alpha a b + beta c, where a is [m, k] ([k, m] if transposed) and b is [k, n] ([n, k] if
/// transposed); rows of c are c_stride floats apart.
inline void gemm(int threads, int64_t m, int64_t n, int64_t k, float alpha, const Matrix& a, const Matrix& b,
                 float beta, float* c, int64_t c_stride) {
  if (omp_get_max_threads() != threads) omp_set_num_threads(threads);
  const auto dim = [](int64_t value) { return static_cast<blasint>(value); };
  cblas_sgemm(CblasRowMajor, a.transposed ? CblasTrans : CblasNoTrans,
              b.transposed ? CblasTrans : CblasNoTrans, dim(m), dim(n), dim(k), alpha, a.data, dim(a.stride),
              b.data, dim(b.stride), beta, c, dim(c_stride));
}

/// The same for dense operands and results, without a factor.
inline void gemm(int threads, bool transpose_a, bool transpose_b, int64_t m, int64_t n, int64_t k,
                 const float* a, const float* b, float beta, float* c) {
  gemm(threads, m, n, k, 1.0f, {a, transpose_a ? m : k, transpose_a}, {b, transpose_b ? k : n, transpose_b},
       beta, c, n);
}

}  // namespace anneal::cpu
