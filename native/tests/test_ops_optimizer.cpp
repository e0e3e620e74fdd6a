// The optimisers' operations against plain float64 statements of the published formulas.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>

#include "op_harness.h"

namespace anneal::test {
namespace {

constexpr size_t kSizes[] = {1, 45, 70001};
constexpr int kSteps = 3;

/// The weights after three steps and the state (zeros at first) of an optimiser; inputs are weights and
/// gradients, of which each step takes half (the clipping factor). `step` is called with the number of the
/// step, from 1.
struct Steps {
  std::string name;
  size_t size;
  std::vector<size_t> states;
  std::function<void(int step, Doubles& w, std::vector<Doubles>& out, const Doubles& g)> reference;
  std::function<void(Run& run, int step, const Pointers& out, const float* g)> backend;
  double tolerance = 2e-6;
};

void check_steps(const Steps& steps) {
  std::vector<Output> outputs = {{steps.size, false}};
  for (const size_t state : steps.states) outputs.push_back({state, false});
  check({.name = steps.name,
         .inputs = {{steps.size, Gradient::kNone}, {steps.size, Gradient::kNone}},
         .outputs = outputs,
         .reference =
             [&](const auto& in, auto& out) {
               out[0] = in[0];
               Doubles g = in[1];
               for (double& value : g) value *= 0.5;
               for (int step = 1; step <= kSteps; ++step) steps.reference(step, out[0], out, g);
             },
         .forward =
             [&](Run& run, const auto& in, const auto& out) {
               run.backend.copy(out[0], in[0], steps.size * sizeof(float));
               for (size_t i = 0; i < steps.states.size(); ++i) {
                 run.backend.zero(out[i + 1], steps.states[i] * sizeof(float));
               }
               for (int step = 1; step <= kSteps; ++step) steps.backend(run, step, out, in[1]);
             },
         .backward = nullptr,
         .tolerance = steps.tolerance});
}

AdamWOptions adamw_options(int step) {
  return {0.01f,
          0.9f,
          0.95f,
          1e-8f,
          0.1f,
          static_cast<float>(1 - std::pow(0.9, step)),
          static_cast<float>(1 - std::pow(0.95, step)),
          0.5f};
}

double mean_square(const Doubles& x) {
  double sum = 0.0;
  for (const double value : x) sum += value * value;
  return sum / static_cast<double>(x.size());
}

constexpr double kEps1 = 1.1920929e-7;

AdafactorOptions adafactor_options(int step) {
  return {0.05f,
          static_cast<float>(std::min(0.05, 1 / std::sqrt(step))),
          static_cast<float>(std::pow(step, -0.8)),
          static_cast<float>(kEps1),
          1e-3f,
          0.9f,
          0.1f,
          0.5f};
}

/// w -= max(eps2, RMS(w)) rate u / max(1, RMS(u) / clip), after the decay.
void adafactor_apply(Doubles& w, const Doubles& u, int step) {
  const double alpha = std::max(1e-3, std::sqrt(mean_square(w))) * std::min(0.05, 1 / std::sqrt(step));
  const double rate = alpha / std::max(1.0, std::sqrt(mean_square(u)) / 0.9);
  for (size_t i = 0; i < w.size(); ++i) w[i] = w[i] * (1 - 0.05 * 0.1) - rate * u[i];
}

void check_adafactor_matrix(size_t rows, size_t columns) {
  check_steps({.name = "adafactor of a matrix " + std::to_string(rows) + " x " + std::to_string(columns),
               .size = rows * columns,
               .states = {rows, columns},
               .reference =
                   [=](int step, Doubles& w, std::vector<Doubles>& out, const Doubles& g) {
                     const double weight = std::pow(step, -0.8);
                     Doubles row_means(rows), column_means(columns);
                     for (size_t i = 0; i < g.size(); ++i) {
                       row_means[i / columns] += g[i] * g[i] / static_cast<double>(columns);
                       column_means[i % columns] += g[i] * g[i] / static_cast<double>(rows);
                     }
                     double mean = 0.0;
                     for (size_t r = 0; r < rows; ++r) {
                       out[1][r] += weight * (row_means[r] - out[1][r]);
                       mean += out[1][r] / static_cast<double>(rows);
                     }
                     for (size_t c = 0; c < columns; ++c) out[2][c] += weight * (column_means[c] - out[2][c]);
                     Doubles u(g.size());
                     for (size_t i = 0; i < g.size(); ++i) {
                       const double variance =
                           out[1][i / columns] * out[2][i % columns] / std::max(mean, kEps1);
                       u[i] = g[i] / std::sqrt(std::max(variance, kEps1 * kEps1));
                     }
                     adafactor_apply(w, u, step);
                   },
               .backend =
                   [=](Run& run, int step, const Pointers& out, const float* g) {
                     run.backend.adafactor_matrix(out[0], out[1], out[2], g, static_cast<int64_t>(rows),
                                                  static_cast<int64_t>(columns), adafactor_options(step));
                   }});
}

/// a b^T, or a^T b with `transposed`, of matrices of `n` columns (rows) each.
Doubles gram(const Doubles& x, size_t rows, size_t columns, bool transposed) {
  const size_t n = transposed ? columns : rows;
  const size_t k = transposed ? rows : columns;
  const auto at = [&](size_t i, size_t l) { return transposed ? x[l * columns + i] : x[i * columns + l]; };
  Doubles out(n * n);
  for (size_t i = 0; i < n; ++i) {
    for (size_t j = 0; j < n; ++j) {
      for (size_t l = 0; l < k; ++l) out[i * n + j] += at(i, l) * at(j, l);
    }
  }
  return out;
}

/// a b of an [m, k] and a [k, n] matrix.
Doubles product(const Doubles& a, const Doubles& b, size_t m, size_t k, size_t n) {
  Doubles out(m * n);
  for (size_t i = 0; i < m; ++i) {
    for (size_t l = 0; l < k; ++l) {
      for (size_t j = 0; j < n; ++j) out[i * n + j] += a[i * k + l] * b[l * n + j];
    }
  }
  return out;
}

/// Five steps X = a X + (b A + c A A) X with A = X X^T, for a tall X on its transpose.
Doubles newton_schulz(Doubles x, size_t rows, size_t columns) {
  const double norm = std::max(1e-7, std::sqrt(mean_square(x) * static_cast<double>(x.size())));
  for (double& value : x) value /= norm;
  const bool tall = rows > columns;
  const size_t n = std::min(rows, columns);
  for (int step = 0; step < 5; ++step) {
    const Doubles a = gram(x, rows, columns, tall);
    const Doubles aa = product(a, a, n, n, n);
    Doubles p(n * n);
    for (size_t i = 0; i < p.size(); ++i) p[i] = -4.7750 * a[i] + 2.0315 * aa[i];
    const Doubles px = tall ? product(x, p, rows, n, n) : product(p, x, n, n, columns);
    for (size_t i = 0; i < x.size(); ++i) x[i] = 3.4445 * x[i] + px[i];
  }
  return x;
}

void check_muon(size_t rows, size_t columns, bool nesterov) {
  const auto r = static_cast<int64_t>(rows);
  const auto c = static_cast<int64_t>(columns);
  check_steps({.name = "muon " + std::to_string(rows) + " x " + std::to_string(columns),
               .size = rows * columns,
               .states = {rows * columns},
               .reference =
                   [=](int, Doubles& w, std::vector<Doubles>& out, const Doubles& g) {
                     Doubles x(g.size());
                     for (size_t i = 0; i < g.size(); ++i) {
                       double& m = out[1][i];
                       m = 0.9 * m + 0.1 * g[i];
                       x[i] = nesterov ? 0.9 * m + 0.1 * g[i] : m;
                     }
                     x = newton_schulz(x, rows, columns);
                     for (size_t i = 0; i < g.size(); ++i) w[i] = w[i] * (1 - 0.02 * 0.1) - 0.02 * 1.5 * x[i];
                   },
               .backend =
                   [=](Run& run, int, const Pointers& out, const float* g) {
                     run.backend.muon(out[0], out[1], g, r, c, {0.02f, 1.5f, 0.9f, nesterov, 0.1f, 0.5f},
                                      run.scratch(run.backend.muon_workspace(r, c)));
                   },
               .tolerance = 2e-5});
}

}  // namespace

TEST_CASE("sum of squares is the same for any number of threads") {
  for (const size_t n : {size_t{1}, size_t{1000}, size_t{100003}}) {
    const Floats x = random_floats(n, 3);
    double expected = 0.0;
    for (const float v : x) expected += static_cast<double>(v) * static_cast<double>(v);
    double first = -1.0;
    std::string last_simd;
    for_each_backend([&](Backend& backend, const std::string& which) {
      Run run(backend);
      const double sum = backend.sum_of_squares(run.floats(x), static_cast<int64_t>(n));
      CHECK(sum == doctest::Approx(expected).epsilon(1e-6));
      const std::string simd = which.substr(0, which.find(','));
      if (simd == last_simd) CHECK(sum == first);
      last_simd = simd;
      first = sum;
    });
  }
}

TEST_CASE("optimiser: adamw, three steps as PyTorch orders them") {
  for (const size_t n : kSizes) {
    check_steps({.name = "adamw",
                 .size = n,
                 .states = {n, n},
                 .reference =
                     [](int step, Doubles& w, std::vector<Doubles>& out, const Doubles& g) {
                       for (size_t i = 0; i < g.size(); ++i) {
                         double& m = out[1][i];
                         double& v = out[2][i];
                         w[i] *= 1 - 0.01 * 0.1;
                         m = 0.9 * m + 0.1 * g[i];
                         v = 0.95 * v + 0.05 * g[i] * g[i];
                         w[i] -= 0.01 / (1 - std::pow(0.9, step)) * m /
                                 (std::sqrt(v / (1 - std::pow(0.95, step))) + 1e-8);
                       }
                     },
                 .backend =
                     [=](Run& run, int step, const Pointers& out, const float* g) {
                       run.backend.adamw(out[0], out[1], out[2], g, static_cast<int64_t>(n),
                                         adamw_options(step));
                     }});
  }
}

TEST_CASE("optimiser: lion, three steps") {
  for (const size_t n : kSizes) {
    check_steps(
        {.name = "lion",
         .size = n,
         .states = {n},
         .reference =
             [](int, Doubles& w, std::vector<Doubles>& out, const Doubles& g) {
               for (size_t i = 0; i < g.size(); ++i) {
                 double& m = out[1][i];
                 const double u = 0.9 * m + 0.1 * g[i];
                 w[i] = w[i] * (1 - 0.01 * 0.1) - 0.01 * static_cast<double>((u > 0) - (u < 0));
                 m = 0.98 * m + 0.02 * g[i];
               }
             },
         .backend =
             [=](Run& run, int, const Pointers& out, const float* g) {
               run.backend.lion(out[0], out[1], g, static_cast<int64_t>(n), {0.01f, 0.9f, 0.98f, 0.1f, 0.5f});
             }});
  }
  SUBCASE("a weight without gradient and momentum only decays") {
    for_each_backend([](Backend& backend, const std::string& which) {
      INFO(which);
      Run run(backend);
      float* w = run.floats({1.0f, -2.0f});
      backend.lion(w, run.floats({0.0f, 0.0f}), run.floats({0.0f, 0.0f}), 2, {0.5f, 0.9f, 0.98f, 0.5f, 1.0f});
      CHECK(run.read(w, 2) == Floats{0.75f, -1.5f});
    });
  }
}

TEST_CASE("optimiser: sgd with momentum, three steps as PyTorch orders them") {
  for (const size_t n : kSizes) {
    for (const bool nesterov : {false, true}) {
      check_steps({.name = nesterov ? "sgd, Nesterov" : "sgd",
                   .size = n,
                   .states = {n},
                   .reference =
                       [=](int, Doubles& w, std::vector<Doubles>& out, const Doubles& g) {
                         for (size_t i = 0; i < g.size(); ++i) {
                           double& m = out[1][i];
                           const double d = g[i] + 0.1 * w[i];
                           m = 0.9 * m + d;
                           w[i] -= 0.01 * (nesterov ? d + 0.9 * m : m);
                         }
                       },
                   .backend =
                       [=](Run& run, int, const Pointers& out, const float* g) {
                         run.backend.sgd(out[0], out[1], g, static_cast<int64_t>(n),
                                         {0.01f, 0.9f, nesterov, 0.1f, 0.5f});
                       }});
    }
  }
}

TEST_CASE("optimiser: adafactor, three steps") {
  check_adafactor_matrix(1, 1);
  check_adafactor_matrix(7, 45);
  check_adafactor_matrix(300, 257);
  check_adafactor_matrix(2, 5000);
  for (const size_t n : kSizes) {
    check_steps({.name = "adafactor of a vector",
                 .size = n,
                 .states = {n},
                 .reference =
                     [](int step, Doubles& w, std::vector<Doubles>& out, const Doubles& g) {
                       Doubles u(g.size());
                       for (size_t i = 0; i < g.size(); ++i) {
                         out[1][i] += std::pow(step, -0.8) * (g[i] * g[i] - out[1][i]);
                         u[i] = g[i] / std::sqrt(std::max(out[1][i], kEps1 * kEps1));
                       }
                       adafactor_apply(w, u, step);
                     },
                 .backend =
                     [=](Run& run, int step, const Pointers& out, const float* g) {
                       run.backend.adafactor_vector(out[0], out[1], g, static_cast<int64_t>(n),
                                                    adafactor_options(step));
                     }});
  }
}

TEST_CASE("optimiser: muon, three steps") {
  check_muon(1, 1, true);
  check_muon(17, 17, true);
  check_muon(5, 130, true);
  check_muon(130, 65, true);
  check_muon(48, 33, false);
}

}  // namespace anneal::test
