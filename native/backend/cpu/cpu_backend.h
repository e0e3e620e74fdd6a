// The CPU backend: each operation family is implemented in a file of its own in this folder.
//
// Matrix products go to a BLAS; everything else is written once with Highway and compiled for several
// instruction sets, of which the best that the machine has is picked at run time. A kernel works on a range
// of rows or elements on one thread; the method that calls it divides the ranges over the threads.
#pragma once

#include <memory>
#include <vector>

#include "backend/backend.h"

namespace anneal::cpu {

class CpuBackend final : public Backend {
 public:
  explicit CpuBackend(int threads);

  [[nodiscard]] void* allocate(size_t bytes) override;
  void release(void* memory) override;
  void copy_to_device(void* dst, const void* src, size_t bytes) override;
  void copy_to_host(void* dst, const void* src, size_t bytes) override;
  void copy(void* dst, const void* src, size_t bytes) override;
  void zero(void* dst, size_t bytes) override;

  void add(float* y, const float* x, int64_t n) override;
  void scale(float* x, float factor, int64_t n) override;

  void embedding_forward(float* out, const float* table, const int32_t* ids, int64_t T, int64_t D) override;
  void embedding_backward(float* d_table, const float* d_out, const int32_t* ids, int64_t T,
                          int64_t D) override;
  void gather_rows(float* out, const float* in, const int32_t* rows, int64_t N, int64_t D) override;
  void scatter_rows(float* out, const float* in, const int32_t* rows, int64_t N, int64_t T,
                    int64_t D) override;

  void linear_forward(float* y, const float* x, const float* w, const float* bias, int64_t T, int64_t in,
                      int64_t out, bool accumulate) override;
  void linear_backward_input(float* dx, const float* dy, const float* w, int64_t T, int64_t in, int64_t out,
                             bool accumulate) override;
  void linear_backward_weight(float* dw, float* d_bias, const float* dy, const float* x, int64_t T,
                              int64_t in, int64_t out) override;

  void rms_norm_forward(float* y, float* rstd, const float* x, const float* w, int64_t T, int64_t groups,
                        int64_t D, int64_t x_stride, int64_t y_stride, float eps) override;
  void rms_norm_backward(float* dx, float* dw, const float* dy, const float* x, const float* w,
                         const float* rstd, int64_t T, int64_t groups, int64_t D, int64_t x_stride,
                         int64_t dy_stride, bool accumulate, float* workspace) override;
  [[nodiscard]] size_t rms_norm_backward_workspace(int64_t D) const override;
  void layer_norm_forward(float* y, float* mean, float* rstd, const float* x, const float* w, const float* b,
                          int64_t T, int64_t D, float eps) override;
  void layer_norm_backward(float* dx, float* dw, float* db, const float* dy, const float* x, const float* w,
                           const float* mean, const float* rstd, int64_t T, int64_t D, bool accumulate,
                           float* workspace) override;
  [[nodiscard]] size_t layer_norm_backward_workspace(int64_t D) const override;

  void rope(float* x, const int32_t* positions, const float* inverse_frequencies, int64_t T, int64_t heads,
            int64_t E, int64_t stride, int direction) override;

  void attention_forward(float* out, float* lse, const float* qkv, const BatchLayout& layout,
                         const AttentionShape& shape, float* workspace) override;
  void attention_backward(float* d_qkv, const float* d_out, const float* out, const float* lse,
                          const float* qkv, const BatchLayout& layout, const AttentionShape& shape,
                          float* workspace) override;
  [[nodiscard]] size_t attention_workspace(int64_t max_tokens, const AttentionShape& shape) const override;

  void kv_cache_append(const KvCacheView& cache, const float* qkv, const int32_t* slots,
                       const int32_t* cache_rows, int64_t N, const AttentionShape& shape) override;
  void attention_decode(float* out, const float* qkv, const KvCacheView& cache, const int32_t* slots,
                        const int32_t* lengths, int64_t B, const AttentionShape& shape,
                        float* workspace) override;

  void activation_forward(float* out, const float* in, Activation kind, int64_t T, int64_t F) override;
  void activation_backward(float* d_in, const float* d_out, const float* in, Activation kind, int64_t T,
                           int64_t F) override;

  void lm_head_forward(float* log_prob, float* entropy, float* log_z, const float* hidden, const float* w,
                       const int32_t* targets, int64_t N, int64_t D, int64_t V, float* workspace) override;
  void lm_head_backward(float* d_hidden, float* dw, const float* hidden, const float* w,
                        const int32_t* targets, const float* log_z, const float* entropy,
                        const float* d_log_prob, const float* d_entropy, const float* d_log_z, int64_t N,
                        int64_t D, int64_t V, float* workspace) override;
  void lm_head_forward_backward(float* log_prob, float* entropy, float* log_z, float* d_hidden, float* dw,
                                const float* hidden, const float* w, const int32_t* targets,
                                const float* weights, int64_t N, int64_t D, int64_t V,
                                float* workspace) override;
  [[nodiscard]] size_t lm_head_workspace(int64_t N, int64_t D, int64_t V) const override;
  void lm_head_logits(float* logits, const float* hidden, const float* w, int64_t B, int64_t D,
                      int64_t V) override;

  [[nodiscard]] double sum_of_squares(const float* x, int64_t n) override;
  void adamw(float* w, float* m, float* v, const float* g, int64_t n, const AdamWOptions& options) override;
  void adamw_8bit(float* w, uint8_t* m, uint8_t* v, float* m_scales, float* v_scales, const float* g,
                  int64_t n, const AdamWOptions& options) override;
  void lion(float* w, float* m, const float* g, int64_t n, const LionOptions& options) override;
  void sgd(float* w, float* m, const float* g, int64_t n, const SgdOptions& options) override;
  void adafactor_matrix(float* w, float* row_squares, float* column_squares, const float* g, int64_t rows,
                        int64_t columns, const AdafactorOptions& options) override;
  void adafactor_vector(float* w, float* squares, const float* g, int64_t n,
                        const AdafactorOptions& options) override;
  void muon(float* w, float* m, const float* g, int64_t rows, int64_t columns, const MuonOptions& options,
            float* workspace) override;
  [[nodiscard]] size_t muon_workspace(int64_t rows, int64_t columns) const override;

 private:
  int threads_;
  std::vector<double> partial_sums_;  // of sums over fixed parts of the input, see optimizer_parts.h
};

}  // namespace anneal::cpu
