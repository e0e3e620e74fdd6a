// Low-rank updates, their dropout, and their weight-decomposed kind.
#include <doctest/doctest.h>

#include <cmath>

#include "engine/philox.h"
#include "op_harness.h"

namespace anneal::test {
namespace {

constexpr float kScale = 1.5f;
constexpr uint64_t kSeed = 0x123456789abcdefULL;
constexpr uint32_t kModule = 3;
constexpr int64_t kFirstRow = 100;

/// Sizes of an update whose output is columns [0, out) of rows that are out + padding floats long.
struct Case {
  int64_t T, in, out, rank;
  int64_t padding = 0;
  float dropout = 0.0f;

  [[nodiscard]] int64_t stride() const { return out + padding; }
  [[nodiscard]] size_t y_size() const { return static_cast<size_t>(T * stride()); }
};

/// What dropout multiplies an input by, from the scalar Philox.
double dropout_factor(const Case& c, int64_t row, int64_t column) {
  if (c.dropout == 0.0f) return 1.0;
  const auto at = static_cast<uint64_t>(row + kFirstRow);
  const PhiloxBlock bits = philox(kSeed, {static_cast<uint32_t>(column / 4), static_cast<uint32_t>(at),
                                          static_cast<uint32_t>(at >> 32), kModule});
  const double drawn = static_cast<double>(bits[static_cast<size_t>(column % 4)]);
  return drawn < static_cast<double>(c.dropout) * 0x1p32 ? 0.0 : 1.0 / (1.0 - static_cast<double>(c.dropout));
}

LowRank update_of(const Case& c, const float* a, const float* b) {
  LowRank update;
  update.rank = c.rank;
  update.in = c.in;
  update.out = c.out;
  update.scale = kScale;
  update.a = a;
  update.b = b;
  update.dropout = c.dropout;
  update.dropout_seed = kSeed;
  update.module = kModule;
  update.dropout_row = kFirstRow;
  return update;
}

/// Inputs x, A, B and what y held before; outputs y and u.
void check_low_rank(const Case& c, bool frozen) {
  const auto size = [](int64_t rows, int64_t columns) { return static_cast<size_t>(rows * columns); };
  const Gradient weights = frozen ? Gradient::kNone : Gradient::kAddedTo;
  check({.name = "low_rank",
         .inputs = {{size(c.T, c.in), Gradient::kAddedTo},
                    {size(c.rank, c.in), weights},
                    {size(c.out, c.rank), weights},
                    {c.y_size(), Gradient::kNone}},
         .outputs = {{c.y_size()}, {size(c.T, c.rank), false}},
         .reference =
             [=](const auto& in, auto& out) {
               out[0] = in[3];
               for (int64_t t = 0; t < c.T; ++t) {
                 for (int64_t r = 0; r < c.rank; ++r) {
                   double u = 0.0;
                   for (int64_t i = 0; i < c.in; ++i) {
                     u += in[0][t * c.in + i] * dropout_factor(c, t, i) * in[1][r * c.in + i];
                   }
                   u *= static_cast<double>(kScale);
                   out[1][t * c.rank + r] = u;
                   for (int64_t o = 0; o < c.out; ++o)
                     out[0][t * c.stride() + o] += u * in[2][o * c.rank + r];
                 }
               }
             },
         .forward =
             [=](Run& run, const auto& in, const auto& out) {
               const LowRank update = update_of(c, in[1], in[2]);
               run.backend.copy(out[0], in[3], c.y_size() * sizeof(float));
               run.backend.low_rank_forward(out[0], out[1], in[0], update, c.T, c.stride(),
                                            run.scratch(run.backend.low_rank_workspace(update, c.T)));
             },
         .backward =
             [=](Run& run, const auto& in, const auto& out, const auto& d_out, const auto& d_in) {
               LowRank update = update_of(c, in[1], in[2]);
               update.d_a = d_in[1];
               update.d_b = d_in[2];
               run.backend.low_rank_backward(d_in[0], d_out[0], in[0], out[1], update, c.T, c.stride(),
                                             run.scratch(run.backend.low_rank_workspace(update, c.T)));
             }});
}

void check_embedding(int64_t T, int64_t V, int64_t D, int64_t rank) {
  const auto size = [](int64_t rows, int64_t columns) { return static_cast<size_t>(rows * columns); };
  const Ints ids = random_ints(static_cast<size_t>(T), 5, 0, static_cast<int32_t>(V - 1));
  const Case c{T, V, D, rank};
  check({.name = "low_rank_embedding",
         .inputs = {{size(rank, V), Gradient::kAddedTo},
                    {size(D, rank), Gradient::kAddedTo},
                    {size(T, D), Gradient::kNone}},
         .outputs = {{size(T, D)}},
         .reference =
             [=](const auto& in, auto& out) {
               out[0] = in[2];
               for (int64_t t = 0; t < T; ++t) {
                 for (int64_t i = 0; i < D; ++i) {
                   for (int64_t r = 0; r < rank; ++r) {
                     out[0][t * D + i] += static_cast<double>(kScale) * in[1][i * rank + r] *
                                          in[0][r * V + ids[static_cast<size_t>(t)]];
                   }
                 }
               }
             },
         .forward =
             [=](Run& run, const auto& in, const auto& out) {
               const LowRank update = update_of(c, in[0], in[1]);
               run.backend.copy(out[0], in[2], size(T, D) * sizeof(float));
               run.backend.low_rank_embedding_forward(out[0], run.ints(ids), update, T,
                                                      run.scratch(run.backend.low_rank_workspace(update, T)));
             },
         .backward =
             [=](Run& run, const auto& in, const auto&, const auto& d_out, const auto& d_in) {
               LowRank update = update_of(c, in[0], in[1]);
               update.d_a = d_in[0];
               update.d_b = d_in[1];
               run.backend.low_rank_embedding_backward(
                   d_out[0], run.ints(ids), update, T,
                   run.scratch(run.backend.low_rank_workspace(update, T)));
             }});
}

void check_inverse_norm(int64_t in_width, int64_t out_width, int64_t rank) {
  const auto size = [](int64_t rows, int64_t columns) { return static_cast<size_t>(rows * columns); };
  const Case c{1, in_width, out_width, rank};
  check({.name = "dora_inverse_norm",
         .inputs = {{size(out_width, in_width), Gradient::kNone},
                    {size(rank, in_width), Gradient::kNone},
                    {size(out_width, rank), Gradient::kNone}},
         .outputs = {{static_cast<size_t>(out_width)}},
         .reference =
             [=](const auto& in, auto& out) {
               for (int64_t o = 0; o < out_width; ++o) {
                 double sum = 0.0;
                 for (int64_t i = 0; i < in_width; ++i) {
                   double w = in[0][o * in_width + i];
                   for (int64_t r = 0; r < rank; ++r) {
                     w += static_cast<double>(kScale) * in[2][o * rank + r] * in[1][r * in_width + i];
                   }
                   sum += w * w;
                 }
                 out[0][static_cast<size_t>(o)] = 1.0 / std::sqrt(sum);
               }
             },
         .forward =
             [=](Run& run, const auto& in, const auto& out) {
               const LowRank update = update_of(c, in[1], in[2]);
               run.backend.dora_inverse_norm(out[0], in[0], update,
                                             run.scratch(run.backend.dora_inverse_norm_workspace(update)));
             },
         .backward = nullptr});
}

/// Inputs x, magnitude, inverse norm, bias and what y held before.
void check_dora(int64_t T, int64_t out_width, int64_t padding, bool bias, bool accumulate) {
  const int64_t stride = out_width + padding;
  const auto size = static_cast<size_t>(T * stride);
  const auto width = static_cast<size_t>(out_width);
  check({.name = "dora",
         .inputs = {{size, Gradient::kOverwritten},
                    {width, Gradient::kAddedTo},
                    {width, Gradient::kNone, 0.5, 2.0},
                    {bias ? width : 0, Gradient::kNone},
                    {accumulate ? size : 0, Gradient::kNone}},
         .outputs = {{size}},
         .reference =
             [=](const auto& in, auto& out) {
               for (int64_t t = 0; t < T; ++t) {
                 for (int64_t o = 0; o < out_width; ++o) {
                   const int64_t at = t * stride + o;
                   out[0][at] = in[1][o] * in[2][o] * in[0][at] + (bias ? in[3][o] : 0.0) +
                                (accumulate ? in[4][at] : 0.0);
                 }
               }
             },
         .forward =
             [=](Run& run, const auto& in, const auto& out) {
               run.backend.zero(out[0], size * sizeof(float));
               if (accumulate) {
                 for (int64_t t = 0; t < T; ++t) {
                   run.backend.copy(out[0] + t * stride, in[4] + t * stride, width * sizeof(float));
                 }
               }
               run.backend.dora_forward(out[0], in[0], in[1], in[2], in[3], T, out_width, stride, accumulate);
             },
         .backward =
             [=](Run& run, const auto& in, const auto&, const auto& d_out, const auto& d_in) {
               run.backend.zero(d_in[0], size * sizeof(float));
               run.backend.dora_backward(d_in[0], d_in[1], d_out[0], in[0], in[1], in[2], T, out_width,
                                         stride);
             }});
}

}  // namespace

TEST_CASE("low_rank") {
  for (const bool frozen : {false, true}) {
    check_low_rank({1, 1, 1, 1}, frozen);
    check_low_rank({7, 24, 33, 4}, frozen);
    check_low_rank({5, 70, 12, 3, 9}, frozen);  // columns of a fused projection
    check_low_rank({130, 31, 65, 8, 3}, frozen);
    check_low_rank({6, 67, 20, 5, 2, 0.3f}, frozen);
    check_low_rank({110, 9, 20, 16, 0, 0.5f}, frozen);
    check_low_rank({150, 800, 97, 70, 1}, frozen);  // more ranks, rows and inputs than one block has
  }
}

TEST_CASE("low_rank: a row does not depend on the rows beside it") {
  const Case c{29, 50, 45, 5, 3};
  const Floats x = random_floats(static_cast<size_t>(c.T * c.in), 1);
  const Floats a = random_floats(static_cast<size_t>(c.rank * c.in), 2);
  const Floats b = random_floats(static_cast<size_t>(c.out * c.rank), 3);
  const Floats before = random_floats(c.y_size(), 4);
  for_each_backend([&](Backend& backend, const std::string& name) {
    CAPTURE(name);
    Run run(backend);
    const float* x_p = run.floats(x);
    const LowRank update = update_of(c, run.floats(a), run.floats(b));
    float* u = run.scratch(static_cast<size_t>(c.T * c.rank) * sizeof(float));
    float* workspace = run.scratch(backend.low_rank_workspace(update, c.T));
    const auto in_parts = [&](int64_t rows) {
      float* y = run.floats(before);
      for (int64_t t = 0; t < c.T; t += rows) {
        backend.low_rank_forward(y + t * c.stride(), u, x_p + t * c.in, update, std::min(rows, c.T - t),
                                 c.stride(), workspace);
      }
      return run.read(y, c.y_size());
    };
    const Floats all = in_parts(c.T);
    for (const int64_t rows : {int64_t{1}, int64_t{2}, int64_t{7}}) CHECK(in_parts(rows) == all);
  });
}

TEST_CASE("low_rank: as many inputs are dropped as the probability says") {
  const Case c{400, 300, 1, 1, 0, 0.1f};
  double kept = 0.0;
  for (int64_t t = 0; t < c.T; ++t) {
    for (int64_t i = 0; i < c.in; ++i) kept += dropout_factor(c, t, i) > 0.0 ? 1.0 : 0.0;
  }
  CHECK(kept / static_cast<double>(c.T * c.in) == doctest::Approx(0.9).epsilon(0.005));
}

TEST_CASE("low_rank_embedding") {
  check_embedding(1, 2, 3, 1);
  check_embedding(20, 7, 24, 4);
  check_embedding(130, 40, 9, 5);
}

TEST_CASE("dora_inverse_norm") {
  check_inverse_norm(1, 1, 1);
  check_inverse_norm(70, 33, 4);
  check_inverse_norm(1500, 130, 8);
}

TEST_CASE("dora") {
  for (const bool bias : {false, true}) {
    for (const bool accumulate : {false, true}) {
      check_dora(1, 1, 0, bias, accumulate);
      check_dora(7, 33, 5, bias, accumulate);
      check_dora(130, 70, 0, bias, accumulate);
    }
  }
}

}  // namespace anneal::test
