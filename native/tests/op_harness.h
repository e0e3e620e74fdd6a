// Tests an operation from a short description: its inputs, its outputs, a plain float64 reference, and how
// the backend is called. For every instruction set that the machine has, with 1 and 2 threads, `check` then
// shows that
//  * the outputs agree with the reference,
//  * two runs give the same bits,
//  * every gradient agrees with central differences of the reference, for single elements and along random
//    directions; gradients that are overwritten start as NaN, those that are added to start as random
//    numbers.
// Each buffer is an allocation of its own and of the exact size, so that AddressSanitizer sees any step
// outside.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "backend/backend.h"

namespace anneal::test {

using Doubles = std::vector<double>;
using Floats = std::vector<float>;
using Ints = std::vector<int32_t>;

enum class Gradient { kNone, kOverwritten, kAddedTo };

struct Input {
  size_t size;
  Gradient gradient = Gradient::kOverwritten;
  double low = -1.0, high = 1.0;  // drawn uniformly from here
};

struct Output {
  size_t size;
  bool has_gradient = true;  // false: a saved number such as rstd, compared but never differentiated
};

/// A run on one backend: makes buffers that live until it ends.
class Run {
 public:
  explicit Run(Backend& b) : backend(b) {}
  Backend& backend;

  float* floats(const Floats& values);
  int32_t* ints(const Ints& values);
  /// A copy of `size` bytes.
  void* bytes(const void* values, size_t size) { return copy_of(values, size); }
  /// Scratch of `size` bytes, filled with NaN.
  float* scratch(size_t size);
  [[nodiscard]] Floats read(const float* p, size_t size) const;

 private:
  struct Release {
    Backend* backend;
    void operator()(void* p) const { backend->release(p); }
  };
  void* copy_of(const void* data, size_t size);
  std::vector<std::unique_ptr<void, Release>> buffers_;
};

using Pointers = std::vector<float*>;

struct Operation {
  std::string name;
  std::vector<Input> inputs;
  std::vector<Output> outputs;
  std::function<void(const std::vector<Doubles>& in, std::vector<Doubles>& out)> reference;
  std::function<void(Run& run, const Pointers& in, const Pointers& out)> forward;
  /// d_out has null for outputs without gradient, d_in for inputs without. Null: no backward.
  std::function<void(Run& run, const Pointers& in, const Pointers& out, const Pointers& d_out,
                     const Pointers& d_in)>
      backward;
  double tolerance = 2e-5;  // of the largest number of the array
};

/// Runs all that the head of this file says; failures are doctest's.
void check(const Operation& operation);

/// Calls f(backend, "avx2, 2 threads") for each instruction set and thread count under test.
void for_each_backend(const std::function<void(Backend&, const std::string&)>& f);

/// `size` random numbers in [low, high], always the same for one seed.
Floats random_floats(size_t size, uint64_t seed, double low = -1.0, double high = 1.0);
Ints random_ints(size_t size, uint64_t seed, int32_t low, int32_t high);

}  // namespace anneal::test
