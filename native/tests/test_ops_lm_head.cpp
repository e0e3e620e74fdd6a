// The language-model head with its fused log-softmax.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "op_harness.h"

namespace anneal::test {
namespace {

/// One head under test: sizes, and the ids scored at each row.
struct Case {
  int64_t N, D, V;
  int64_t K = 1;
  float temperature = 1.0f;
  double range = 1.0;
  int64_t rank = 0;  // of a low-rank update; 0: none

  [[nodiscard]] size_t rows() const { return static_cast<size_t>(N); }
  [[nodiscard]] Ints targets() const {
    return random_ints(rows() * static_cast<size_t>(K), 9, 0, static_cast<int32_t>(V - 1));
  }
};

constexpr float kScale = 0.7f;

/// The head on the inputs of an operation: hidden, w, then A and B of the update. Gradients may be absent.
LmHead head_of(const Case& c, const Pointers& in, const Pointers* d_in) {
  LmHead head;
  head.hidden_size = c.D;
  head.vocab_size = c.V;
  head.w = in[1];
  head.targets_per_row = c.K;
  head.temperature = c.temperature;
  if (d_in != nullptr) head.dw = (*d_in)[1];
  if (c.rank == 0) return head;
  LowRank update;
  update.rank = c.rank;
  update.in = c.D;
  update.out = c.V;
  update.scale = kScale;
  update.a = in[2];
  update.b = in[3];
  if (d_in != nullptr) {
    update.d_a = (*d_in)[2];
    update.d_b = (*d_in)[3];
  }
  head.updates = {update};
  return head;
}

/// The outputs of an operation, in the order of `outputs_of`.
HeadScores scores_of(const Pointers& out) {
  return {.log_prob = out[0],
          .hit = out[3],
          .entropy = out[1],
          .log_z = out[2],
          .mean_logit = out[4],
          .log_sum_squares = out[5]};
}

/// The numbers of each row, as backend.h defines them.
void reference_scores(const Case& c, const std::vector<Doubles>& in, std::vector<Doubles>& out) {
  const Ints targets = c.targets();
  Doubles z(static_cast<size_t>(c.V));
  for (int64_t n = 0; n < c.N; ++n) {
    double max = -1e300;
    for (int64_t j = 0; j < c.V; ++j) {
      double sum = 0.0;
      for (int64_t i = 0; i < c.D; ++i) sum += in[0][n * c.D + i] * in[1][j * c.D + i];
      for (int64_t r = 0; r < c.rank; ++r) {
        double u = 0.0;
        for (int64_t i = 0; i < c.D; ++i) u += in[0][n * c.D + i] * in[2][r * c.D + i];
        sum += static_cast<double>(kScale) * u * in[3][j * c.rank + r];
      }
      z[static_cast<size_t>(j)] = sum / static_cast<double>(c.temperature);
      max = std::max(max, z[static_cast<size_t>(j)]);
    }
    double sum = 0.0;
    double weighted = 0.0;
    double squares = 0.0;
    for (const double zj : z) {
      sum += std::exp(zj - max);
      weighted += std::exp(zj - max) * zj;
      squares += std::exp(2.0 * (zj - max));
    }
    const auto likeliest = static_cast<int32_t>(std::max_element(z.begin(), z.end()) - z.begin());
    const double log_z = max + std::log(sum);
    for (int64_t k = 0; k < c.K; ++k) {
      const int32_t target = targets[static_cast<size_t>(n * c.K + k)];
      out[0][n * c.K + k] = z[static_cast<size_t>(target)] - log_z;
      out[3][n * c.K + k] = target == likeliest ? 1.0 : 0.0;
    }
    out[1][n] = log_z - weighted / sum;
    out[2][n] = log_z;
    out[4][n] = std::accumulate(z.begin(), z.end(), 0.0) / static_cast<double>(c.V);
    out[5][n] = std::log(squares) - 2.0 * std::log(sum);
  }
}

enum class Path { kBackward, kLogProbOnly, kFrozen };

std::vector<Input> inputs_of(const Case& c, bool frozen) {
  const auto size = [](int64_t rows, int64_t columns) { return static_cast<size_t>(rows * columns); };
  const Gradient weights = frozen ? Gradient::kNone : Gradient::kAddedTo;
  return {{size(c.N, c.D), Gradient::kOverwritten, -c.range, c.range},
          {size(c.V, c.D), weights},
          {size(c.rank, c.D), Gradient::kAddedTo},
          {size(c.V, c.rank), Gradient::kAddedTo}};
}

/// `all`: gradients of entropy and log-normaliser too.
std::vector<Output> outputs_of(const Case& c, bool all) {
  return {{c.targets().size()},        {c.rows(), all},   {c.rows(), all},
          {c.targets().size(), false}, {c.rows(), false}, {c.rows(), false}};
}

void check_lm_head(const Case& c, Path path) {
  const bool all = path != Path::kLogProbOnly;
  check({.name = "lm_head",
         .inputs = inputs_of(c, path == Path::kFrozen),
         .outputs = outputs_of(c, all),
         .reference = [=](const auto& in, auto& out) { reference_scores(c, in, out); },
         .forward =
             [=](Run& run, const auto& in, const auto& out) {
               const LmHead head = head_of(c, in, nullptr);
               run.backend.lm_head_forward(scores_of(out), in[0], head, run.ints(c.targets()), c.N,
                                           run.scratch(run.backend.lm_head_workspace(head, c.N)));
             },
         .backward =
             [=](Run& run, const auto& in, const auto& out, const auto& d_out, const auto& d_in) {
               const LmHead head = head_of(c, in, &d_in);
               run.backend.lm_head_backward(d_in[0], in[0], head, run.ints(c.targets()), out[2], out[1],
                                            d_out[0], d_out[1], d_out[2], c.N,
                                            run.scratch(run.backend.lm_head_workspace(head, c.N)));
             },
         .tolerance = 3e-5});
}

/// The one-pass road: weights that are known beforehand are the gradient of -log_prob.
void check_forward_backward(const Case& c, bool frozen) {
  check({.name = "lm_head_forward_backward",
         .inputs = inputs_of(c, frozen),
         .outputs = outputs_of(c, false),
         .reference = [=](const auto& in, auto& out) { reference_scores(c, in, out); },
         .forward =
             [=](Run& run, const auto& in, const auto& out) {
               const LmHead head = head_of(c, in, nullptr);
               const Floats zeros(c.targets().size(), 0.0f);
               run.backend.lm_head_forward_backward(scores_of(out),
                                                    run.floats(Floats(static_cast<size_t>(c.N * c.D))), in[0],
                                                    head, run.ints(c.targets()), run.floats(zeros), c.N,
                                                    run.scratch(run.backend.lm_head_workspace(head, c.N)));
             },
         .backward =
             [=](Run& run, const auto& in, const auto& out, const auto& d_out, const auto& d_in) {
               const LmHead head = head_of(c, in, &d_in);
               Floats weights = run.read(d_out[0], c.targets().size());
               for (float& weight : weights) weight = -weight;
               run.backend.lm_head_forward_backward(scores_of(out), d_in[0], in[0], head,
                                                    run.ints(c.targets()), run.floats(weights), c.N,
                                                    run.scratch(run.backend.lm_head_workspace(head, c.N)));
             },
         .tolerance = 3e-5});
}

}  // namespace

TEST_CASE("lm_head") {
  for (const Path path : {Path::kBackward, Path::kLogProbOnly, Path::kFrozen}) {
    check_lm_head({1, 3, 2}, path);
    check_lm_head({5, 24, 257}, path);
    check_lm_head({70, 8, 33, 1, 1.0f, 8.0}, path);  // peaked distributions
    check_lm_head({3, 5, 9001}, path);
    check_lm_head({5, 24, 257, 4}, path);               // several targets a row
    check_lm_head({7, 6, 3, 5, 0.7f}, path);            // some of them equal
    check_lm_head({9, 12, 65, 3, 2.5f, 4.0, 5}, path);  // a low-rank update
  }
  for (const bool frozen : {false, true}) {
    check_forward_backward({1, 1, 2}, frozen);
    check_forward_backward({37, 24, 257}, frozen);
    check_forward_backward({130, 5, 7}, frozen);
    check_forward_backward({11, 6, 3, 5, 0.7f}, frozen);
    check_forward_backward({130, 9, 40, 2, 1.5f, 3.0, 4}, frozen);
  }
}

TEST_CASE("lm_head takes a long batch in several chunks") {
  // So many logits leave 128 rows a chunk, the smallest; 130 rows are cut in two.
  const Case c{130, 2, 140000};
  const Floats hidden = random_floats(static_cast<size_t>(c.N * c.D), 1);
  const Floats w = random_floats(static_cast<size_t>(c.V * c.D), 2);
  std::vector<Doubles> expected(6, Doubles(c.rows()));
  reference_scores(c, {Doubles(hidden.begin(), hidden.end()), Doubles(w.begin(), w.end())}, expected);
  const auto backend = make_cpu_backend(2);
  Run run(*backend);
  std::vector<float*> out;
  for (int i = 0; i < 6; ++i) out.push_back(run.floats(Floats(c.rows())));
  const LmHead head = head_of(c, {run.floats(hidden), run.floats(w)}, nullptr);
  const size_t bytes = backend->lm_head_workspace(head, c.N);
  CHECK(bytes < static_cast<size_t>(c.N * c.V) * sizeof(float));
  backend->lm_head_forward(scores_of(out), run.floats(hidden), head, run.ints(c.targets()), c.N,
                           run.scratch(bytes));
  for (size_t i = 0; i < 6; ++i) {
    const Floats actual = run.read(out[i], c.rows());
    for (size_t n = 0; n < actual.size(); ++n) {
      CHECK(static_cast<double>(actual[n]) == doctest::Approx(expected[i][n]).epsilon(1e-5));
    }
  }
}

TEST_CASE(
    "lm_head: logits kept from forward to backward, all or some of them, give the bits of those computed "
    "again") {
  const Case c{130, 2, 140000, 2, 0.7f, 1.0, 2};  // two chunks of 65 rows, see above
  const auto size = [](int64_t rows, int64_t columns) { return static_cast<size_t>(rows * columns); };
  const auto backend = make_cpu_backend(2);
  const auto gradients = [&](int64_t kept_rows) {
    Run run(*backend);
    const Pointers in{
        run.floats(random_floats(size(c.N, c.D), 1)), run.floats(random_floats(size(c.V, c.D), 2)),
        run.floats(random_floats(size(c.rank, c.D), 3)), run.floats(random_floats(size(c.V, c.rank), 4))};
    const Pointers d_in{run.floats(Floats(size(c.N, c.D))), run.floats(Floats(size(c.V, c.D))),
                        run.floats(Floats(size(c.rank, c.D))), run.floats(Floats(size(c.V, c.rank)))};
    Pointers out;
    for (int i = 0; i < 6; ++i) out.push_back(run.floats(Floats(size(c.N, c.K))));
    LmHead head = head_of(c, in, &d_in);
    head.kept_rows = kept_rows;
    head.kept_logits = run.scratch(size(kept_rows, c.V) * sizeof(float));
    float* workspace = run.scratch(backend->lm_head_workspace(head, c.N));
    const int32_t* targets = run.ints(c.targets());
    backend->lm_head_forward(scores_of(out), in[0], head, targets, c.N, workspace);
    backend->lm_head_backward(d_in[0], in[0], head, targets, out[2], out[1],
                              run.floats(random_floats(size(c.N, c.K), 5)),
                              run.floats(random_floats(c.rows(), 6)), nullptr, c.N, workspace);
    return std::vector<Floats>{run.read(d_in[0], size(c.N, c.D)), run.read(d_in[1], size(c.V, c.D)),
                               run.read(d_in[2], size(c.rank, c.D)), run.read(d_in[3], size(c.V, c.rank))};
  };
  const std::vector<Floats> again = gradients(0);
  CHECK(gradients(c.N) == again);
  CHECK(gradients(c.N - 1) == again);
}

TEST_CASE("lm_head_top: the most likely ids in order, equals by id, with their log-probs") {
  for_each_backend([](Backend& backend, const std::string& which) {
    INFO(which);
    Run run(backend);
    const int64_t N = 2, V = 37, k = 5;
    // Logits are the weights themselves: one hidden number, 1 and -1.
    Floats w = random_floats(static_cast<size_t>(V), 3);
    w[20] = w[4] = 2.0f;
    w[30] = -3.0f;
    const Case c{N, 1, V, 1, 0.5f};
    const LmHead head = head_of(c, {nullptr, run.floats(w)}, nullptr);
    int32_t* ids = run.ints(Ints(static_cast<size_t>(N * k), -1));
    float* log_probs = run.floats(Floats(static_cast<size_t>(N * k)));
    backend.lm_head_top(ids, log_probs, run.floats({1.0f, -1.0f}), head, k, N,
                        run.scratch(backend.lm_head_workspace(head, N)));
    for (int64_t n = 0; n < N; ++n) {
      std::vector<int32_t> order(static_cast<size_t>(V));
      std::iota(order.begin(), order.end(), 0);
      const float sign = n == 0 ? 1.0f : -1.0f;
      std::ranges::stable_sort(order, [&](int32_t a, int32_t b) {
        return sign * w[static_cast<size_t>(a)] > sign * w[static_cast<size_t>(b)];
      });
      double sum = 0.0;
      for (const float wj : w) sum += std::exp(2.0 * static_cast<double>(sign * wj));
      for (int64_t i = 0; i < k; ++i) {
        const int32_t id = order[static_cast<size_t>(i)];
        CHECK(ids[n * k + i] == id);
        const double expected = 2.0 * static_cast<double>(sign * w[static_cast<size_t>(id)]) - std::log(sum);
        CHECK(static_cast<double>(log_probs[n * k + i]) == doctest::Approx(expected).epsilon(1e-5));
      }
    }
  });
}

TEST_CASE("lm_head_logits") {
  for (const int64_t rank : {int64_t{0}, int64_t{3}}) {
    const Case c{3, 70, 257, 1, 1.0f, 1.0, rank};
    check({.name = "lm_head_logits",
           .inputs = inputs_of(c, true),
           .outputs = {{static_cast<size_t>(c.N * c.V)}},
           .reference =
               [=](const auto& in, auto& out) {
                 for (int64_t n = 0; n < c.N; ++n) {
                   for (int64_t j = 0; j < c.V; ++j) {
                     double sum = 0.0;
                     for (int64_t i = 0; i < c.D; ++i) {
                       double w = in[1][j * c.D + i];
                       for (int64_t r = 0; r < rank; ++r) {
                         w += static_cast<double>(kScale) * in[3][j * rank + r] * in[2][r * c.D + i];
                       }
                       sum += in[0][n * c.D + i] * w;
                     }
                     out[0][n * c.V + j] = sum;
                   }
                 }
               },
           .forward =
               [=](Run& run, const auto& in, const auto& out) {
                 const LmHead head = head_of(c, in, nullptr);
                 run.backend.lm_head_logits(out[0], in[0], head, c.N,
                                            run.scratch(run.backend.lm_head_workspace(head, c.N)));
               },
           .backward = nullptr});
  }
}

}  // namespace anneal::test
