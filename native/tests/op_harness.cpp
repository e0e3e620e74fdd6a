#include "op_harness.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "tests/targets.h"

namespace anneal::test {
namespace {

constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();

struct Results {
  std::vector<Floats> out, d_in;
};

Pointers upload(Run& run, const std::vector<Floats>& arrays) {
  Pointers pointers;
  for (const Floats& array : arrays) pointers.push_back(array.empty() ? nullptr : run.floats(array));
  return pointers;
}

/// One forward (and backward) of the operation on the backend, everything from fresh buffers.
Results run_once(const Operation& op, Backend& backend, const std::vector<Floats>& in,
                 const std::vector<Floats>& d_out, const std::vector<Floats>& d_in_start) {
  Run run(backend);
  const Pointers in_p = upload(run, in);
  Pointers out_p;
  for (const Output& output : op.outputs) out_p.push_back(run.floats(Floats(output.size, kNaN)));
  op.forward(run, in_p, out_p);
  Results results;
  for (size_t i = 0; i < out_p.size(); ++i) results.out.push_back(run.read(out_p[i], op.outputs[i].size));
  if (op.backward) {
    const Pointers d_out_p = upload(run, d_out);
    const Pointers d_in_p = upload(run, d_in_start);
    op.backward(run, in_p, out_p, d_out_p, d_in_p);
    for (size_t i = 0; i < d_in_p.size(); ++i) {
      results.d_in.push_back(run.read(d_in_p[i], d_in_start[i].size()));
    }
  }
  return results;
}

bool same_bits(const std::vector<Floats>& a, const std::vector<Floats>& b) {
  for (size_t i = 0; i < a.size(); ++i) {
    if (!a[i].empty() && std::memcmp(a[i].data(), b[i].data(), a[i].size() * sizeof(float)) != 0)
      return false;
  }
  return true;
}

void check_close(const Floats& actual, const Doubles& expected, double tolerance, const std::string& what) {
  double largest = 1e-3;
  for (const double e : expected) largest = std::max(largest, std::abs(e));
  double worst = 0.0;
  size_t where = 0;
  for (size_t i = 0; i < expected.size(); ++i) {
    const double error = std::abs(static_cast<double>(actual[i]) - expected[i]);
    if (!(error <= worst)) {  // also true for NaN
      worst = error;
      where = i;
    }
  }
  INFO(what << ": element " << where << " of " << expected.size() << " is " << actual[where] << ", expected "
            << expected[where]);
  CHECK(worst <= tolerance * largest);
}

/// The gradient of sum(d_out * out) by the reference, checked in random places of one input.
class FiniteDifferences {
 public:
  FiniteDifferences(const Operation& op, std::vector<Doubles> in, const std::vector<Floats>& d_out)
      : op_(op), in_(std::move(in)), d_out_(d_out) {}

  /// (L(x + h u) - L(x - h u)) / 2h for input i.
  double along(size_t i, const Doubles& u) {
    constexpr double h = 1e-5;
    const Doubles x = in_[i];
    const auto shifted = [&](double step) {
      for (size_t j = 0; j < x.size(); ++j) in_[i][j] = x[j] + step * u[j];
      return loss();
    };
    const double slope = (shifted(h) - shifted(-h)) / (2 * h);
    in_[i] = x;
    return slope;
  }

 private:
  double loss() {
    std::vector<Doubles> out;
    for (const Output& output : op_.outputs) out.emplace_back(output.size, 0.0);
    op_.reference(in_, out);
    double sum = 0.0;
    for (size_t i = 0; i < out.size(); ++i) {
      for (size_t j = 0; j < d_out_[i].size(); ++j) sum += static_cast<double>(d_out_[i][j]) * out[i][j];
    }
    return sum;
  }

  const Operation& op_;
  std::vector<Doubles> in_;
  const std::vector<Floats>& d_out_;
};

/// What one input's gradient must be in some directions.
struct Slope {
  size_t input;
  Doubles direction;
  double value;
};

std::vector<Slope> expected_slopes(const Operation& op, const std::vector<Doubles>& in,
                                   const std::vector<Floats>& d_out) {
  constexpr size_t kElements = 12;
  constexpr size_t kDirections = 2;
  FiniteDifferences differences(op, in, d_out);
  std::mt19937_64 random(7);
  std::vector<Slope> slopes;
  for (size_t i = 0; i < op.inputs.size(); ++i) {
    const size_t size = op.inputs[i].size;
    if (op.inputs[i].gradient == Gradient::kNone || size == 0) continue;
    for (size_t k = 0; k < kElements + kDirections; ++k) {
      Doubles u(size, 0.0);
      if (k < kElements) {
        u[random() % size] = 1.0;
      } else {
        const double unit = 1.0 / std::sqrt(static_cast<double>(size));
        for (double& value : u) value = random() % 2 == 0 ? unit : -unit;
      }
      slopes.push_back({i, u, differences.along(i, u)});
    }
  }
  return slopes;
}

void check_gradients(const Operation& op, const Results& results, const std::vector<Floats>& d_in_start,
                     const std::vector<Slope>& slopes) {
  std::vector<double> largest(op.inputs.size(), 1e-3);
  for (size_t i = 0; i < results.d_in.size(); ++i) {
    for (const float g : results.d_in[i]) {
      largest[i] = std::max(largest[i], std::abs(static_cast<double>(g)));
    }
  }
  for (const Slope& slope : slopes) {
    const bool added = op.inputs[slope.input].gradient == Gradient::kAddedTo;
    double actual = 0.0;
    for (size_t j = 0; j < slope.direction.size(); ++j) {
      const double start = added ? static_cast<double>(d_in_start[slope.input][j]) : 0.0;
      actual += slope.direction[j] * (static_cast<double>(results.d_in[slope.input][j]) - start);
    }
    INFO("gradient of input " << slope.input << ": " << actual << ", expected " << slope.value);
    CHECK(std::abs(actual - slope.value) <= op.tolerance * 2 * largest[slope.input]);
  }
}

}  // namespace

float* Run::floats(const Floats& values) {
  return static_cast<float*>(copy_of(values.data(), values.size() * sizeof(float)));
}

int32_t* Run::ints(const Ints& values) {
  return static_cast<int32_t*>(copy_of(values.data(), values.size() * sizeof(int32_t)));
}

float* Run::scratch(size_t size) { return floats(Floats((size + sizeof(float) - 1) / sizeof(float), kNaN)); }

Floats Run::read(const float* p, size_t size) const {
  Floats values(size);
  if (size != 0) backend.copy_to_host(values.data(), p, size * sizeof(float));
  return values;
}

void* Run::copy_of(const void* data, size_t size) {
  buffers_.emplace_back(backend.allocate(size), Release{&backend});
  if (size != 0) backend.copy_to_device(buffers_.back().get(), data, size);
  return buffers_.back().get();
}

void for_each_backend(const std::function<void(Backend&, const std::string&)>& f) {
  for_each_target([&](const std::string& target) {
    for (const int threads : {1, 2}) {
      const auto backend = make_cpu_backend(threads);
      f(*backend, target + ", threads " + std::to_string(threads));
    }
  });
}

Floats random_floats(size_t size, uint64_t seed, double low, double high) {
  std::mt19937_64 random(seed);
  Floats values(size);
  for (float& value : values) {
    const double unit = static_cast<double>(random() >> 11) * 0x1p-53;
    value = static_cast<float>(low + (high - low) * unit);
  }
  return values;
}

Ints random_ints(size_t size, uint64_t seed, int32_t low, int32_t high) {
  std::mt19937_64 random(seed);
  Ints values(size);
  for (int32_t& value : values) {
    value = low + static_cast<int32_t>(random() % static_cast<uint64_t>(high - low + 1));
  }
  return values;
}

void check(const Operation& op) {
  std::vector<Floats> in, d_out, d_in_start;
  std::vector<Doubles> in_double, out_double;
  for (size_t i = 0; i < op.inputs.size(); ++i) {
    const Input& input = op.inputs[i];
    in.push_back(random_floats(input.size, i + 1, input.low, input.high));
    in_double.emplace_back(in.back().begin(), in.back().end());
    d_in_start.push_back(input.gradient == Gradient::kNone      ? Floats()
                         : input.gradient == Gradient::kAddedTo ? random_floats(input.size, i + 100)
                                                                : Floats(input.size, kNaN));
  }
  for (size_t i = 0; i < op.outputs.size(); ++i) {
    const Output& output = op.outputs[i];
    out_double.emplace_back(output.size, 0.0);
    d_out.push_back(output.has_gradient ? random_floats(output.size, i + 200) : Floats());
  }
  op.reference(in_double, out_double);
  const std::vector<Slope> slopes =
      op.backward ? expected_slopes(op, in_double, d_out) : std::vector<Slope>();

  for_each_backend([&](Backend& backend, const std::string& which) {
    INFO(op.name << " on " << which);
    const Results results = run_once(op, backend, in, d_out, d_in_start);
    for (size_t i = 0; i < op.outputs.size(); ++i) {
      check_close(results.out[i], out_double[i], op.tolerance, "output " + std::to_string(i));
    }
    check_gradients(op, results, d_in_start, slopes);
    const Results again = run_once(op, backend, in, d_out, d_in_start);
    CHECK(same_bits(results.out, again.out));
    CHECK(same_bits(results.d_in, again.d_in));
  });
}

}  // namespace anneal::test
