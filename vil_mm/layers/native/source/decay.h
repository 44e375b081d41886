// What the gates of a chunk decide, for one head.
//
// With a_t the sum of log sigmoid(f) up to token t of the chunk, and m the stabiliser:
//
//   m_t   = max(m_{t-1} + log sigmoid(f_t), i_t)
//   P_ts  = exp(read_t + written_s)          weight of token s <= t of the chunk for token t
//           read_t = a_t - m_t,  written_s = i_s - a_s - log(sqrt(DH))
//   alpha = exp(a_t + m_in - m_t)            weight of the incoming state for token t
//   omega = exp(written_s + a_last - m_out)  weight of token s in the outgoing state
//   beta  = exp(a_last + m_in - m_out)       weight of the incoming state in it
//   floor = exp(-m_t)                        of the normaliser
//
// (Beck et al., "xLSTM", 2024, appendix A, cut into chunks.) All exponents are of base 2. read and
// written may be large and nearly cancel: each is kept as a sum of two floats.
#pragma once

#include <cmath>
#include <limits>

#include "scan.h"

struct Decay {
  float read[MAX_CHUNK], read_rest[MAX_CHUNK];
  float written[MAX_CHUNK], written_rest[MAX_CHUNK];
  float alpha[MAX_CHUNK], omega[MAX_CHUNK], floor[MAX_CHUNK];
  bool rises[MAX_CHUNK];  // m_t is the token's own input gate
  float beta;
  double m;  // before the chunk, then after it

  // Pairs of tokens whose weight is 2^-120 or less count as that, as do tokens past the end.
  static constexpr float NOTHING = -1000.f;

  // igate, fgate: pre-activations of n tokens; m: the stabiliser before them, -inf at the start.
  void find(const float* igate, const float* fgate, int n, int width, double before) {
    const double half_log_width = 0.5 * std::log2(double(width)), m_in = before;
    float log_f[MAX_CHUNK];
    log_sigmoids(fgate, n, log_f);
    double a = 0;
    m = m_in;
    for (int t = 0; t < n; t++) {
      const double f = log_f[t] * LOG2E, i = igate[t] * LOG2E;
      a += f;
      rises[t] = !(m + f >= i);  // also if a gate is not a number, which then spreads
      m = rises[t] ? i : m + f;
      split(a - m, read[t], read_rest[t]);
      split(i - a - half_log_width, written[t], written_rest[t]);
      alpha[t] = float(a + m_in - m);
      floor[t] = float(m < -114 ? 114 : -m);  // exp of 79: beyond it h is zero in any case
    }
    const double out = a - m;
    for (int t = 0; t < n; t++) omega[t] = float(double(written[t]) + written_rest[t] + out);
    beta = float(std::exp2(a + m_in - m));
    for (int t = n; t < round_up(n, LANES); t++)
      written[t] = alpha[t] = omega[t] = floor[t] = NOTHING, written_rest[t] = 0.f;
    for (float* x : {alpha, omega, floor})
      for (int t = 0; t < n; t += LANES) store(x + t, exp2(load(x + t)));
  }

  // P_ts for token t and the tokens from s on, unmasked
  INLINE Vec weight(int t, int s) const {
    const Vec x = (load(written + s) + read[t]) + (load(written_rest + s) + read_rest[t]);
    return exp2(x > 0.f ? Vec{} : x);  // above 0 only behind the mask
  }

 private:
  static void split(double x, float& whole, float& rest) {
    whole = float(x);
    rest = float(x - whole);
  }
  static void log_sigmoids(const float* fgate, int n, float* out) {
    float x[MAX_CHUNK] = {};
    for (int t = 0; t < n; t++) x[t] = fgate[t];
    for (int t = 0; t < n; t += LANES) store(out + t, log_sigmoid(load(x + t)));
  }
};

// Entry s of a row t is kept if s <= t.
INLINE Vec causal(Vec x, int t, int s) {
  if (s + LANES - 1 <= t) return x;
  IntVec lane;
  for (int i = 0; i < LANES; i++) lane[i] = i;
  return lane <= t - s ? x : Vec{};
}
