// Elementwise operations, activations, rotary positions, moving of rows.
#include <doctest/doctest.h>

#include <cmath>
#include <numbers>

#include "op_harness.h"

namespace anneal::test {
namespace {

void check_activation(Activation kind, const char* name, int64_t T, int64_t F) {
  const auto outputs = static_cast<size_t>(T * F);
  const size_t factor = kind == Activation::kSwiGlu ? 2 : 1;
  check({.name = name,
         .inputs = {{factor * outputs, Gradient::kOverwritten, -6.0, 6.0}},
         .outputs = {{outputs}},
         .reference =
             [=](const auto& in, auto& out) {
               for (int64_t i = 0; i < T * F; ++i) {
                 const double x = in[0][kind == Activation::kSwiGlu ? i / F * 2 * F + i % F : i];
                 const double cdf =
                     kind == Activation::kGelu ? (1 + std::erf(x / std::numbers::sqrt2)) / 2
                     : kind == Activation::kGeluTanh
                         ? (1 + std::tanh(std::sqrt(2 / std::numbers::pi) * (x + 0.044715 * x * x * x))) / 2
                         : in[0][i / F * 2 * F + F + i % F] / (1 + std::exp(-x));
                 out[0][i] = x * cdf;
               }
             },
         .forward = [=](Run& run, const auto& in,
                        const auto& out) { run.backend.activation_forward(out[0], in[0], kind, T, F); },
         .backward =
             [=](Run& run, const auto& in, const auto&, const auto& d_out, const auto& d_in) {
               // In place, as the engine does it.
               run.backend.copy(d_in[0], in[0], factor * outputs * sizeof(float));
               run.backend.activation_backward(d_in[0], d_out[0], d_in[0], kind, T, F);
             },
         .tolerance = 3e-6});
}

void check_rope(int64_t T, int64_t heads, int64_t E, int64_t extra, int32_t first_position) {
  const int64_t stride = heads * E + extra;
  const auto size = static_cast<size_t>(T * stride);
  Ints positions;
  for (int64_t t = 0; t < T; ++t) positions.push_back(first_position + static_cast<int32_t>(3 * t));
  Floats frequencies;
  for (int64_t e = 0; e < E / 2; ++e) {
    frequencies.push_back(
        static_cast<float>(std::pow(10000.0, -2.0 * static_cast<double>(e) / static_cast<double>(E))));
  }
  const auto rotate = [=](Run& run, float* x, int direction) {
    run.backend.rope(x, run.ints(positions), run.floats(frequencies), T, heads, E, stride, direction);
  };
  check({.name = "rope",
         .inputs = {{size}},
         .outputs = {{size}},
         .reference =
             [=](const auto& in, auto& out) {
               out[0] = in[0];
               for (int64_t t = 0; t < T; ++t) {
                 for (int64_t h = 0; h < heads; ++h) {
                   for (int64_t e = 0; e < E / 2; ++e) {
                     const double angle =
                         static_cast<double>(static_cast<float>(positions[static_cast<size_t>(t)]) *
                                             frequencies[static_cast<size_t>(e)]);
                     const int64_t i = t * stride + h * E + e;
                     const int64_t j = i + E / 2;
                     out[0][i] = in[0][i] * std::cos(angle) - in[0][j] * std::sin(angle);
                     out[0][j] = in[0][j] * std::cos(angle) + in[0][i] * std::sin(angle);
                   }
                 }
               }
             },
         .forward =
             [=](Run& run, const auto& in, const auto& out) {
               run.backend.copy(out[0], in[0], size * sizeof(float));
               rotate(run, out[0], 1);
             },
         .backward =
             [=](Run& run, const auto&, const auto&, const auto& d_out, const auto& d_in) {
               run.backend.copy(d_in[0], d_out[0], size * sizeof(float));
               rotate(run, d_in[0], -1);
             },
         .tolerance = 1e-6});
}

void check_embedding(int64_t T, int64_t D, int64_t V) {
  const Ints ids = random_ints(static_cast<size_t>(T), 5, 0, static_cast<int32_t>(V - 1));
  check(
      {.name = "embedding",
       .inputs = {{static_cast<size_t>(V * D), Gradient::kAddedTo}},
       .outputs = {{static_cast<size_t>(T * D)}},
       .reference =
           [=](const auto& in, auto& out) {
             for (int64_t i = 0; i < T * D; ++i)
               out[0][i] = in[0][ids[static_cast<size_t>(i / D)] * D + i % D];
           },
       .forward = [=](Run& run, const auto& in,
                      const auto& out) { run.backend.embedding_forward(out[0], in[0], run.ints(ids), T, D); },
       .backward =
           [=](Run& run, const auto&, const auto&, const auto& d_out, const auto& d_in) {
             run.backend.embedding_backward(d_in[0], d_out[0], run.ints(ids), T, D);
           },
       .tolerance = 1e-6});
}

/// gather_rows, whose gradient is scatter_rows.
void check_rows(int64_t N, int64_t T, int64_t D) {
  const Ints rows = random_ints(static_cast<size_t>(N), 6, 0, static_cast<int32_t>(T - 1));
  check({.name = "gather and scatter rows",
         .inputs = {{static_cast<size_t>(T * D)}},
         .outputs = {{static_cast<size_t>(N * D)}},
         .reference =
             [=](const auto& in, auto& out) {
               for (int64_t i = 0; i < N * D; ++i)
                 out[0][i] = in[0][rows[static_cast<size_t>(i / D)] * D + i % D];
             },
         .forward = [=](Run& run, const auto& in,
                        const auto& out) { run.backend.gather_rows(out[0], in[0], run.ints(rows), N, D); },
         .backward =
             [=](Run& run, const auto&, const auto&, const auto& d_out, const auto& d_in) {
               run.backend.scatter_rows(d_in[0], d_out[0], run.ints(rows), N, T, D);
             },
         .tolerance = 1e-6});
}

}  // namespace

TEST_CASE("add and scale") {
  for (const size_t n : {size_t{1}, size_t{31}, size_t{200003}}) {
    check({.name = "y + x, scaled",
           .inputs = {{n, Gradient::kNone}, {n, Gradient::kNone}},
           .outputs = {{n}},
           .reference =
               [=](const auto& in, auto& out) {
                 for (size_t i = 0; i < n; ++i) out[0][i] = (in[0][i] + in[1][i]) * 0.75;
               },
           .forward =
               [=](Run& run, const auto& in, const auto& out) {
                 run.backend.zero(out[0], n * sizeof(float));
                 run.backend.add(out[0], in[0], static_cast<int64_t>(n));
                 run.backend.add(out[0], in[1], static_cast<int64_t>(n));
                 run.backend.scale(out[0], 0.75f, static_cast<int64_t>(n));
               },
           .backward = nullptr,
           .tolerance = 1e-6});
  }
}

TEST_CASE("activations") {
  for (const auto& [T, F] : {std::pair<int64_t, int64_t>{1, 1}, {3, 17}, {7, 64}, {33, 515}}) {
    check_activation(Activation::kSwiGlu, "swiglu", T, F);
    check_activation(Activation::kGelu, "gelu", T, F);
    check_activation(Activation::kGeluTanh, "gelu_tanh", T, F);
  }
}

TEST_CASE("rotary positions") {
  check_rope(1, 1, 2, 0, 0);
  check_rope(5, 1, 24, 7, 3);
  check_rope(37, 5, 80, 0, 1000);
  check_rope(70, 8, 64, 64, 0);
  check_rope(3, 2, 254, 0, 900000);  // far positions stay exact
}

TEST_CASE("embedding and moving of rows") {
  check_embedding(1, 1, 1);
  check_embedding(37, 24, 11);
  check_embedding(300, 130, 257);
  check_rows(1, 1, 1);
  check_rows(40, 37, 24);
  check_rows(5, 300, 130);
}

}  // namespace anneal::test
