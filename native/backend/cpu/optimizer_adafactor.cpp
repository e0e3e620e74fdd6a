// Adafactor (Shazeer and Stern 2018), in the order of torch.optim.Adafactor.
//
// For a matrix, with R the moving means of g^2 over each row and C those over each column:
//   variance = max(R_i C_j / max(mean(R), eps1), eps1^2),  u = g / sqrt(variance)
//   w = w (1 - lr decay) - alpha u / max(1, RMS(u) / clip),  alpha = max(eps2, RMS(w)) relative_rate
// The variance is never stored: the update is computed once for its RMS and once more where it is applied.
#include <array>
#include <cmath>

#include "backend/cpu/cpu_backend.h"
#include "backend/cpu/optimizer_parts.h"
#include "backend/cpu/parallel.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "backend/cpu/optimizer_adafactor.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "backend/cpu/simd-inl.h"

HWY_BEFORE_NAMESPACE();
namespace anneal::cpu::HWY_NAMESPACE {

/// Moving means of squares of rows [begin, end), each of `columns` gradients.
void adafactor_row_squares(float* squares, const float* g, int64_t columns, const AdafactorOptions& o,
                           int64_t begin, int64_t end) {
  const double scale = static_cast<double>(o.grad_scale) * static_cast<double>(o.grad_scale);
  for (int64_t row = begin; row < end; ++row) {
    constexpr int64_t kBlock = 1024;  // summed in float lanes before it goes to double precision
    double sum = 0.0;
    for (int64_t block = 0; block < columns; block += kBlock) {
      Vec lanes = hn::Zero(F32());
      for_each_vector(block, std::min(columns, block + kBlock), [&](auto load, auto) HWY_ATTR {
        const Vec x = load(g + row * columns);
        lanes = hn::MulAdd(x, x, lanes);
      });
      sum += static_cast<double>(sum_lanes(lanes));
    }
    const auto mean = static_cast<float>(sum * scale / static_cast<double>(columns));
    squares[row] += (mean - squares[row]) * o.one_minus_beta2;
  }
}

/// The same of columns [begin, end): walks down the rows, some columns at a time.
void adafactor_column_squares(float* squares, const float* g, int64_t rows, int64_t columns,
                              const AdafactorOptions& o, int64_t begin, int64_t end) {
  constexpr int64_t kColumns = 128;
  constexpr int64_t kRows = 64;  // summed in float before they go to double precision
  const double scale = static_cast<double>(o.grad_scale) * static_cast<double>(o.grad_scale);
  for (int64_t first = begin; first < end; first += kColumns) {
    const int64_t count = std::min(kColumns, end - first);
    std::array<double, kColumns> sums{};
    for (int64_t row = 0; row < rows; row += kRows) {
      std::array<float, kColumns> block{};
      for (int64_t r = row; r < std::min(rows, row + kRows); ++r) {
        for_each_vector(0, count, [&](auto load, auto store) HWY_ATTR {
          const Vec x = load(g + r * columns + first);
          store(hn::MulAdd(x, x, load(block.data())), block.data());
        });
      }
      for (size_t i = 0; i < static_cast<size_t>(count); ++i) sums[i] += static_cast<double>(block[i]);
    }
    for (int64_t i = 0; i < count; ++i) {
      const auto mean = static_cast<float>(sums[static_cast<size_t>(i)] * scale / static_cast<double>(rows));
      squares[first + i] += (mean - squares[first + i]) * o.one_minus_beta2;
    }
  }
}

/// Squares of a vector's gradients [begin, end), not factored.
void adafactor_squares(float* squares, const float* g, const AdafactorOptions& o, int64_t begin,
                       int64_t end) {
  const Vec scale = hn::Set(F32(), o.grad_scale);
  const Vec weight = hn::Set(F32(), o.one_minus_beta2);
  for_each_vector(begin, end, [=](auto load, auto store) HWY_ATTR {
    const Vec x = hn::Mul(load(g), scale);
    const Vec old = load(squares);
    store(hn::MulAdd(hn::Sub(hn::Mul(x, x), old), weight, old), squares);
  });
}

/// g / sqrt(max(row * squares, lowest)): `row` is 1 for a vector.
template <class Load>
HWY_INLINE Vec adafactor_direction(Load load, const float* g, const float* squares, Vec grad_scale, Vec row,
                                   Vec lowest) {
  const Vec variance = hn::Max(hn::Mul(row, load(squares)), lowest);
  return hn::Div(hn::Mul(load(g), grad_scale), hn::Sqrt(variance));
}

/// Sum of squares of the update over elements [begin, end) of a vector or one row.
double adafactor_update_squares(const float* g, const float* squares, float row, const AdafactorOptions& o,
                                int64_t begin, int64_t end) {
  const F32 d;
  constexpr int64_t kBlock = 1024;
  double total = 0.0;
  for (int64_t block = begin; block < end; block += kBlock) {
    Vec sum = hn::Zero(d);
    for_each_vector(block, std::min(end, block + kBlock), [&](auto load, auto) HWY_ATTR {
      const Vec u = adafactor_direction(load, g, squares, hn::Set(d, o.grad_scale), hn::Set(d, row),
                                        hn::Set(d, o.eps1 * o.eps1));
      sum = hn::MulAdd(u, u, sum);
    });
    total += static_cast<double>(sum_lanes(sum));
  }
  return total;
}

/// w = w (1 - lr decay) - rate * update over elements [begin, end) of a vector or one row.
void adafactor_apply(float* w, const float* g, const float* squares, float row, float rate,
                     const AdafactorOptions& o, int64_t begin, int64_t end) {
  const F32 d;
  const Vec keep = hn::Set(d, 1.0f - o.learning_rate * o.weight_decay);
  for_each_vector(begin, end, [&](auto load, auto store) HWY_ATTR {
    const Vec u = adafactor_direction(load, g, squares, hn::Set(d, o.grad_scale), hn::Set(d, row),
                                      hn::Set(d, o.eps1 * o.eps1));
    store(hn::NegMulAdd(hn::Set(d, rate), u, hn::Mul(load(w), keep)), w);
  });
}

}  // namespace anneal::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace anneal::cpu {

HWY_EXPORT(adafactor_row_squares);
HWY_EXPORT(adafactor_column_squares);
HWY_EXPORT(adafactor_squares);
HWY_EXPORT(adafactor_update_squares);
HWY_EXPORT(adafactor_apply);

namespace {

constexpr int64_t kMinPerThread = 1 << 14;

double root_mean(double sum_of_squares, int64_t n) {
  return std::sqrt(sum_of_squares / static_cast<double>(n));
}

/// alpha / max(1, RMS(u) / clip)
float update_rate(double weight_rms, double update_rms, const AdafactorOptions& o) {
  const double alpha =
      std::max(static_cast<double>(o.eps2), weight_rms) * static_cast<double>(o.relative_rate);
  return static_cast<float>(alpha / std::max(1.0, update_rms / static_cast<double>(o.clip_threshold)));
}

}  // namespace

void CpuBackend::adafactor_matrix(float* w, float* row_squares, float* column_squares, const float* g,
                                  int64_t rows, int64_t columns, const AdafactorOptions& options) {
  const double weight_rms = root_mean(sum_of_squares(w, rows * columns), rows * columns);
  const int64_t min_rows = std::max<int64_t>(1, kMinPerThread / columns);
  parallel_ranges(threads_, rows, min_rows, [&](int64_t begin, int64_t end, int) {
    HWY_DYNAMIC_DISPATCH(adafactor_row_squares)(row_squares, g, columns, options, begin, end);
  });
  const int64_t min_columns = std::max<int64_t>(64, kMinPerThread / rows);
  parallel_ranges(threads_, columns, min_columns, [&](int64_t begin, int64_t end, int) {
    HWY_DYNAMIC_DISPATCH(adafactor_column_squares)(column_squares, g, rows, columns, options, begin, end);
  });
  double mean = 0.0;
  for (int64_t row = 0; row < rows; ++row) mean += static_cast<double>(row_squares[row]);
  mean = std::max(mean / static_cast<double>(rows), static_cast<double>(options.eps1));
  const auto row_factor = [&](int64_t row) {
    return static_cast<float>(static_cast<double>(row_squares[row]) / mean);
  };
  const double update_squares =
      sum_of_parts(threads_, partial_sums_, rows, min_rows, [&](int64_t begin, int64_t end) {
        double sum = 0.0;
        for (int64_t row = begin; row < end; ++row) {
          sum += HWY_DYNAMIC_DISPATCH(adafactor_update_squares)(g + row * columns, column_squares,
                                                                row_factor(row), options, 0, columns);
        }
        return sum;
      });
  const float rate = update_rate(weight_rms, root_mean(update_squares, rows * columns), options);
  parallel_ranges(threads_, rows, min_rows, [&](int64_t begin, int64_t end, int) {
    for (int64_t row = begin; row < end; ++row) {
      HWY_DYNAMIC_DISPATCH(adafactor_apply)
      (w + row * columns, g + row * columns, column_squares, row_factor(row), rate, options, 0, columns);
    }
  });
}

void CpuBackend::adafactor_vector(float* w, float* squares, const float* g, int64_t n,
                                  const AdafactorOptions& options) {
  const double weight_rms = root_mean(sum_of_squares(w, n), n);
  parallel_ranges(threads_, n, kMinPerThread, [&](int64_t begin, int64_t end, int) {
    HWY_DYNAMIC_DISPATCH(adafactor_squares)(squares, g, options, begin, end);
  });
  const double update_squares =
      sum_of_parts(threads_, partial_sums_, n, kMinPerThread, [&](int64_t begin, int64_t end) {
        return HWY_DYNAMIC_DISPATCH(adafactor_update_squares)(g, squares, 1.0f, options, begin, end);
      });
  const float rate = update_rate(weight_rms, root_mean(update_squares, n), options);
  parallel_ranges(threads_, n, kMinPerThread, [&](int64_t begin, int64_t end, int) {
    HWY_DYNAMIC_DISPATCH(adafactor_apply)(w, g, squares, 1.0f, rate, options, begin, end);
  });
}

}  // namespace anneal::cpu
#endif
