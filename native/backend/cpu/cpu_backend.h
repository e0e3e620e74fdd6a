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

/// What a pass of the head does with the memory for logits that are kept.
enum class KeptLogits { kNone, kWrite, kRead };

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
                      int64_t out, int64_t y_stride, bool accumulate) override;
  void linear_backward_input(float* dx, const float* dy, const float* w, int64_t T, int64_t in, int64_t out,
                             int64_t y_stride, bool accumulate) override;
  void linear_backward_weight(float* dw, float* d_bias, const float* dy, const float* x, int64_t T,
                              int64_t in, int64_t out, int64_t y_stride) override;

  void low_rank_forward(float* y, float* u, const float* x, const LowRank& update, int64_t T,
                        int64_t y_stride, float* workspace) override;
  void low_rank_backward(float* dx, const float* dy, const float* x, const float* u, const LowRank& update,
                         int64_t T, int64_t y_stride, float* workspace) override;
  [[nodiscard]] size_t low_rank_workspace(const LowRank& update, int64_t T) const override;
  void low_rank_dropout(float* to, const float* x, const LowRank& update, int64_t T,
                        bool accumulate) override;
  void low_rank_embedding_forward(float* out, const int32_t* ids, const LowRank& update, int64_t T,
                                  float* workspace) override;
  void low_rank_embedding_backward(const float* d_out, const int32_t* ids, const LowRank& update, int64_t T,
                                   float* workspace) override;
  void dora_inverse_norm(float* inverse_norm, const float* w, const LowRank& update,
                         float* workspace) override;
  [[nodiscard]] size_t dora_inverse_norm_workspace(const LowRank& update) const override;
  void dora_forward(float* y, const float* x, const float* magnitude, const float* inverse_norm,
                    const float* bias, int64_t T, int64_t out, int64_t stride, bool accumulate) override;
  void dora_backward(float* dx, float* d_magnitude, const float* dy, const float* x, const float* magnitude,
                     const float* inverse_norm, int64_t T, int64_t out, int64_t stride) override;

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

  void kv_cache_append(const KvCacheView& cache, const float* qkv, const int32_t* cache_rows, int64_t N,
                       const AttentionShape& shape) override;
  void kv_cache_copy_page(const KvCacheView& cache, int32_t to, int32_t from,
                          const AttentionShape& shape) override;
  void attention_paged(float* out, const float* qkv, const KvCacheView& cache, const PagedLayout& layout,
                       const AttentionShape& shape, float* workspace) override;
  [[nodiscard]] size_t attention_paged_workspace(const AttentionShape& shape) const override;

  void activation_forward(float* out, const float* in, Activation kind, int64_t T, int64_t F) override;
  void activation_backward(float* d_in, const float* d_out, const float* in, Activation kind, int64_t T,
                           int64_t F) override;

  void lm_head_forward(const HeadScores& scores, const float* hidden, const LmHead& head,
                       const int32_t* targets, int64_t N, float* workspace) override;
  void lm_head_backward(float* d_hidden, const float* hidden, const LmHead& head, const int32_t* targets,
                        const float* log_z, const float* entropy, const float* d_log_prob,
                        const float* d_entropy, const float* d_log_z, int64_t N, float* workspace) override;
  void lm_head_forward_backward(const HeadScores& scores, float* d_hidden, const float* hidden,
                                const LmHead& head, const int32_t* targets, const float* weights, int64_t N,
                                float* workspace) override;
  void lm_head_top(int32_t* ids, float* log_probs, const float* hidden, const LmHead& head, int64_t k,
                   int64_t N, float* workspace) override;
  [[nodiscard]] size_t lm_head_workspace(const LmHead& head, int64_t N) const override;
  void lm_head_logits(float* logits, const float* hidden, const LmHead& head, int64_t B,
                      float* workspace) override;

  void sample(Draw* draws, const float* logits, const SampleRow* rows, int64_t N, int64_t V,
              float* workspace) override;
  [[nodiscard]] size_t sample_workspace(int64_t V) const override;

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
  /// Calls f(first row, rows, memory) for each chunk of the head's logits.
  template <class F>
  void for_each_logits(const LmHead& head, KeptLogits kept, const float* hidden, int64_t N, float* workspace,
                       const F& f);
  void lm_head_chunk_backward(float* d_hidden, const float* hidden, const LmHead& head, int64_t first,
                              int64_t rows, const float* dz, float* const* u, float* scratch);

  int threads_;
  std::vector<double> partial_sums_;  // of sums over fixed parts of the input, see optimizer_parts.h
};

}  // namespace anneal::cpu
