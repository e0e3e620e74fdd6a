// Linear layers of up to kIndependentRows rows: right, and each row the same bits alone and among others.
#include <doctest/doctest.h>

#include <cmath>

#include "op_harness.h"

namespace anneal::test {
namespace {

void check_independent(int64_t T, int64_t in, int64_t out) {
  const Floats x = random_floats(static_cast<size_t>(T * in), 1);
  const Floats w = random_floats(static_cast<size_t>(out * in), 2);
  const Floats bias = random_floats(static_cast<size_t>(out), 3);
  for_each_backend([&](Backend& backend, const std::string& name) {
    CAPTURE(name);
    Run run(backend);
    const float* x_p = run.floats(x);
    const float* w_p = run.floats(w);
    const float* bias_p = run.floats(bias);
    const auto size = static_cast<size_t>(T * out);
    float* all = run.scratch(size * sizeof(float));
    backend.linear_forward(all, x_p, w_p, bias_p, T, in, out, out, false);
    float* some = run.scratch(size * sizeof(float));
    for (const int64_t rows : {int64_t{1}, int64_t{2}, int64_t{7}}) {
      for (int64_t t = 0; t < T; t += rows) {
        backend.linear_forward(some + t * out, x_p + t * in, w_p, bias_p, std::min(rows, T - t), in, out, out,
                               false);
      }
      CHECK(run.read(some, size) == run.read(all, size));
    }
    // Against sums in double.
    const Floats y = run.read(all, size);
    double worst = 0.0;
    for (int64_t t = 0; t < T; ++t) {
      for (int64_t o = 0; o < out; ++o) {
        double sum = static_cast<double>(bias[static_cast<size_t>(o)]);
        for (int64_t i = 0; i < in; ++i) {
          sum += static_cast<double>(x[static_cast<size_t>(t * in + i)]) *
                 static_cast<double>(w[static_cast<size_t>(o * in + i)]);
        }
        worst = std::max(worst, std::abs(sum - static_cast<double>(y[static_cast<size_t>(t * out + o)])));
      }
    }
    CHECK(worst < 2e-5 * std::sqrt(static_cast<double>(in)));
  });
}

}  // namespace

TEST_CASE("linear: a row does not depend on the rows beside it") {
  check_independent(13, 29, 7);
  check_independent(1, 1, 1);
  check_independent(23, 288, 290);
  check_independent(20, 768, 61);
  check_independent(9, 2048, 70);   // several stretches
  check_independent(17, 1601, 37);  // the last one short, with a tail
  check_independent(300, 33, 5);
}

}  // namespace anneal::test
