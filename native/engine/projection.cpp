// The decoder's projections: base products by segments, low-rank updates by columns, DoRA's scaling.
#include "engine/decoder.h"

namespace anneal {

LowRank Decoder::with_dropout(const ColumnUpdate& column) const {
  LowRank update = column.update;
  if (dropout_seed_.has_value()) {
    update.dropout = column.dropout;
    update.dropout_seed = *dropout_seed_;
  }
  return update;
}

void Decoder::project(float* y, const float* x, const Projection& p, float* u, float* unscaled, int64_t T,
                      bool accumulate) {
  for (const Segment& s : p.segments) {
    const bool dora = s.magnitude.w != nullptr;
    backend_.linear_forward((dora ? unscaled : y) + s.column, x, s.weight.w, dora ? nullptr : s.bias.w, T,
                            p.in, s.out, p.width, accumulate && !dora);
  }
  for (const ColumnUpdate& c : p.updates) {
    backend_.low_rank_forward((c.dora ? unscaled : y) + c.column, u + T * c.u_rank, x, with_dropout(c), T,
                              p.width, scratch_.low_rank);
  }
  for (const Segment& s : p.segments) {
    if (s.magnitude.w == nullptr) continue;
    backend_.dora_forward(y + s.column, unscaled + s.column, s.magnitude.w, s.inverse_norm, s.bias.w, T,
                          s.out, p.width, accumulate);
  }
}

void Decoder::project_kept(const float* x, const Projection& p, float* u, float* unscaled, int64_t T) {
  for (const Segment& s : p.segments) {
    if (s.magnitude.w == nullptr) continue;
    backend_.linear_forward(unscaled + s.column, x, s.weight.w, nullptr, T, p.in, s.out, p.width, false);
  }
  for (const ColumnUpdate& c : p.updates) {
    backend_.low_rank_forward(c.dora ? unscaled + c.column : nullptr, u + T * c.u_rank, x, with_dropout(c), T,
                              p.width, scratch_.low_rank);
  }
}

void Decoder::project_backward(float* dx, const float* dy, const float* x, const Projection& p,
                               const float* u, const float* unscaled, int64_t T) {
  for (const Segment& s : p.segments) {
    const float* d_product = dy + s.column;
    if (s.bias.d != nullptr) {
      backend_.linear_backward_weight(nullptr, s.bias.d, d_product, x, T, p.in, s.out, p.width);
    }
    if (s.magnitude.w != nullptr) {
      backend_.dora_backward(scratch_.d_unscaled + s.column, s.magnitude.d, d_product, unscaled + s.column,
                             s.magnitude.w, s.inverse_norm, T, s.out, p.width);
      d_product = scratch_.d_unscaled + s.column;
    }
    if (s.weight.d != nullptr) {
      backend_.linear_backward_weight(s.weight.d, nullptr, d_product, x, T, p.in, s.out, p.width);
    }
    if (dx != nullptr) {
      backend_.linear_backward_input(dx, d_product, s.weight.w, T, p.in, s.out, p.width, s.column > 0);
    }
  }
  for (const ColumnUpdate& c : p.updates) {
    const float* d_product = (c.dora ? scratch_.d_unscaled : dy) + c.column;
    backend_.low_rank_backward(dx, d_product, x, u + T * c.u_rank, with_dropout(c), T, p.width,
                               scratch_.low_rank);
  }
}

}  // namespace anneal
