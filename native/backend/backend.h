// The list of operations: the only thing that the engine calls to compute.
//
// Conventions, for every backend:
//  * Pointers are device memory of this backend, float32 unless the name says otherwise, row-major.
//    Index arrays (`ids`, `targets`, `rows`, layouts) are int32 in device memory as well.
//  * Shapes are written [T, D]. Letters: T tokens of a microbatch, D hidden size, F feed-forward size,
//    H query heads, G key/value heads, E head size, V vocabulary, N scored positions, S sequences.
//  * `_forward` overwrites its outputs. In `_backward`, gradients of *activations* are overwritten and
//    gradients of *parameters* are added to, unless a parameter says otherwise.
//  * Every operation is deterministic: same inputs and same thread count give the same bits.
//  * No operation allocates; scratch memory comes from the caller, sized in bytes by the `_workspace`
//    functions for the largest call to come, and aligned to 64 bytes.
//  * Operations never fail on valid shapes; shapes are validated by the engine before.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

namespace anneal {

/// How a packed batch is cut into sequences. Sequence s owns rows [cu_seqlens[s], cu_seqlens[s+1]).
/// prefix[s] is -1, or an earlier sequence p < s: s attends to all of p (and to all that p attends to),
/// and its positions go on from p's end. `positions` [T] holds each row's position (the engine fills it).
struct BatchLayout {
  int32_t num_tokens = 0;
  int32_t num_sequences = 0;
  const int32_t* cu_seqlens = nullptr;  // [S + 1], host memory
  const int32_t* prefix = nullptr;      // [S], host memory
  const int32_t* positions = nullptr;   // [T], device memory
};

/// Rows of a page of the key/value cache.
constexpr int64_t kPageRows = 16;

/// Passes of up to so many rows compute each row by itself: its bits do not depend on the other rows, nor on
/// how many they are. Holds for all forward operations; attention sees of the others what the layout lets it
/// see.
constexpr int64_t kIndependentRows = 1024;

/// Heads of an attention layer. Query head h reads key/value head h / (heads / kv_heads).
struct AttentionShape {
  int32_t heads = 0;
  int32_t kv_heads = 0;
  int32_t head_dim = 0;
  float scale = 0.0f;  // usually 1 / sqrt(head_dim)
  /// Floats in one row of the fused projection: queries, then keys, then values.
  [[nodiscard]] int64_t qkv_width() const { return static_cast<int64_t>(heads + 2 * kv_heads) * head_dim; }
  [[nodiscard]] int64_t out_width() const { return static_cast<int64_t>(heads) * head_dim; }
  /// E rounded up to whole vectors, as the rows of a cache page are.
  [[nodiscard]] int64_t padded_dim() const { return (static_cast<int64_t>(head_dim) + 15) / 16 * 16; }
  /// Floats of a page's keys in one layer, and of its values.
  [[nodiscard]] int64_t page_floats() const { return kv_heads * padded_dim() * kPageRows; }
};

/// One layer's keys and values of all running sequences, in pages of kPageRows rows. A sequence holds any
/// pages, and several may hold the same. Row r of the cache is row r % kPageRows of page r / kPageRows.
struct KvCacheView {
  float* keys = nullptr;    // [pages, G, padded E, kPageRows]: transposed
  float* values = nullptr;  // [pages, G, kPageRows, padded E]
};

/// What the rows of a pass read in the cache. All arrays are host memory. Rows of a group follow each other
/// and read the same first `shared_pages` pages (a prompt that samples share; a sequence's own rows), whose
/// rows up to the longest of the group's lengths are all written.
struct PagedLayout {
  int32_t num_rows = 0;
  int32_t num_groups = 0;
  const int32_t* group_starts = nullptr;  // [groups + 1]
  const int32_t* shared_pages = nullptr;  // [groups]
  const int32_t* page_starts = nullptr;   // [rows]: where a row's list of pages begins in `pages`
  const int32_t* pages = nullptr;
  const int32_t* lengths = nullptr;  // [rows]: keys that a row sees, itself included
};

/// How a row of logits is drawn from. Arrays are host memory.
struct SampleRow {
  int32_t logits_row = 0;
  float temperature = 0.0f;  // 0: the likeliest token
  int64_t top_k = 0;         // 0: off
  float top_p = 1.0f;        // 1: off
  float min_p = 0.0f;        // 0: off
  float repetition_penalty = 1.0f;
  const int32_t* seen = nullptr;  // [num_seen] different tokens that the penalty is for
  int64_t num_seen = 0;
  const uint64_t* allowed = nullptr;  // [ceil(V / 64)] bits; null: every token
  double uniform = 0.0;               // in [0, 1)
};

struct Draw {
  int32_t token = 0;
  float log_prob = 0.0f;  // of the softmax of logits / temperature (0: of the logits), whatever the filters
};

/// What the language-model head tells of N scored rows with K targets each: with logits z and their softmax p
struct HeadScores {
  float* log_prob = nullptr;         // [N, K] z_target - log_z
  float* hit = nullptr;              // [N, K] 1 where the target is the likeliest id (of equals the smallest)
  float* entropy = nullptr;          // [N] log_z - sum_j p_j z_j
  float* log_z = nullptr;            // [N] log sum_j exp z_j
  float* mean_logit = nullptr;       // [N] sum_j z_j / V
  float* log_sum_squares = nullptr;  // [N] log sum_j p_j^2
};

enum class Activation { kSwiGlu, kGelu, kGeluTanh };

struct AdamWOptions {
  float learning_rate, beta1, beta2, eps, weight_decay;
  float bias_correction1, bias_correction2;  // 1 - beta^t
  float grad_scale;                          // clipping factor, multiplied into each gradient
};

struct LionOptions {
  float learning_rate, beta1, beta2, weight_decay, grad_scale;
};

struct SgdOptions {
  float learning_rate, momentum;
  bool nesterov;
  float weight_decay, grad_scale;
};

struct AdafactorOptions {
  float learning_rate;    // of the decay
  float relative_rate;    // min(learning_rate, 1 / sqrt(t)), multiplied by max(eps2, RMS(w))
  float one_minus_beta2;  // t^beta2_decay
  float eps1, eps2;       // lowest root of the variance estimate; lowest RMS of w
  float clip_threshold;   // of the update's RMS
  float weight_decay, grad_scale;
};

struct MuonOptions {
  float learning_rate;
  float update_scale;  // of the orthogonal update, by the matrix's shape
  float momentum;
  bool nesterov;
  float weight_decay, grad_scale;
};

/// Elements that share one scale in 8-bit optimiser states.
constexpr int64_t kStateBlock = 256;

/// A low-rank update scale B A of a matrix [out, in], with dropout on its input while it is trained.
struct LowRank {
  int64_t rank = 0, in = 0, out = 0;
  float scale = 1.0f;
  const float* a = nullptr;  // [rank, in]
  const float* b = nullptr;  // [out, rank]
  float* d_a = nullptr;      // null: frozen; d_b likewise
  float* d_b = nullptr;
  float dropout = 0.0f;  // probability that an input is dropped; 0: no dropout
  /// Element (row, column) is decided by Philox from (dropout_seed; column, row + dropout_row, module).
  uint64_t dropout_seed = 0;
  uint32_t module = 0;
  int64_t dropout_row = 0;
};

/// A language-model head and how its logits are scored.
struct LmHead {
  int64_t hidden_size = 0, vocab_size = 0;
  const float* w = nullptr;  // [V, D]
  float* dw = nullptr;       // null: frozen
  std::vector<LowRank> updates;
  int64_t targets_per_row = 1;
  float temperature = 1.0f;
  /// Memory for logits [kept_rows, V] that lm_head_forward leaves to the lm_head_backward of the same rows,
  /// which computes those of further rows again. The bits are the same with any number.
  float* kept_logits = nullptr;
  int64_t kept_rows = 0;
};

class Backend {
 public:
  virtual ~Backend() = default;

  // --- Memory -------------------------------------------------------------------------------------------
  /// Allocates `bytes` aligned to 64; throws std::bad_alloc. Only called while a session is set up.
  [[nodiscard]] virtual void* allocate(size_t bytes) = 0;
  virtual void release(void* memory) = 0;
  virtual void copy_to_device(void* dst, const void* src, size_t bytes) = 0;
  virtual void copy_to_host(void* dst, const void* src, size_t bytes) = 0;
  virtual void copy(void* dst, const void* src, size_t bytes) = 0;
  virtual void zero(void* dst, size_t bytes) = 0;

  // --- Elementwise --------------------------------------------------------------------------------------
  /// y[i] += x[i]
  virtual void add(float* y, const float* x, int64_t n) = 0;
  /// x[i] *= factor
  virtual void scale(float* x, float factor, int64_t n) = 0;

  // --- Embedding ----------------------------------------------------------------------------------------
  /// out[T, D] = table[ids[t], :]
  virtual void embedding_forward(float* out, const float* table, const int32_t* ids, int64_t T,
                                 int64_t D) = 0;
  /// d_table[ids[t], :] += d_out[t, :], summed in the order of t whatever the threads.
  virtual void embedding_backward(float* d_table, const float* d_out, const int32_t* ids, int64_t T,
                                  int64_t D) = 0;
  /// out[N, D] = in[rows[n], :]
  virtual void gather_rows(float* out, const float* in, const int32_t* rows, int64_t N, int64_t D) = 0;
  /// out[T, D] = 0, then out[rows[n], :] += in[n, :]  (rows may repeat)
  virtual void scatter_rows(float* out, const float* in, const int32_t* rows, int64_t N, int64_t T,
                            int64_t D) = 0;

  // --- Linear: y = x W^T + b, W is [out, in] as in PyTorch ---------------------------------------------
  // Rows of y and dy are y_stride >= out floats apart, so that a product can fill columns of a wider buffer.
  /// bias may be null. With `accumulate`, y += x W^T + b (the residual stream is added to in place).
  virtual void linear_forward(float* y, const float* x, const float* w, const float* bias, int64_t T,
                              int64_t in, int64_t out, int64_t y_stride, bool accumulate) = 0;
  /// dx = dy W, or dx += dy W with `accumulate`.
  virtual void linear_backward_input(float* dx, const float* dy, const float* w, int64_t T, int64_t in,
                                     int64_t out, int64_t y_stride, bool accumulate) = 0;
  /// dw += dy^T x; d_bias += column sums of dy. Either may be null.
  virtual void linear_backward_weight(float* dw, float* d_bias, const float* dy, const float* x, int64_t T,
                                      int64_t in, int64_t out, int64_t y_stride) = 0;

  // --- Low-rank updates of linear layers (Hu et al. 2021)
  // ---------------------------------------------------
  /// y += scale (dropout(x) A^T) B^T for x [T, in]; u [T, rank] = scale dropout(x) A^T is kept for
  /// backward. y null: only u.
  virtual void low_rank_forward(float* y, float* u, const float* x, const LowRank& update, int64_t T,
                                int64_t y_stride, float* workspace) = 0;
  /// d_b += dy^T u; with du = scale dy B: d_a += du^T dropout(x), dx += du A through the dropout (null:
  /// none).
  virtual void low_rank_backward(float* dx, const float* dy, const float* x, const float* u,
                                 const LowRank& update, int64_t T, int64_t y_stride, float* workspace) = 0;
  [[nodiscard]] virtual size_t low_rank_workspace(const LowRank& update, int64_t T) const = 0;
  /// to [T, in] = dropout(x), or += it; it is its own transpose. `to` may be x.
  virtual void low_rank_dropout(float* to, const float* x, const LowRank& update, int64_t T,
                                bool accumulate) = 0;
  /// The update of an embedding, whose rows are its inputs: out[t, :] += scale B A[:, ids[t]], a [rank, V],
  /// b [D, rank]; without dropout. workspace: that of low_rank_workspace.
  virtual void low_rank_embedding_forward(float* out, const int32_t* ids, const LowRank& update, int64_t T,
                                          float* workspace) = 0;
  virtual void low_rank_embedding_backward(const float* d_out, const int32_t* ids, const LowRank& update,
                                           int64_t T, float* workspace) = 0;

  // Weight-decomposed updates (DoRA, Liu et al. 2024): rows of W + scale B A scaled to the lengths
  // `magnitude`; their own length is treated as a constant in backward.
  /// inverse_norm[o] = 1 / |w_o + s b_o A|, from |w|^2 + 2 s b.(A w) + s^2 b (A A^T) b: no merged copy.
  virtual void dora_inverse_norm(float* inverse_norm, const float* w, const LowRank& update,
                                 float* workspace) = 0;
  [[nodiscard]] virtual size_t dora_inverse_norm_workspace(const LowRank& update) const = 0;
  /// y = magnitude * inverse_norm * x + bias for rows of `out` columns, or y += with `accumulate`; bias may
  /// be null. Rows of y and x are `stride` floats apart.
  virtual void dora_forward(float* y, const float* x, const float* magnitude, const float* inverse_norm,
                            const float* bias, int64_t T, int64_t out, int64_t stride, bool accumulate) = 0;
  /// dx = magnitude * inverse_norm * dy; d_magnitude += inverse_norm * column sums of dy * x (null: frozen).
  virtual void dora_backward(float* dx, float* d_magnitude, const float* dy, const float* x,
                             const float* magnitude, const float* inverse_norm, int64_t T, int64_t out,
                             int64_t stride) = 0;

  // --- Normalisation over the last dimension. Gradients of parameters may be null
  // ---------------------------
  /// y = x * rstd * w, rstd = 1 / sqrt(mean(x^2) + eps) (Zhang and Sennrich 2019). rstd [T] may be null.
  /// Rows are `x_stride` floats apart in x and `y_stride` in y, so that heads inside a fused projection are
  /// normalised in place (QK-norm): a call then covers `groups` blocks of D floats a row, rstd [T, groups].
  virtual void rms_norm_forward(float* y, float* rstd, const float* x, const float* w, int64_t T,
                                int64_t groups, int64_t D, int64_t x_stride, int64_t y_stride, float eps) = 0;
  /// dx = d/dx, or dx += with `accumulate`; dw [D] += . dy has rows of dy_stride, x and dx of x_stride.
  virtual void rms_norm_backward(float* dx, float* dw, const float* dy, const float* x, const float* w,
                                 const float* rstd, int64_t T, int64_t groups, int64_t D, int64_t x_stride,
                                 int64_t dy_stride, bool accumulate, float* workspace) = 0;
  [[nodiscard]] virtual size_t rms_norm_backward_workspace(int64_t D) const = 0;
  /// y = (x - mean) * rstd * w + b. mean, rstd [T] may be null.
  virtual void layer_norm_forward(float* y, float* mean, float* rstd, const float* x, const float* w,
                                  const float* b, int64_t T, int64_t D, float eps) = 0;
  virtual void layer_norm_backward(float* dx, float* dw, float* db, const float* dy, const float* x,
                                   const float* w, const float* mean, const float* rstd, int64_t T, int64_t D,
                                   bool accumulate, float* workspace) = 0;
  [[nodiscard]] virtual size_t layer_norm_backward_workspace(int64_t D) const = 0;

  // --- Rotary positions (Su et al. 2021), the half-split convention of Llama -------------------------------
  /// Rotates in place `heads` heads of size E at the start of each row of x [T, stride]. inverse_frequencies
  /// [E / 2]. `direction` +1 forward, -1 backward (the rotation is orthogonal: its gradient is the inverse).
  virtual void rope(float* x, const int32_t* positions, const float* inverse_frequencies, int64_t T,
                    int64_t heads, int64_t E, int64_t stride, int direction) = 0;

  // --- Attention over a packed batch, causal inside a sequence, full over its prefix chain -------------
  /// out [T, H * E], lse [T, H] (log of the softmax's normaliser) from qkv [T, qkv_width] (rotated already).
  /// Never stores scores: tiles with a running maximum and sum (Dao et al. 2022).
  virtual void attention_forward(float* out, float* lse, const float* qkv, const BatchLayout& layout,
                                 const AttentionShape& shape, float* workspace) = 0;
  /// d_qkv [T, qkv_width] from d_out [T, H * E]; scores are recomputed tile by tile from lse.
  virtual void attention_backward(float* d_qkv, const float* d_out, const float* out, const float* lse,
                                  const float* qkv, const BatchLayout& layout, const AttentionShape& shape,
                                  float* workspace) = 0;
  [[nodiscard]] virtual size_t attention_workspace(int64_t max_tokens, const AttentionShape& shape) const = 0;

  // --- Key/value cache (generation) ---------------------------------------------------------------------
  /// Copies keys and values of the N rows of qkv to rows cache_rows[n] (host memory) of the cache.
  virtual void kv_cache_append(const KvCacheView& cache, const float* qkv, const int32_t* cache_rows,
                               int64_t N, const AttentionShape& shape) = 0;
  virtual void kv_cache_copy_page(const KvCacheView& cache, int32_t to, int32_t from,
                                  const AttentionShape& shape) = 0;
  /// out [rows, H * E] from qkv [rows, qkv_width] (keys and values appended before) against the cache.
  virtual void attention_paged(float* out, const float* qkv, const KvCacheView& cache,
                               const PagedLayout& layout, const AttentionShape& shape, float* workspace) = 0;
  [[nodiscard]] virtual size_t attention_paged_workspace(const AttentionShape& shape) const = 0;

  // --- Feed-forward activations -------------------------------------------------------------------------
  /// kSwiGlu: in [T, 2F] holds gate then up, out [T, F] = silu(gate) * up. Others: in [T, F], out = gelu(in).
  virtual void activation_forward(float* out, const float* in, Activation kind, int64_t T, int64_t F) = 0;
  /// d_in may alias `in`.
  virtual void activation_backward(float* d_in, const float* d_out, const float* in, Activation kind,
                                   int64_t T, int64_t F) = 0;

  // --- Language-model head, fused with log-softmax; full logits never exist ----------------------------
  /// For N scored rows hidden [N, D] and head w [V, D], in chunks: logits z = (hidden w^T + updates) /
  /// temperature, p their softmax, and with targets [N, K] the numbers of HeadScores.
  virtual void lm_head_forward(const HeadScores& scores, const float* hidden, const LmHead& head,
                               const int32_t* targets, int64_t N, float* workspace) = 0;
  /// Gradients for given d_log_prob [N, K], d_entropy, d_log_z [N] (any may be null); d_hidden [N, D] is
  /// overwritten, those of the head's weights are added to. With p the softmax and h the entropy:
  ///   dz_j = sum_k d_log_prob_k (1[j = target_k] - p_j) + d_log_z p_j - d_entropy p_j (log p_j + h)
  virtual void lm_head_backward(float* d_hidden, const float* hidden, const LmHead& head,
                                const int32_t* targets, const float* log_z, const float* entropy,
                                const float* d_log_prob, const float* d_entropy, const float* d_log_z,
                                int64_t N, float* workspace) = 0;
  /// Forward and backward of loss = - sum_nk weights[n, k] log_prob[n, k] in one pass (logits are computed
  /// once).
  virtual void lm_head_forward_backward(const HeadScores& scores, float* d_hidden, const float* hidden,
                                        const LmHead& head, const int32_t* targets, const float* weights,
                                        int64_t N, float* workspace) = 0;
  /// The k most likely ids of each row, best first (of equals the smaller id first), and their log-probs
  /// [N, k].
  virtual void lm_head_top(int32_t* ids, float* log_probs, const float* hidden, const LmHead& head, int64_t k,
                           int64_t N, float* workspace) = 0;
  [[nodiscard]] virtual size_t lm_head_workspace(const LmHead& head, int64_t N) const = 0;
  /// logits [B, V] for generation, not divided by the temperature. workspace as for B scored rows.
  virtual void lm_head_logits(float* logits, const float* hidden, const LmHead& head, int64_t B,
                              float* workspace) = 0;

  // --- Sampling -----------------------------------------------------------------------------------------
  /// draws[n] (host memory) from rows of logits [*, V]. Filters in the order of transformers: repetition
  /// penalty (Keskar et al. 2019), allowed tokens, temperature, top-k, top-p, min-p; tokens as likely as the
  /// last one that a filter keeps are kept too. A row with no allowed token is not valid.
  virtual void sample(Draw* draws, const float* logits, const SampleRow* rows, int64_t N, int64_t V,
                      float* workspace) = 0;
  [[nodiscard]] virtual size_t sample_workspace(int64_t V) const = 0;

  // --- Optimiser ----------------------------------------------------------------------------------------
  /// Sum of squares in double precision, added in a fixed order.
  [[nodiscard]] virtual double sum_of_squares(const float* x, int64_t n) = 0;
  /// AdamW with decoupled decay (Loshchilov and Hutter 2019), exactly as torch.optim.AdamW orders it.
  virtual void adamw(float* w, float* m, float* v, const float* g, int64_t n,
                     const AdamWOptions& options) = 0;
  /// The same with moments of 8 bits (Dettmers et al. 2022): code c of block b stands for map[c] * scales[b],
  /// the map being the dynamic one, signed for m, unsigned for v. The update uses the new moments before they
  /// are rounded. scales [ceil(n / kStateBlock)]; all zeros are the state before the first step.
  virtual void adamw_8bit(float* w, uint8_t* m, uint8_t* v, float* m_scales, float* v_scales, const float* g,
                          int64_t n, const AdamWOptions& options) = 0;
  /// Lion (Chen et al. 2023): w = w (1 - lr decay) - lr sign(b1 m + (1 - b1) g), m = b2 m + (1 - b2) g.
  virtual void lion(float* w, float* m, const float* g, int64_t n, const LionOptions& options) = 0;
  /// As torch.optim.SGD without dampening: g += decay w, m = momentum m + g, w -= lr m (Nesterov: g +
  /// momentum m).
  virtual void sgd(float* w, float* m, const float* g, int64_t n, const SgdOptions& options) = 0;
  /// Adafactor (Shazeer and Stern 2018) as torch.optim.Adafactor orders it, for w [rows, columns] with the
  /// mean squares of rows and of columns as its state. The decay is decoupled and uses learning_rate.
  virtual void adafactor_matrix(float* w, float* row_squares, float* column_squares, const float* g,
                                int64_t rows, int64_t columns, const AdafactorOptions& options) = 0;
  /// The same for a vector, whose squares [n] are not factored.
  virtual void adafactor_vector(float* w, float* squares, const float* g, int64_t n,
                                const AdafactorOptions& options) = 0;
  /// Muon (Jordan et al. 2024) for w [rows, columns]: m = momentum m + (1 - momentum) g, the update
  /// (Nesterov: with g mixed in) is made orthogonal by five Newton-Schulz steps, w = w (1 - lr decay) - lr
  /// update_scale update.
  virtual void muon(float* w, float* m, const float* g, int64_t rows, int64_t columns,
                    const MuonOptions& options, float* workspace) = 0;
  [[nodiscard]] virtual size_t muon_workspace(int64_t rows, int64_t columns) const = 0;
};

/// The CPU backend with `threads` OpenMP threads; picks AVX2 or AVX-512 at run time.
std::unique_ptr<Backend> make_cpu_backend(int threads);
/// What the CPU backend chose: "avx512", "avx2" or "baseline", and the BLAS's kernel name.
std::string cpu_backend_description();

}  // namespace anneal
