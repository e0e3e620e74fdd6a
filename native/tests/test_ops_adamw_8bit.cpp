// AdamW with states of 8 bits (Dettmers et al. 2022) against the formula in float64 and the map by its
// definition.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>

#include "op_harness.h"

namespace anneal::test {
namespace {

/// The dynamic map by its definition: the middles of equal parts of each decade, 0 and 1.
Doubles dynamic_map(bool is_signed) {
  Doubles map = {0.0, 1.0};
  for (int e = 0; e < 7; ++e) {
    const int parts = (is_signed ? 64 : 128) >> e;
    for (int part = 0; part < parts; ++part) {
      const double low = 0.1 + 0.9 * part / parts;
      const double high = 0.1 + 0.9 * (part + 1) / parts;
      map.push_back(std::pow(10.0, -e) * (low + high) / 2);
      if (is_signed) map.push_back(-map.back());
    }
  }
  std::sort(map.begin(), map.end());
  return map;
}

}  // namespace

TEST_CASE("optimiser: adamw with 8-bit states, one step from any state") {
  // Of step 2, with gradients clipped to a half.
  const AdamWOptions options = {
      0.01f, 0.9f, 0.95f, 1e-8f, 0.1f, static_cast<float>(1 - 0.9 * 0.9), static_cast<float>(1 - 0.95 * 0.95),
      0.5f};
  const Doubles maps[] = {dynamic_map(true), dynamic_map(false)};
  REQUIRE(maps[0].size() == 256);
  REQUIRE(maps[1].size() == 256);
  for (const size_t n : {size_t{1}, size_t{256}, size_t{5000}, size_t{70001}}) {
    const size_t blocks = (n + kStateBlock - 1) / kStateBlock;
    const Ints codes[] = {random_ints(n, 1, 0, 255), random_ints(n, 2, 0, 255)};
    Floats scales[] = {random_floats(blocks, 3, 0.0, 1.0), random_floats(blocks, 4, 0.0, 1.0)};
    scales[0][0] = scales[1][0] = 0.0f;  // as before the first step
    const Floats w = random_floats(n, 5);
    const Floats g = random_floats(n, 6);
    Doubles expected_w(w.begin(), w.end());
    Doubles moments[] = {Doubles(n), Doubles(n)};
    for (size_t i = 0; i < n; ++i) {
      const double gradient = static_cast<double>(g[i]) * 0.5;
      double old[2];
      for (size_t k = 0; k < 2; ++k) {
        old[k] = maps[k][static_cast<size_t>(codes[k][i])] * static_cast<double>(scales[k][i / kStateBlock]);
      }
      const double m = moments[0][i] = 0.9 * old[0] + 0.1 * gradient;
      const double v = moments[1][i] = 0.95 * old[1] + 0.05 * gradient * gradient;
      expected_w[i] *= 1 - 0.01 * 0.1;
      expected_w[i] -= 0.01 / (1 - std::pow(0.9, 2)) * m / (std::sqrt(v / (1 - std::pow(0.95, 2))) + 1e-8);
    }
    for_each_backend([&](Backend& backend, const std::string& which) {
      INFO(which << ", " << n << " elements");
      Run run(backend);
      float* new_w = run.floats(w);
      uint8_t* new_codes[2];
      float* new_scales[2];
      for (size_t k = 0; k < 2; ++k) {
        std::vector<uint8_t> bytes(codes[k].begin(), codes[k].end());
        new_codes[k] = static_cast<uint8_t*>(run.bytes(bytes.data(), n));
        new_scales[k] = run.floats(scales[k]);
      }
      backend.adamw_8bit(new_w, new_codes[0], new_codes[1], new_scales[0], new_scales[1], run.floats(g),
                         static_cast<int64_t>(n), options);
      const Floats actual_w = run.read(new_w, n);
      double worst = 0.0;
      for (size_t i = 0; i < n; ++i) {
        worst = std::max(worst, std::abs(static_cast<double>(actual_w[i]) - expected_w[i]));
      }
      CHECK(worst < 2e-6);
      for (size_t k = 0; k < 2; ++k) {
        std::vector<uint8_t> actual(n);
        backend.copy_to_host(actual.data(), new_codes[k], n);
        const Floats actual_scales = run.read(new_scales[k], blocks);
        double worst_scale = 0.0;
        double worst_code = 0.0;
        for (size_t block = 0; block < blocks; ++block) {
          const size_t begin = block * kStateBlock;
          const size_t end = std::min(n, begin + kStateBlock);
          double scale = 0.0;
          for (size_t i = begin; i < end; ++i) scale = std::max(scale, std::abs(moments[k][i]));
          worst_scale =
              std::max(worst_scale, std::abs(static_cast<double>(actual_scales[block]) / scale - 1.0));
          for (size_t i = begin; i < end; ++i) {
            // The code is the nearest one: no other is nearer by more than rounding.
            const double x = moments[k][i] / scale;
            double nearest = 2.0;
            for (const double value : maps[k]) nearest = std::min(nearest, std::abs(value - x));
            worst_code = std::max(worst_code, std::abs(maps[k][actual[i]] - x) - nearest);
          }
        }
        CHECK(worst_scale < 1e-6);
        CHECK(worst_code < 1e-6);
      }
    });
  }
}

}  // namespace anneal::test
