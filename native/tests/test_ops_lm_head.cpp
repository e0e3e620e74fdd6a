// The language-model head with its fused log-softmax.
#include <doctest/doctest.h>

#include <cmath>

#include "op_harness.h"

namespace anneal::test {
namespace {

/// Log-prob, entropy and log-normaliser of each row, as backend.h defines them.
void reference_scores(const Doubles& hidden, const Doubles& w, const Ints& targets, int64_t D, int64_t V,
                      std::vector<Doubles>& out) {
  Doubles z(static_cast<size_t>(V));
  for (size_t n = 0; n < targets.size(); ++n) {
    double max = -1e300;
    for (int64_t j = 0; j < V; ++j) {
      double sum = 0.0;
      for (int64_t i = 0; i < D; ++i) sum += hidden[n * static_cast<size_t>(D) + i] * w[j * D + i];
      z[static_cast<size_t>(j)] = sum;
      max = std::max(max, sum);
    }
    double sum = 0.0;
    double weighted = 0.0;
    for (const double zj : z) {
      sum += std::exp(zj - max);
      weighted += std::exp(zj - max) * zj;
    }
    const double log_z = max + std::log(sum);
    out[0][n] = z[static_cast<size_t>(targets[n])] - log_z;
    out[1][n] = log_z - weighted / sum;
    out[2][n] = log_z;
  }
}

enum class Path { kBackward, kLogProbOnly, kFrozen };

void check_lm_head(int64_t N, int64_t D, int64_t V, double range, Path path) {
  const auto rows = static_cast<size_t>(N);
  const Ints targets = random_ints(rows, 9, 0, static_cast<int32_t>(V - 1));
  const bool all = path != Path::kLogProbOnly;
  check(
      {.name = "lm_head",
       .inputs = {{static_cast<size_t>(N * D), Gradient::kOverwritten, -range, range},
                  {static_cast<size_t>(V * D), path == Path::kFrozen ? Gradient::kNone : Gradient::kAddedTo}},
       .outputs = {{rows}, {rows, all}, {rows, all}},
       .reference = [=](const auto& in, auto& out) { reference_scores(in[0], in[1], targets, D, V, out); },
       .forward =
           [=](Run& run, const auto& in, const auto& out) {
             run.backend.lm_head_forward(out[0], out[1], out[2], in[0], in[1], run.ints(targets), N, D, V,
                                         run.scratch(run.backend.lm_head_workspace(N, D, V)));
           },
       .backward =
           [=](Run& run, const auto& in, const auto& out, const auto& d_out, const auto& d_in) {
             run.backend.lm_head_backward(d_in[0], d_in[1], in[0], in[1], run.ints(targets), out[2], out[1],
                                          d_out[0], d_out[1], d_out[2], N, D, V,
                                          run.scratch(run.backend.lm_head_workspace(N, D, V)));
           },
       .tolerance = 3e-5});
}

/// The one-pass road: weights that are known beforehand are the gradient of -log_prob.
void check_forward_backward(int64_t N, int64_t D, int64_t V, bool frozen) {
  const auto rows = static_cast<size_t>(N);
  const Ints targets = random_ints(rows, 9, 0, static_cast<int32_t>(V - 1));
  check({.name = "lm_head_forward_backward",
         .inputs = {{static_cast<size_t>(N * D)},
                    {static_cast<size_t>(V * D), frozen ? Gradient::kNone : Gradient::kAddedTo}},
         .outputs = {{rows}, {rows, false}, {rows, false}},
         .reference = [=](const auto& in, auto& out) { reference_scores(in[0], in[1], targets, D, V, out); },
         .forward =
             [=](Run& run, const auto& in, const auto& out) {
               Floats scratch_hidden(static_cast<size_t>(N * D));
               const Floats zeros(rows, 0.0f);
               run.backend.lm_head_forward_backward(out[0], out[1], out[2], run.floats(scratch_hidden),
                                                    nullptr, in[0], in[1], run.ints(targets),
                                                    run.floats(zeros), N, D, V,
                                                    run.scratch(run.backend.lm_head_workspace(N, D, V)));
             },
         .backward =
             [=](Run& run, const auto& in, const auto& out, const auto& d_out, const auto& d_in) {
               Floats weights = run.read(d_out[0], rows);
               for (float& weight : weights) weight = -weight;
               run.backend.lm_head_forward_backward(out[0], out[1], out[2], d_in[0], d_in[1], in[0], in[1],
                                                    run.ints(targets), run.floats(weights), N, D, V,
                                                    run.scratch(run.backend.lm_head_workspace(N, D, V)));
             },
         .tolerance = 3e-5});
}

}  // namespace

TEST_CASE("lm_head") {
  for (const Path path : {Path::kBackward, Path::kLogProbOnly, Path::kFrozen}) {
    check_lm_head(1, 3, 2, 1.0, path);
    check_lm_head(5, 24, 257, 1.0, path);
    check_lm_head(70, 8, 33, 8.0, path);  // peaked distributions
    check_lm_head(3, 5, 9001, 1.0, path);
  }
  for (const bool frozen : {false, true}) {
    check_forward_backward(1, 1, 2, frozen);
    check_forward_backward(37, 24, 257, frozen);
    check_forward_backward(130, 5, 7, frozen);
  }
}

TEST_CASE("lm_head takes a long batch in several chunks") {
  // So many logits leave 128 rows a chunk, the smallest; 130 rows are cut in two.
  const int64_t N = 130, D = 2, V = 140000;
  const Ints targets = random_ints(static_cast<size_t>(N), 9, 0, static_cast<int32_t>(V - 1));
  const Floats hidden = random_floats(static_cast<size_t>(N * D), 1);
  const Floats w = random_floats(static_cast<size_t>(V * D), 2);
  std::vector<Doubles> expected(3, Doubles(static_cast<size_t>(N)));
  reference_scores(Doubles(hidden.begin(), hidden.end()), Doubles(w.begin(), w.end()), targets, D, V,
                   expected);
  const auto backend = make_cpu_backend(2);
  Run run(*backend);
  std::vector<float*> out;
  for (int i = 0; i < 3; ++i) out.push_back(run.floats(Floats(static_cast<size_t>(N))));
  const size_t bytes = backend->lm_head_workspace(N, D, V);
  CHECK(bytes < static_cast<size_t>(N * V) * sizeof(float));
  backend->lm_head_forward(out[0], out[1], out[2], run.floats(hidden), run.floats(w), run.ints(targets), N, D,
                           V, run.scratch(bytes));
  for (size_t i = 0; i < 3; ++i) {
    const Floats actual = run.read(out[i], static_cast<size_t>(N));
    for (size_t n = 0; n < actual.size(); ++n) {
      CHECK(static_cast<double>(actual[n]) == doctest::Approx(expected[i][n]).epsilon(1e-5));
    }
  }
}

TEST_CASE("lm_head_logits") {
  const size_t B = 3, D = 70, V = 257;
  check({.name = "lm_head_logits",
         .inputs = {{B * D, Gradient::kNone}, {V * D, Gradient::kNone}},
         .outputs = {{B * V}},
         .reference =
             [=](const auto& in, auto& out) {
               for (size_t i = 0; i < B * V; ++i) {
                 for (size_t k = 0; k < D; ++k) out[0][i] += in[0][i / V * D + k] * in[1][i % V * D + k];
               }
             },
         .forward = [=](Run& run, const auto& in,
                        const auto& out) { run.backend.lm_head_logits(out[0], in[0], in[1], B, D, V); },
         .backward = nullptr});
}

}  // namespace anneal::test
