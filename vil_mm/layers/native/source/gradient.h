// One head of one image, backward, from its last chunk to its first. dX is the derivative of the
// loss by X; names as in head.h. With N = max(|b|, floor) + eps and W_ts = P_ts (q_t . k_s):
//
//   dz, dh through gate, skip and head norm       du = dh / N     dN = -dh . h / N
//   db = sign(b) dN where |b| > floor (half of it where they are equal), else 0
//   dS_ts = P_ts (du_t . v_s + db_t)
//   dq_t = sum_s dS_ts k_s + alpha_t (state du_t + db_t n)
//   dk_s = sum_t dS_ts q_t + omega_s (dstate v_s + dn)
//   dv_s = sum_t W_ts du_t + omega_s dstate^T k_s
//   dstate_in = beta dstate + sum_t alpha_t q_t du_t^T,   dn_in likewise with db_t
//
// Decays need no pairs: the log-weight of all pairs that token t reads has the derivative q_t . dq_t,
// of those that read it k_t . dk_t. All paths through m together leave eps dN_t, which belongs to the
// token that set m_t. Only the triangle s <= t is computed, a few rows at a time.
#pragma once

#include "decay.h"
#include "product.h"
#include "table.h"

class HeadGradient {
 public:
  // d: the table of gradients of this image
  HeadGradient(const Scan& scan, const Table& table, const Table& d, int image, int head)
      : scan_(scan), t_(table), d_(d), image_(image), head_(head), D(scan.width()),
        first_(head * D) {
    Workspace& memory = task_workspace();
    const size_t rows = size_t(MAX_CHUNK) * D, state = size_t(D) * D, pairs = MAX_CHUNK * MAX_CHUNK;
    memory.reserve(12 * rows + 3 * state + 2 * pairs + D);
    for (float** x : {&a_, &q_, &k_, &v_, &du_, &dq_, &dk_, &dv_, &qt_, &kt_, &vt_, &x_})
      *x = memory.take(rows);
    dstate_ = memory.take(state), dstate_t_ = memory.take(state), state_t_ = memory.take(state);
    w_ = memory.take(pairs), ds_ = memory.take(pairs), dn_ = memory.take(D);
  }

  void run() {
    const int S = scan_.length(), L = int(scan_.chunk), chunks = scan_.chunks();
    const float* gates = scan_.gates + (int64_t(image_) * GATES + head_) * S;
    std::vector<double> before(chunks + 1, -std::numeric_limits<double>::infinity());
    for (int c = 0; c + 1 < chunks; c++) {
      decay_.find(gates + c * L, gates + HEADS * S + c * L, L, D, before[c]);
      before[c + 1] = decay_.m;
    }
    for (int c = chunks - 1; c >= 0; c--) {
      start_ = c * L, N_ = S - start_ < L ? S - start_ : L;
      opens_ = c == 0, closes_ = c == chunks - 1;
      decay_.find(gates + start_, gates + HEADS * S + start_, N_, D, before[c]);
      read_chunk(c);
      over_rows(N_, [&](int r, auto rows) { this->template read_rows<rows.value>(r); });
      over_rows(N_, [&](int s, auto rows) { this->template written_rows<rows.value>(s); });
      differentiate_gates();
      if (!opens_) update_state();
      differentiate_blocks();
    }
  }

 private:
  const Scan& scan_;
  const Table &t_, &d_;
  const int image_, head_, D, first_;
  float *a_, *x_, *q_, *k_, *v_, *du_, *dq_, *dk_, *dv_;  // (L, D)
  float *qt_, *kt_, *vt_;                                 // (D, MAX_CHUNK)
  float *dstate_, *dstate_t_, *state_t_;                  // (D, D), transposed where so named
  float *dn_;                                             // (D)
  float *w_, *ds_;                                        // (L, MAX_CHUNK)
  const float* n_;
  float dm_[MAX_CHUNK], db_[MAX_CHUNK];
  double later_ = 0, later_m_ = 0;  // sums over the tokens after the current one
  Decay decay_;
  int start_, N_;
  bool opens_, closes_;

  int64_t kept(int t) const {  // of token t in what the forward pass kept
    return (int64_t(image_) * scan_.length() + start_ + t) * t_.channels + first_;
  }

  void read_chunk(int chunk) {
    const int E = t_.channels, padded = round_up(N_, LANES);
    for (int t = 0; t < N_; t++) {
      const float *c = scan_.conv + kept(t), *x = scan_.at(scan_.x, image_, start_ + t) + first_;
      for (int d = 0; d < D; d += LANES) {
        const int e = first_ + d, at = t * D + d;
        const Vec cd = load(c + d), ad = cd * sigmoid(cd), xd = load(x + d);
        store(a_ + at, ad);
        store(x_ + at, xd);
        store(q_ + at, blocks(ad, t_[Q] + e, E) + load(t_[Q_BIAS] + e));
        store(k_ + at, blocks(ad, t_[K] + e, E) + load(t_[K_BIAS] + e));
        store(v_ + at, blocks(xd, t_[V] + e, E) + load(t_[V_BIAS] + e));
      }
    }
    for (float* rows : {q_, k_, v_})
      std::memset(rows + N_ * D, 0, size_t(padded - N_) * D * sizeof(float));
    transpose(padded, D, q_, D, qt_, MAX_CHUNK);
    transpose(padded, D, k_, D, kt_, MAX_CHUNK);
    transpose(padded, D, v_, D, vt_, MAX_CHUNK);
    if (!opens_) {
      const int64_t index = (int64_t(image_) * HEADS + head_) * scan_.chunks() + chunk;
      const float* state = scan_.states + index * scan_.state_size();
      transpose(D, D, state, D, state_t_, D);
      n_ = state + int64_t(D) * D;
    }
    if (!closes_) transpose(D, D, dstate_, D, dstate_t_, D);
  }

  // W, dS and dq of a few tokens and all that they read
  template <int R>
  void read_rows(int r) {
    constexpr int STRIDE = MAX_WIDTH + 16;  // not a power of two: rows would share cache lines
    const int columns = round_up(r + R, LANES);
    alignas(64) float p[R * MAX_CHUNK], du[R * STRIDE];
    float *w = w_ + r * MAX_CHUNK, *ds = ds_ + r * MAX_CHUNK;
    product<true, R>(columns, D, {qt_ + r, MAX_CHUNK}, {kt_, MAX_CHUNK}, w, MAX_CHUNK);
    for (int i = 0; i < R; i++) {
      Vec total = {};
      for (int s = 0; s < columns; s += LANES) {
        const int at = i * MAX_CHUNK + s;
        const Vec weight = causal(decay_.weight(r + i, s), r + i, s);
        const Vec weighted = causal(load(w + at) * weight, r + i, s);
        store(p + at, weight);
        store(w + at, weighted);
        total += weighted;
      }
      float b = sum(total);
      if (!opens_) b += decay_.alpha[r + i] * table::dot(q_ + (r + i) * D, n_, D);
      differentiate_output(r + i, b, du + i * STRIDE);
    }
    product<false, R>(columns, D, {du, STRIDE}, {vt_, MAX_CHUNK}, ds, MAX_CHUNK);
    for (int i = 0; i < R; i++)
      for (int s = 0; s < columns; s += LANES) {
        const int at = i * MAX_CHUNK + s;
        store(ds + at, causal((load(ds + at) + db_[r + i]) * load(p + at), r + i, s));
      }
    const Through state{{du, STRIDE}, {state_t_, D}, opens_ ? 0 : D, decay_.alpha + r, db_ + r, n_};
    product<false, false, R>(state, D, r + R, {ds, MAX_CHUNK}, {k_, D}, dq_ + r * D, D);
  }

  // dk and dv of a few tokens, from all that read them
  template <int R>
  void written_rows(int s) {
    const int readers = N_ - s, k = closes_ ? 0 : D;
    const int diagonal = s * MAX_CHUNK + s;
    const Through keys{{vt_ + s, MAX_CHUNK}, {dstate_t_, D}, k, decay_.omega + s, nullptr, dn_};
    product<true, true, R>(keys, D, readers, {ds_ + diagonal, MAX_CHUNK}, {q_ + s * D, D},
                           dk_ + s * D, D);
    const Through values{{kt_ + s, MAX_CHUNK}, {dstate_, D}, k, decay_.omega + s, nullptr, nullptr};
    product<true, true, R>(values, D, readers, {w_ + diagonal, MAX_CHUNK}, {du_ + s * D, D},
                           dv_ + s * D, D);
  }

  // Output gate, skip and head norm of a token: dz, its part of da, du and db.
  void differentiate_output(int t, float b, float* du) {
    const int p = start_ + t;
    const float *h = scan_.hidden + kept(t), *z = scan_.at(scan_.z, image_, p) + first_;
    const float* dy = scan_.at(scan_.dy, image_, p) + first_;
    float *dz = scan_.at(scan_.dz, image_, p) + first_, *da = scan_.dconv + kept(t);
    Vec total = {}, squares = {};
    for (int d = 0; d < D; d += LANES) total += load(h + d);
    const float mean = sum(total) / D;
    for (int d = 0; d < D; d += LANES) {
      const Vec hd = load(h + d) - mean;
      squares += hd * hd;
    }
    const float deviation = 1.f / std::sqrt(sum(squares) / D + float(scan_.norm_eps));
    Vec sum_d = {}, sum_dh = {};
    for (int d = 0; d < D; d += LANES) {
      const int e = first_ + d;
      const Vec normed = (load(h + d) - mean) * deviation, ad = load(a_ + t * D + d);
      const Vec scale = load(t_[NORM_SCALE] + e), skip = load(t_[SKIP] + e);
      const Vec zd = load(z + d), s = sigmoid(zd), dyd = load(dy + d);
      const Vec g = normed * scale + load(t_[NORM_BIAS] + e) + skip * ad, dg = dyd * zd * s;
      store(dz + d, dyd * g * s * (1.f + zd * (1.f - s)));
      store(da + d, dg * skip);
      add_to(d_[SKIP] + e, dg * ad);
      add_to(d_[NORM_BIAS] + e, dg);
      add_to(d_[NORM_SCALE] + e, dg * normed);
      const Vec dn = dg * scale;
      store(du + d, dn);
      sum_d += dn;
      sum_dh += dn * normed;
    }
    const float mean_d = sum(sum_d) / D, mean_dh = sum(sum_dh) / D;
    const float floor = decay_.floor[t], size = std::fabs(b);
    const float inverse = 1.f / ((size < floor ? floor : size) + float(scan_.eps));
    Vec dh_h = {};
    for (int d = 0; d < D; d += LANES) {
      const Vec hd = load(h + d), normed = (hd - mean) * deviation;
      const Vec dh = (load(du + d) - mean_d - normed * mean_dh) * deviation;
      dh_h += dh * hd;
      store(du + d, dh * inverse);
      store(du_ + t * D + d, dh * inverse);
    }
    const float dn = -sum(dh_h) * inverse, sign = b > 0 ? 1.f : b < 0 ? -1.f : 0.f;
    db_[t] = size < floor ? 0.f : (size == floor ? 0.5f : 1.f) * sign * dn;
    dm_[t] = dn * float(scan_.eps);
  }

  void differentiate_gates() {
    const int64_t S = scan_.length(), at = (int64_t(image_) * GATES + head_) * S + start_;
    const float* fgate = scan_.gates + at + HEADS * S;
    float *di = scan_.dgates + at, *df = di + HEADS * S;
    for (int t = N_ - 1; t >= 0; t--) {
      const float read = table::dot(q_ + t * D, dq_ + t * D, D);
      const float written = table::dot(k_ + t * D, dk_ + t * D, D);
      later_ += double(read) - written;
      later_m_ += dm_[t];  // m is that of the token before, decayed, unless it rises here
      di[t] = written + (decay_.rises[t] ? float(later_m_) : 0.f);
      if (decay_.rises[t]) later_m_ = 0;
      df[t] = float(later_ + later_m_) / (1.f + std::exp(fgate[t]));
    }
  }

  void update_state() {
    for (int t = 0; t < N_; t++)
      for (int d = 0; d < D; d += LANES)
        store(q_ + t * D + d, load(q_ + t * D + d) * decay_.alpha[t]);
    const float beta = closes_ ? 0.f : decay_.beta;
    update(D, D, N_, q_, du_, beta, dstate_);
    for (int d = 0; d < D; d += LANES) {
      Vec dn = closes_ ? Vec{} : load(dn_ + d) * beta;
      for (int t = 0; t < N_; t++) dn += load(q_ + t * D + d) * db_[t];
      store(dn_ + d, dn);
    }
  }

  // q, k, v = blocks of a, a, x: to da (added), dx, and the blocks' weights and biases
  void differentiate_blocks() {
    const int E = t_.channels;
    for (int t = 0; t < N_; t++) {
      float *da = scan_.dconv + kept(t), *dx = scan_.at(scan_.dx, image_, start_ + t) + first_;
      for (int d = 0; d < D; d += LANES) {
        const int e = first_ + d, at = t * D + d;
        add_to(da + d, blocks(load(dq_ + at), t_[Q_TRANSPOSED] + e, E) +
                           blocks(load(dk_ + at), t_[K_TRANSPOSED] + e, E));
        store(dx + d, blocks(load(dv_ + at), t_[V_TRANSPOSED] + e, E));
      }
    }
    for (int d = 0; d < D; d += LANES) {
      differentiate_weights(a_ + d, dq_ + d, Q, Q_BIAS, first_ + d);
      differentiate_weights(a_ + d, dk_ + d, K, K_BIAS, first_ + d);
      differentiate_weights(x_ + d, dv_ + d, V, V_BIAS, first_ + d);
    }
  }

  void differentiate_weights(const float* input, const float* dout, int rows, int bias, int e) {
    Vec total = {}, weights[4] = {};
    for (int t = 0; t < N_; t++) {
      const Vec in = load(input + t * D), d = load(dout + t * D);
      weights[0] += permute<InGroup<0>>(in, in) * d;
      weights[1] += permute<InGroup<1>>(in, in) * d;
      weights[2] += permute<InGroup<2>>(in, in) * d;
      weights[3] += permute<InGroup<3>>(in, in) * d;
      total += d;
    }
    for (int i = 0; i < 4; i++) add_to(d_[rows + i] + e, weights[i]);
    add_to(d_[bias] + e, total);
  }
};
