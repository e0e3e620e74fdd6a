#include "engine/matrix_speed.h"

#include <algorithm>
#include <chrono>
#include <limits>
#include <memory>
#include <vector>

namespace anneal {

double measure_matrix_speed(Backend& backend) {
  constexpr int64_t kSize = 1536;
  constexpr double kWork = 2.0 * kSize * kSize * kSize;
  const auto release = [&](float* memory) { backend.release(memory); };
  const auto make_matrix = [&](float value) {
    const size_t bytes = sizeof(float) * kSize * kSize;
    std::unique_ptr<float, decltype(release)> matrix(static_cast<float*>(backend.allocate(bytes)), release);
    const std::vector<float> values(static_cast<size_t>(kSize * kSize), value);
    backend.copy_to_device(matrix.get(), values.data(), bytes);
    return matrix;
  };
  const auto x = make_matrix(0.5f);
  const auto w = make_matrix(0.25f);
  const auto y = make_matrix(0.0f);
  // The fastest counts: whatever else the machine does can only slow a product down. The first wakes the
  // threads.
  double fastest = std::numeric_limits<double>::infinity();
  for (int run = 0; run < 24; ++run) {
    const auto start = std::chrono::steady_clock::now();
    backend.linear_forward(y.get(), x.get(), w.get(), nullptr, kSize, kSize, kSize, kSize, false);
    const std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - start;
    fastest = std::min(fastest, elapsed.count());
  }
  return kWork / fastest;
}

}  // namespace anneal
