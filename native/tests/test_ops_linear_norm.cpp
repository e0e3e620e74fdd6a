// Linear layers and normalisations.
#include <doctest/doctest.h>

#include <cmath>

#include "op_harness.h"

namespace anneal::test {
namespace {

/// With `padding`, the output is columns of a wider buffer, whose other columns must stay as they were.
void check_linear(int64_t T, int64_t in_width, int64_t out_width, bool bias, bool accumulate,
                  int64_t padding = 0) {
  const int64_t stride = out_width + padding;
  const auto x_size = static_cast<size_t>(T * in_width);
  const auto w_size = static_cast<size_t>(in_width * out_width);
  const auto y_size = static_cast<size_t>(T * stride);
  const Gradient x_gradient = accumulate ? Gradient::kAddedTo : Gradient::kOverwritten;
  check({.name = "linear",
         .inputs = {{x_size, x_gradient},
                    {w_size, Gradient::kAddedTo},
                    {bias ? static_cast<size_t>(out_width) : 0, Gradient::kAddedTo},
                    {accumulate ? y_size : 0, Gradient::kNone}},
         .outputs = {{y_size}},
         .reference =
             [=](const auto& in, auto& out) {
               for (int64_t t = 0; t < T; ++t) {
                 for (int64_t o = 0; o < out_width; ++o) {
                   double sum = (bias ? in[2][o] : 0.0) + (accumulate ? in[3][t * stride + o] : 0.0);
                   for (int64_t i = 0; i < in_width; ++i)
                     sum += in[0][t * in_width + i] * in[1][o * in_width + i];
                   out[0][t * stride + o] = sum;
                 }
               }
             },
         .forward =
             [=](Run& run, const auto& in, const auto& out) {
               run.backend.zero(out[0], y_size * sizeof(float));
               if (accumulate) {
                 for (int64_t t = 0; t < T; ++t) {
                   run.backend.copy(out[0] + t * stride, in[3] + t * stride,
                                    static_cast<size_t>(out_width) * sizeof(float));
                 }
               }
               run.backend.linear_forward(out[0], in[0], in[1], in[2], T, in_width, out_width, stride,
                                          accumulate);
             },
         .backward =
             [=](Run& run, const auto& in, const auto&, const auto& d_out, const auto& d_in) {
               run.backend.linear_backward_input(d_in[0], d_out[0], in[1], T, in_width, out_width, stride,
                                                 accumulate);
               run.backend.linear_backward_weight(d_in[1], d_in[2], d_out[0], in[0], T, in_width, out_width,
                                                  stride);
             }});
}

/// RMSNorm of `groups` blocks of D floats a row, rows padded by `padding` floats.
void check_rms_norm(int64_t T, int64_t groups, int64_t D, int64_t padding, bool accumulate) {
  const int64_t stride = groups * D + padding;
  const auto size = static_cast<size_t>(T * stride);
  constexpr double kEps = 1e-5;
  check({.name = "rms_norm",
         .inputs = {{size, Gradient::kAddedTo}, {static_cast<size_t>(D), Gradient::kAddedTo}},
         .outputs = {{size}, {static_cast<size_t>(T * groups), false}},
         .reference =
             [=](const auto& in, auto& out) {
               for (int64_t t = 0; t < T; ++t) {
                 for (int64_t g = 0; g < groups; ++g) {
                   const int64_t start = t * stride + g * D;
                   double sum = 0.0;
                   for (int64_t i = 0; i < D; ++i) sum += in[0][start + i] * in[0][start + i];
                   const double rstd = 1.0 / std::sqrt(sum / static_cast<double>(D) + kEps);
                   out[1][t * groups + g] = rstd;
                   for (int64_t i = 0; i < D; ++i) out[0][start + i] = in[0][start + i] * rstd * in[1][i];
                 }
               }
             },
         .forward =
             [=](Run& run, const auto& in, const auto& out) {
               run.backend.zero(out[0], size * sizeof(float));
               run.backend.rms_norm_forward(out[0], out[1], in[0], in[1], T, groups, D, stride, stride,
                                            static_cast<float>(kEps));
             },
         .backward =
             [=](Run& run, const auto& in, const auto& out, const auto& d_out, const auto& d_in) {
               float* workspace = run.scratch(run.backend.rms_norm_backward_workspace(D));
               if (accumulate) {
                 run.backend.rms_norm_backward(d_in[0], d_in[1], d_out[0], in[0], in[1], out[1], T, groups, D,
                                               stride, stride, true, workspace);
                 return;
               }
               // In place on the gradient, then added to what the harness put there.
               float* dx = run.floats(run.read(d_out[0], size));
               run.backend.rms_norm_backward(dx, d_in[1], dx, in[0], in[1], out[1], T, groups, D, stride,
                                             stride, false, workspace);
               for (int64_t t = 0; t < T; ++t)
                 run.backend.add(d_in[0] + t * stride, dx + t * stride, groups * D);
             }});
}

void check_layer_norm(int64_t T, int64_t D, bool accumulate) {
  const auto size = static_cast<size_t>(T * D);
  const auto width = static_cast<size_t>(D);
  constexpr double kEps = 1e-5;
  check({.name = "layer_norm",
         .inputs = {{size, accumulate ? Gradient::kAddedTo : Gradient::kOverwritten, -1.0, 3.0},
                    {width, Gradient::kAddedTo},
                    {width, Gradient::kAddedTo}},
         .outputs = {{size}, {static_cast<size_t>(T), false}, {static_cast<size_t>(T), false}},
         .reference =
             [=](const auto& in, auto& out) {
               for (int64_t t = 0; t < T; ++t) {
                 double mean = 0.0;
                 double variance = 0.0;
                 for (int64_t i = 0; i < D; ++i) mean += in[0][t * D + i] / static_cast<double>(D);
                 for (int64_t i = 0; i < D; ++i) {
                   variance += std::pow(in[0][t * D + i] - mean, 2) / static_cast<double>(D);
                 }
                 const double rstd = 1.0 / std::sqrt(variance + kEps);
                 out[1][t] = mean;
                 out[2][t] = rstd;
                 for (int64_t i = 0; i < D; ++i) {
                   out[0][t * D + i] = (in[0][t * D + i] - mean) * rstd * in[1][i] + in[2][i];
                 }
               }
             },
         .forward =
             [=](Run& run, const auto& in, const auto& out) {
               run.backend.layer_norm_forward(out[0], out[1], out[2], in[0], in[1], in[2], T, D,
                                              static_cast<float>(kEps));
             },
         .backward =
             [=](Run& run, const auto& in, const auto& out, const auto& d_out, const auto& d_in) {
               run.backend.layer_norm_backward(d_in[0], d_in[1], d_in[2], d_out[0], in[0], in[1], out[1],
                                               out[2], T, D, accumulate,
                                               run.scratch(run.backend.layer_norm_backward_workspace(D)));
             }});
}

}  // namespace

TEST_CASE("linear") {
  for (const bool bias : {false, true}) {
    for (const bool accumulate : {false, true}) {
      check_linear(1, 1, 1, bias, accumulate);
      check_linear(1, 300, 257, bias, accumulate);
      check_linear(7, 24, 33, bias, accumulate);
      check_linear(37, 80, 50, bias, accumulate);
      check_linear(150, 130, 64, bias, accumulate);
      check_linear(5, 24, 33, bias, accumulate, 7);
      check_linear(150, 31, 20, bias, accumulate, 13);
    }
  }
}

TEST_CASE("rms_norm") {
  for (const bool accumulate : {false, true}) {
    check_rms_norm(1, 1, 2, 0, accumulate);
    check_rms_norm(5, 1, 24, 0, accumulate);
    check_rms_norm(67, 1, 515, 0, accumulate);
    check_rms_norm(31, 5, 80, 13, accumulate);  // heads inside a fused projection
  }
}

TEST_CASE("layer_norm") {
  for (const bool accumulate : {false, true}) {
    check_layer_norm(1, 2, accumulate);
    check_layer_norm(5, 24, accumulate);
    check_layer_norm(67, 515, accumulate);
  }
}

}  // namespace anneal::test
