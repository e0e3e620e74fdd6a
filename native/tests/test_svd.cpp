// Singular values.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <random>
#include <utility>

#include "engine/svd.h"

namespace anneal::test {

TEST_CASE("largest_singular_values: a matrix is the sum of its parts, whatever the threads") {
  std::mt19937 random(3);
  std::normal_distribution<float> normal;
  for (const auto& [rows, columns] : {std::pair<int64_t, int64_t>{9, 5}, {5, 9}, {40, 30}}) {
    std::vector<float> w(static_cast<size_t>(rows * columns));
    for (float& value : w) value = normal(random);
    const int64_t rank = std::min(rows, columns);
    const SingularValues svd = largest_singular_values(w, rows, columns, rank, 1, 1);
    double worst = 0.0;
    for (int64_t i = 0; i < rows; ++i) {
      for (int64_t k = 0; k < columns; ++k) {
        double sum = 0.0;
        for (int64_t r = 0; r < rank; ++r) {
          sum += svd.u[static_cast<size_t>(i * rank + r)] * svd.s[static_cast<size_t>(r)] *
                 svd.v[static_cast<size_t>(r * columns + k)];
        }
        worst = std::max(worst, std::abs(sum - static_cast<double>(w[static_cast<size_t>(i * columns + k)])));
      }
    }
    CHECK(worst < 1e-10);
    CHECK(std::ranges::is_sorted(svd.s, std::greater<>()));
    CHECK(largest_singular_values(w, rows, columns, rank, 1, 2).u == svd.u);
  }
}

}  // namespace anneal::test
