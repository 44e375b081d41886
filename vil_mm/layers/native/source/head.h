// One head of one image, forward: chunk by chunk in reading order
//
//   u_t = alpha_t state_in^T q_t + sum_{s<=t} P_ts (q_t . k_s) v_s     b_t the same with v = 1
//   h_t = u_t / (max(|b_t|, floor_t) + eps)
//   y_t = (head norm(h_t) + skip a_t) silu(z_t)
//   state_out = beta state_in + sum_s omega_s k_s v_s^T
//
// Rows of a chunk are computed a few at a time up to y. The direction is in the addresses alone.
#pragma once

#include "decay.h"
#include "product.h"
#include "table.h"

class Head {
 public:
  Head(const Scan& scan, const Table& table, int image, int head)
      : scan_(scan), t_(table), image_(image), head_(head), D(scan.width()), first_(head * D) {
    Workspace& memory = task_workspace();
    const size_t rows = size_t(MAX_CHUNK) * D, state = size_t(D) * D;
    memory.reserve(5 * rows + state + D);
    q_ = memory.take(rows), k_ = memory.take(rows), v_ = memory.take(rows);
    qt_ = memory.take(rows), kt_ = memory.take(rows);
    state_ = memory.take(state), n_ = memory.take(D);
  }

  void forward() {
    const int S = scan_.length(), L = int(scan_.chunk), chunks = scan_.chunks();
    double m = -std::numeric_limits<double>::infinity();
    for (int c = 0; c < chunks; c++) {
      start_ = c * L, N_ = S - start_ < L ? S - start_ : L;
      opens_ = c == 0, closes_ = c == chunks - 1;
      const float* gates = scan_.gates + (int64_t(image_) * GATES + head_) * S + start_;
      decay_.find(gates, gates + HEADS * S, N_, D, m);
      m = decay_.m;
      project();
      if (scan_.states && !opens_) keep_state(c);
      over_rows(N_, [&](int r, auto rows) { this->template finish_rows<rows.value>(r); });
      if (!closes_) update_state();
    }
  }

 private:
  const Scan& scan_;
  const Table& t_;
  const int image_, head_, D, first_;  // first_: the head's first channel
  float *q_, *k_, *v_, *qt_, *kt_;     // (L, D); transposed (D, MAX_CHUNK)
  float *state_, *n_;                  // (D, D), (D)
  Decay decay_;
  int start_, N_;
  bool opens_, closes_;

  // q, k and v of the chunk; then k has the weights omega, with which it enters the state
  void project() {
    const int E = t_.channels, padded = round_up(N_, LANES);
    for (int t = 0; t < N_; t++) {
      const float* a = scan_.at(scan_.y, image_, start_ + t) + first_;
      const float* x = scan_.at(scan_.x, image_, start_ + t) + first_;
      for (int d = 0; d < D; d += LANES) {
        const int e = first_ + d;
        const Vec ad = load(a + d);
        store(q_ + t * D + d, blocks(ad, t_[Q] + e, E) + load(t_[Q_BIAS] + e));
        store(k_ + t * D + d, blocks(ad, t_[K] + e, E) + load(t_[K_BIAS] + e));
        store(v_ + t * D + d, blocks(load(x + d), t_[V] + e, E) + load(t_[V_BIAS] + e));
      }
    }
    std::memset(q_ + N_ * D, 0, size_t(padded - N_) * D * sizeof(float));
    std::memset(k_ + N_ * D, 0, size_t(padded - N_) * D * sizeof(float));
    transpose(padded, D, q_, D, qt_, MAX_CHUNK);
    transpose(padded, D, k_, D, kt_, MAX_CHUNK);
    if (closes_) return;
    for (int t = 0; t < N_; t++)
      for (int d = 0; d < D; d += LANES)
        store(k_ + t * D + d, load(k_ + t * D + d) * decay_.omega[t]);
  }

  template <int R>
  void finish_rows(int r) {
    const int columns = round_up(r + R, LANES);
    alignas(64) float w[R * MAX_CHUNK], u[R * MAX_WIDTH];
    float b[R];
    product<true, R>(columns, D, {qt_ + r, MAX_CHUNK}, {kt_, MAX_CHUNK}, w, MAX_CHUNK);
    for (int i = 0; i < R; i++) {
      Vec total = {};
      for (int s = 0; s < columns; s += LANES) {
        float* entry = w + i * MAX_CHUNK + s;
        const Vec weighted = causal(load(entry) * decay_.weight(r + i, s), r + i, s);
        store(entry, weighted);
        total += weighted;
      }
      b[i] = sum(total);
      if (!opens_) b[i] += decay_.alpha[r + i] * table::dot(q_ + (r + i) * D, n_, D);
    }
    const Through state{{qt_ + r, MAX_CHUNK}, {state_, D}, opens_ ? 0 : D, decay_.alpha + r,
                        nullptr, nullptr};
    product<true, false, R>(state, D, r + R, {w, MAX_CHUNK}, {v_, D}, u, D);
    for (int i = 0; i < R; i++) finish(r + i, u + i * D, b[i]);
  }

  // from u and b to y
  void finish(int t, float* u, float b) {
    const int p = start_ + t;
    float* y = scan_.at(scan_.y, image_, p) + first_;  // still holds a
    const float* z = scan_.at(scan_.z, image_, p) + first_;
    float* kept = scan_.hidden
                      ? scan_.hidden + (int64_t(image_) * scan_.length() + p) * t_.channels + first_
                      : nullptr;
    const float floor = decay_.floor[t], size = std::fabs(b);
    const float scale = 1.f / ((size < floor ? floor : size) + float(scan_.eps));
    Vec total = {};
    for (int d = 0; d < D; d += LANES) {
      const Vec h = load(u + d) * scale;
      store(u + d, h);
      if (kept) store(kept + d, h);
      total += h;
    }
    const float mean = sum(total) / D;
    Vec squares = {};
    for (int d = 0; d < D; d += LANES) {
      const Vec h = load(u + d) - mean;
      squares += h * h;
    }
    const float deviation = 1.f / std::sqrt(sum(squares) / D + float(scan_.norm_eps));
    for (int d = 0; d < D; d += LANES) {
      const int e = first_ + d;
      const Vec h = (load(u + d) - mean) * deviation, zd = load(z + d);
      const Vec normed = h * load(t_[NORM_SCALE] + e) + load(t_[NORM_BIAS] + e);
      store(y + d, (normed + load(t_[SKIP] + e) * load(y + d)) * (zd * sigmoid(zd)));
    }
  }

  void update_state() {
    const float beta = opens_ ? 0.f : decay_.beta;
    update(D, D, N_, k_, v_, beta, state_);
    for (int d = 0; d < D; d += LANES) {
      Vec n = opens_ ? Vec{} : load(n_ + d) * beta;
      for (int t = 0; t < N_; t++) n += load(k_ + t * D + d);
      store(n_ + d, n);
    }
  }

  void keep_state(int chunk) {
    const int64_t index = (int64_t(image_) * HEADS + head_) * scan_.chunks() + chunk;
    float* kept = scan_.states + index * scan_.state_size();
    std::memcpy(kept, state_, size_t(D) * D * sizeof(float));
    std::memcpy(kept + int64_t(D) * D, n_, size_t(D) * sizeof(float));
  }
};
