// Times each operation of the CPU backend at a model's shapes, beside the time that its floor would take.
//
//   bench_ops [threads] [model width: 768 or 256]
//
// The floor of what multiplies matrices is the BLAS's own speed, measured here on a large product; the floor
// of everything else is memory: the bytes that must be read and written, at the measured speed of a copy. A
// share of 100% means that nothing is left to win. Each figure is the best of several runs.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <random>
#include <string>
#include <vector>

#include "backend/backend.h"

namespace {

using anneal::Activation;
using anneal::AttentionShape;
using anneal::BatchLayout;

double best_seconds(const std::function<void()>& f) {
  f();
  double best = 1e9;
  double total = 0.0;
  for (int runs = 0; runs < 5 || (total < 0.4 && runs < 200); ++runs) {
    const auto start = std::chrono::steady_clock::now();
    f();
    const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    best = std::min(best, seconds);
    total += seconds;
  }
  return best;
}

/// Times operations and prints a line for each.
class Bench {
 public:
  Bench(anneal::Backend& backend, double flops, double bytes)
      : backend_(backend), flops_(flops), bytes_(bytes) {}

  /// A buffer of `size` random floats, never released: the program ends soon.
  float* floats(int64_t size) {
    auto* p = static_cast<float*>(backend_.allocate(static_cast<size_t>(size) * sizeof(float)));
    for (int64_t i = 0; i < size; ++i) p[i] = static_cast<float>(random_() % 2001) * 1e-3f - 1.0f;
    return p;
  }

  /// `times`: how often a training step of the model runs it.
  void product(const char* name, int times, double flops, const std::function<void()>& f) {
    report(name, times, flops / flops_, flops * 1e-9, "GFLOP/s", f);
  }
  void stream(const char* name, int times, double bytes, const std::function<void()>& f) {
    report(name, times, bytes / bytes_, bytes * 1e-9, "GB/s", f);
  }
  void total() const {
    std::printf("%-34s %9.1f ms %30.0f%%\n", "training step", step_ * 1e3, 100 * products_ / step_);
  }

 private:
  void report(const char* name, int times, double floor, double amount, const char* unit,
              const std::function<void()>& f) {
    const double seconds = best_seconds(f);
    std::printf("%-28s x%-4d %9.3f ms %9.1f %-8s %10.0f%%\n", name, times, seconds * 1e3, amount / seconds,
                unit, 100 * floor / seconds);
    step_ += times * seconds;
    if (unit[1] == 'F') products_ += times * floor;
  }

  anneal::Backend& backend_;
  double flops_, bytes_;
  double step_ = 0.0, products_ = 0.0;
  std::mt19937 random_{1};
};

}  // namespace

int main(int argc, char** argv) {
  const int threads = argc > 1 ? std::atoi(argv[1]) : 2;
  const int64_t D = argc > 2 ? std::atoi(argv[2]) : 768;
  const int64_t T = 2048, E = 64, H = D / E, F = D == 768 ? 2048 : 688, V = D == 768 ? 32000 : 8192;
  const int L = D == 768 ? 12 : 6;
  const int64_t sequences = 4;
  const double bytes = sizeof(float);
  const auto backend = anneal::make_cpu_backend(threads);
  Bench setup(*backend, 1.0, 1.0);

  const int64_t side = 2048;
  float* a = setup.floats(side * side * 4);
  float* b = setup.floats(side * side * 4);
  float* c = setup.floats(side * side * 4);
  const double flops = 2.0 * side * side * side / best_seconds([&] {
                         backend->linear_forward(c, a, b, nullptr, side, side, side, side, false);
                       });
  const size_t copied = static_cast<size_t>(side * side * 4) * sizeof(float);
  const double bandwidth =
      2.0 * static_cast<double>(copied) / best_seconds([&] { backend->copy(a, b, copied); });
  std::printf("%s, %d threads: products %.0f GFLOP/s, memory %.1f GB/s\n",
              anneal::cpu_backend_description().c_str(), threads, flops * 1e-9, bandwidth * 1e-9);
  std::printf("width %ld, %d layers, %ld tokens in %ld sequences, vocabulary %ld\n\n", D, L, T, sequences, V);
  Bench bench(*backend, flops, bandwidth);

  // Linear layers: input and output widths of a layer's four products.
  const AttentionShape shape{static_cast<int32_t>(H), static_cast<int32_t>(H), static_cast<int32_t>(E),
                             0.125f};
  float* x = bench.floats(T * std::max(3 * D, 2 * F));
  float* y = bench.floats(T * std::max(3 * D, 2 * F));
  float* z = bench.floats(T * std::max(3 * D, 2 * F));
  float* w = bench.floats(V * D);
  float* dw = bench.floats(V * D);
  const struct {
    const char* name;
    int64_t in, out;
  } layers[] = {{"qkv", D, 3 * D}, {"attention out", D, D}, {"gate and up", D, 2 * F}, {"down", F, D}};
  for (const auto& layer : layers) {
    const double work = 2.0 * static_cast<double>(T * layer.in * layer.out);
    const std::string name = layer.name;
    bench.product((name + " forward").c_str(), L, work, [&] {
      backend->linear_forward(y, x, w, nullptr, T, layer.in, layer.out, layer.out, false);
    });
    bench.product((name + " d_input").c_str(), L, work,
                  [&] { backend->linear_backward_input(x, y, w, T, layer.in, layer.out, layer.out, false); });
    bench.product((name + " d_weight").c_str(), L, work, [&] {
      backend->linear_backward_weight(dw, nullptr, y, x, T, layer.in, layer.out, layer.out);
    });
  }

  // Attention: half of the products of all queries with all keys.
  std::vector<int32_t> borders, prefix(static_cast<size_t>(sequences), -1), positions;
  for (int64_t s = 0; s <= sequences; ++s) borders.push_back(static_cast<int32_t>(s * T / sequences));
  for (int64_t t = 0; t < T; ++t) positions.push_back(static_cast<int32_t>(t % (T / sequences)));
  const BatchLayout layout{static_cast<int32_t>(T), static_cast<int32_t>(sequences), borders.data(),
                           prefix.data(), positions.data()};
  float* qkv = bench.floats(T * 3 * D);
  float* d_qkv = bench.floats(T * 3 * D);
  float* out = bench.floats(T * D);
  float* d_out = bench.floats(T * D);
  float* lse = bench.floats(T * H);
  anneal::LmHead head;
  head.hidden_size = D;
  head.vocab_size = V;
  head.w = w;
  head.dw = dw;
  float* workspace = static_cast<float*>(backend->allocate(std::max(
      {backend->attention_workspace(T, shape), backend->lm_head_workspace(head, T), size_t{1} << 20})));
  const double product = static_cast<double>(T * T / sequences * D);  // one product of a causal half
  bench.product("attention forward", L, 2 * product,
                [&] { backend->attention_forward(out, lse, qkv, layout, shape, workspace); });
  bench.product("attention backward", L, 5 * product,
                [&] { backend->attention_backward(d_qkv, d_out, out, lse, qkv, layout, shape, workspace); });

  // Head: logits once, then two products.
  const std::vector<int32_t> targets(static_cast<size_t>(T), 7);
  const std::vector<float> weights(static_cast<size_t>(T), 1e-3f);
  float* hidden = bench.floats(T * D);
  const anneal::HeadScores scores{.log_prob = bench.floats(T),
                                  .hit = bench.floats(T),
                                  .entropy = bench.floats(T),
                                  .log_z = bench.floats(T),
                                  .mean_logit = bench.floats(T),
                                  .log_sum_squares = bench.floats(T)};
  bench.product("lm_head forward and backward", 1, 6.0 * static_cast<double>(T * D * V), [&] {
    backend->lm_head_forward_backward(scores, out, hidden, head, targets.data(), weights.data(), T,
                                      workspace);
  });

  // What streams through memory.
  const double row_bytes = static_cast<double>(T * D) * bytes;
  const double up_bytes = static_cast<double>(T * F) * bytes;
  std::vector<float> frequencies;
  for (int64_t e = 0; e < E / 2; ++e) frequencies.push_back(1.0f / static_cast<float>(1 + e));
  float* norm_w = bench.floats(D);
  float* norm_dw = bench.floats(D);
  float* rstd = bench.floats(T);
  bench.stream("rope", 2 * L, 4 * row_bytes,
               [&] { backend->rope(qkv, positions.data(), frequencies.data(), T, 2 * H, E, 3 * D, 1); });
  bench.stream("rms_norm forward", 2 * L, 2 * row_bytes,
               [&] { backend->rms_norm_forward(out, rstd, hidden, norm_w, T, 1, D, D, D, 1e-5f); });
  bench.stream("rms_norm backward", 2 * L, 4 * row_bytes, [&] {
    backend->rms_norm_backward(out, norm_dw, d_out, hidden, norm_w, rstd, T, 1, D, D, D, true, workspace);
  });
  bench.stream("swiglu forward", L, 3 * up_bytes,
               [&] { backend->activation_forward(y, x, Activation::kSwiGlu, T, F); });
  bench.stream("swiglu backward", L, 5 * up_bytes,
               [&] { backend->activation_backward(x, y, x, Activation::kSwiGlu, T, F); });
  bench.stream("gelu forward", 0, 2 * up_bytes,
               [&] { backend->activation_forward(y, z, Activation::kGelu, T, F); });
  bench.stream("embedding forward", 1, 2 * row_bytes,
               [&] { backend->embedding_forward(out, w, targets.data(), T, D); });
  bench.stream("embedding backward", 1, 3 * row_bytes,
               [&] { backend->embedding_backward(dw, out, targets.data(), T, D); });
  // The optimiser takes the model tensor by tensor; the embedding table stands for all of it.
  const double parameters = static_cast<double>(V * D + L * (4 * D * D + 3 * D * F));
  const double tables = parameters / static_cast<double>(V * D);
  const int optimizer_times = static_cast<int>(tables + 0.5);
  float* m = bench.floats(V * D);
  float* v = bench.floats(V * D);
  std::fill_n(v, V * D, 0.1f);
  volatile double sink = 0.0;
  bench.stream("sum of squares", optimizer_times, static_cast<double>(V * D) * bytes,
               [&] { sink = backend->sum_of_squares(dw, V * D); });
  const anneal::AdamWOptions options{1e-6f, 0.9f, 0.95f, 1e-8f, 0.1f, 0.1f, 0.05f, 1.0f};
  bench.stream("adamw", optimizer_times, 7 * static_cast<double>(V * D) * bytes,
               [&] { backend->adamw(w, m, v, dw, V * D, options); });
  bench.total();

  // Generation: one token for one sequence, and for eight. Not part of the step.
  std::printf("\n");
  for (const int64_t B : {int64_t{1}, int64_t{8}, int64_t{16}}) {
    bench.stream(("gate and up, " + std::to_string(B) + " rows").c_str(), 0,
                 static_cast<double>(2 * F * D) * bytes,
                 [&] { backend->linear_forward(y, x, w, nullptr, B, D, 2 * F, 2 * F, false); });
    bench.stream(("logits, " + std::to_string(B) + " rows").c_str(), 0, static_cast<double>(V * D) * bytes,
                 [&] { backend->lm_head_logits(y, x, head, B, workspace); });
  }
  // One token of one sequence over T keys, in pages that lie in order.
  std::vector<int32_t> pages;
  for (int64_t page = 0; page < T / anneal::kPageRows; ++page) pages.push_back(static_cast<int32_t>(page));
  const int32_t group_starts[] = {0, 1}, shared_pages = 0, page_start = 0, length = static_cast<int32_t>(T);
  const anneal::KvCacheView cache{qkv, d_qkv};
  const anneal::PagedLayout paged{1, 1, group_starts, &shared_pages, &page_start, pages.data(), &length};
  bench.stream("attention of one token", 0, 2 * row_bytes,
               [&] { backend->attention_paged(out, hidden, cache, paged, shape, workspace); });

  // Low-rank updates of rank 16, of a layer as wide as the model and of the feed-forward's.
  for (const int64_t width : {D, F}) {
    anneal::LowRank update;
    update.rank = 16;
    update.in = D;
    update.out = width;
    update.a = w;
    update.b = w + 16 * D;
    update.d_a = dw;
    update.d_b = dw + 16 * D;
    float* scratch =
        bench.floats(static_cast<int64_t>(backend->low_rank_workspace(update, T) / sizeof(float)));
    const double work = 2.0 * static_cast<double>(T * update.rank * (D + width));
    const std::string name = "low rank to " + std::to_string(width);
    bench.product((name + " forward").c_str(), 0, work,
                  [&] { backend->low_rank_forward(y, z, x, update, T, width, scratch); });
    bench.product((name + " backward").c_str(), 0, 2 * work,
                  [&] { backend->low_rank_backward(out, y, x, z, update, T, width, scratch); });
  }
  return 0;
}
