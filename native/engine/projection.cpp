// The decoder's projections: base products by segments, low-rank updates by columns, DoRA's scaling.
//
// DoRA with dropout is PEFT's: what is scaled is of the dropped input, W included, and the whole input goes
// through W alone. With gain g = magnitude / norm and d = dropout(x):
//   y = W x + (g - 1) W d + g s B A d + bias = g (W d + s B A d) + W (x - d) + bias
#include <stdexcept>

#include "engine/decoder.h"

namespace anneal {

namespace {

/// The update of a segment with DoRA.
const ColumnUpdate& update_of(const Projection& p, const Segment& s) {
  for (const ColumnUpdate& c : p.updates) {
    if (c.dora && c.column == s.column) return c;
  }
  throw std::logic_error("a segment with DoRA has no update");
}

/// For inputs that are dropped already.
LowRank without_dropout(LowRank update) {
  update.dropout = 0.0f;
  return update;
}

}  // namespace

LowRank Decoder::with_dropout(const ColumnUpdate& column) const {
  LowRank update = column.update;
  if (dropout_seed_.has_value()) {
    update.dropout = column.dropout;
    update.dropout_seed = *dropout_seed_;
  }
  return update;
}

bool Decoder::drops(const ColumnUpdate& c) const { return c.dora && with_dropout(c).dropout > 0.0f; }

void Decoder::project(float* y, const float* x, const Projection& p, float* u, float* unscaled, int64_t T,
                      bool accumulate) {
  for (const Segment& s : p.segments) {
    const bool dora = s.magnitude.w != nullptr;
    if (dora && drops(update_of(p, s))) continue;
    backend_.linear_forward((dora ? unscaled : y) + s.column, x, s.weight.w, dora ? nullptr : s.bias.w, T,
                            p.in, s.out, p.width, accumulate && !dora);
  }
  for (const ColumnUpdate& c : p.updates) {
    if (drops(c)) continue;
    backend_.low_rank_forward((c.dora ? unscaled : y) + c.column, u + T * c.u_rank, x, with_dropout(c), T,
                              p.width, scratch_.low_rank);
  }
  for (const Segment& s : p.segments) {
    if (s.magnitude.w == nullptr) continue;
    const ColumnUpdate& c = update_of(p, s);
    if (drops(c)) dropped_forward(x, p, s, c, u, unscaled, T);
    backend_.dora_forward(y + s.column, unscaled + s.column, s.magnitude.w, s.inverse_norm, s.bias.w, T,
                          s.out, p.width, accumulate);
    if (!drops(c)) continue;
    backend_.scale(scratch_.dropped, -1.0f, T * p.in);
    backend_.add(scratch_.dropped, x, T * p.in);
    backend_.linear_forward(y + s.column, scratch_.dropped, s.weight.w, nullptr, T, p.in, s.out, p.width,
                            true);
  }
}

void Decoder::project_kept(const float* x, const Projection& p, float* u, float* unscaled, int64_t T) {
  for (const Segment& s : p.segments) {
    if (s.magnitude.w == nullptr) continue;
    const ColumnUpdate& c = update_of(p, s);
    if (drops(c)) {
      dropped_forward(x, p, s, c, u, unscaled, T);
    } else {
      backend_.linear_forward(unscaled + s.column, x, s.weight.w, nullptr, T, p.in, s.out, p.width, false);
    }
  }
  for (const ColumnUpdate& c : p.updates) {
    if (drops(c)) continue;
    backend_.low_rank_forward(c.dora ? unscaled + c.column : nullptr, u + T * c.u_rank, x, with_dropout(c), T,
                              p.width, scratch_.low_rank);
  }
}

void Decoder::dropped_forward(const float* x, const Projection& p, const Segment& s, const ColumnUpdate& c,
                              float* u, float* unscaled, int64_t T) {
  const LowRank update = with_dropout(c);
  backend_.low_rank_dropout(scratch_.dropped, x, update, T, false);
  backend_.linear_forward(unscaled + s.column, scratch_.dropped, s.weight.w, nullptr, T, p.in, s.out, p.width,
                          false);
  backend_.low_rank_forward(unscaled + s.column, u + T * c.u_rank, scratch_.dropped, without_dropout(update),
                            T, p.width, scratch_.low_rank);
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
      const ColumnUpdate& c = update_of(p, s);
      if (drops(c)) {
        dropped_backward(dx, dy, x, p, s, c, u, T);
        continue;
      }
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
    if (drops(c)) continue;
    const float* d_product = (c.dora ? scratch_.d_unscaled : dy) + c.column;
    backend_.low_rank_backward(dx, d_product, x, u + T * c.u_rank, with_dropout(c), T, p.width,
                               scratch_.low_rank);
  }
}

void Decoder::dropped_backward(float* dx, const float* dy, const float* x, const Projection& p,
                               const Segment& s, const ColumnUpdate& c, const float* u, int64_t T) {
  const LowRank update = with_dropout(c);
  const float* d_unscaled = scratch_.d_unscaled + s.column;
  backend_.low_rank_dropout(scratch_.dropped, x, update, T, false);
  if (s.weight.d != nullptr) {
    // dW = d_unscaled^T d + dy^T (x - d)
    backend_.linear_backward_weight(s.weight.d, nullptr, d_unscaled, scratch_.dropped, T, p.in, s.out,
                                    p.width);
    backend_.copy(scratch_.d_dropped, scratch_.dropped, static_cast<size_t>(T * p.in) * sizeof(float));
    backend_.scale(scratch_.d_dropped, -1.0f, T * p.in);
    backend_.add(scratch_.d_dropped, x, T * p.in);
    backend_.linear_backward_weight(s.weight.d, nullptr, dy + s.column, scratch_.d_dropped, T, p.in, s.out,
                                    p.width);
  }
  float* d_dropped = dx == nullptr ? nullptr : scratch_.d_dropped;
  if (dx != nullptr) {
    backend_.linear_backward_input(d_dropped, d_unscaled, s.weight.w, T, p.in, s.out, p.width, false);
  }
  backend_.low_rank_backward(d_dropped, d_unscaled, scratch_.dropped, u + T * c.u_rank,
                             without_dropout(update), T, p.width, scratch_.low_rank);
  if (dx == nullptr) return;
  // dx = W^T dy + dropout(d_dropped - W^T dy)
  float* whole = scratch_.dropped;
  backend_.linear_backward_input(whole, dy + s.column, s.weight.w, T, p.in, s.out, p.width, false);
  if (s.column > 0) {
    backend_.add(dx, whole, T * p.in);
  } else {
    backend_.copy(dx, whole, static_cast<size_t>(T * p.in) * sizeof(float));
  }
  backend_.scale(whole, -1.0f, T * p.in);
  backend_.add(d_dropped, whole, T * p.in);
  backend_.low_rank_dropout(dx, d_dropped, update, T, true);
}

}  // namespace anneal
