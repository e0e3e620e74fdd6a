// Embedding look-up and the moving of rows.
//
// Where several rows may be added to one, the threads divide the columns, so that each sum is made by one
// thread in the order of the rows.
#include <cstring>

#include "backend/cpu/cpu_backend.h"
#include "backend/cpu/parallel.h"

namespace anneal::cpu {
namespace {

constexpr int64_t kMinPerThread = 1 << 15;  // floats moved
constexpr int64_t kColumnBlock = 16;        // a cache line: threads never write to the same one

void copy_rows(int threads, float* out, const float* in, const int32_t* rows, int64_t count, int64_t D) {
  parallel_ranges(threads, count, kMinPerThread / std::max<int64_t>(1, D),
                  [&](int64_t begin, int64_t end, int) {
                    for (int64_t n = begin; n < end; ++n) {
                      std::memcpy(out + n * D, in + rows[n] * D, static_cast<size_t>(D) * sizeof(float));
                    }
                  });
}

void add_rows(int threads, float* out, const float* in, const int32_t* rows, int64_t count, int64_t D) {
  const int64_t blocks = (D + kColumnBlock - 1) / kColumnBlock;
  const int64_t min_blocks = kMinPerThread / std::max<int64_t>(1, count * kColumnBlock);
  parallel_ranges(threads, blocks, min_blocks, [&](int64_t begin, int64_t end, int) {
    const int64_t first = begin * kColumnBlock;
    const int64_t last = std::min(D, end * kColumnBlock);
    for (int64_t n = 0; n < count; ++n) {
      float* to = out + rows[n] * D;
      const float* from = in + n * D;
      for (int64_t i = first; i < last; ++i) to[i] += from[i];
    }
  });
}

}  // namespace

void CpuBackend::embedding_forward(float* out, const float* table, const int32_t* ids, int64_t T, int64_t D) {
  copy_rows(threads_, out, table, ids, T, D);
}

void CpuBackend::embedding_backward(float* d_table, const float* d_out, const int32_t* ids, int64_t T,
                                    int64_t D) {
  add_rows(threads_, d_table, d_out, ids, T, D);
}

void CpuBackend::gather_rows(float* out, const float* in, const int32_t* rows, int64_t N, int64_t D) {
  copy_rows(threads_, out, in, rows, N, D);
}

void CpuBackend::scatter_rows(float* out, const float* in, const int32_t* rows, int64_t N, int64_t T,
                              int64_t D) {
  zero(out, static_cast<size_t>(T * D) * sizeof(float));
  add_rows(threads_, out, in, rows, N, D);
}

}  // namespace anneal::cpu
