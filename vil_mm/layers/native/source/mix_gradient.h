// Local mixing, backward: gates, SiLU and convolution. Some channels of one image at a time; those of
// other tasks are never touched, so nothing depends on the number of threads.
#pragma once

#include "mix.h"

namespace mix {

constexpr int CHANNELS = 64;  // of a task
constexpr int TOKENS = 64;    // between which sums stay in registers

// For some positions and channels [first, last): dconv from a's derivative to that of the
// convolution's output, the gates' part of dx, and the derivatives of the gates' folded weights.
inline void differentiate_gates(const Scan& scan, const Table& t, const Table& d, int image,
                                int start, int end, int first, int last) {
  const int64_t E = t.channels, S = scan.length(), at = int64_t(image) * S;
  const float *x[TOKENS], *dgates = scan.dgates + at * GATES;
  float *dx[TOKENS], g[TOKENS][GATES];
  for (int p = start; p < end; p++) {
    x[p - start] = scan.at(scan.x, image, p);
    dx[p - start] = scan.at(scan.dx, image, p);
    for (int j = 0; j < GATES; j++) g[p - start][j] = dgates[j * S + p];
  }
  for (int e = first; e < last; e += LANES) {
    Vec from_a[GATES] = {}, from_x[GATES] = {}, bias = {};
    for (int n = 0; n < end - start; n++) {
      float* dconv = scan.dconv + (at + start + n) * E + e;
      const Vec c = load(scan.conv + (at + start + n) * E + e), s = sigmoid(c), a = c * s;
      const Vec xe = load(x[n] + e);
      Vec da = load(dconv), dxe = load(dx[n] + e);
      for (int j = 0; j < GATES; j++) {
        da += g[n][j] * load(t[GATES_A + j] + e);
        dxe += g[n][j] * load(t[GATES_X + j] + e);
        from_a[j] += g[n][j] * a;
        from_x[j] += g[n][j] * xe;
      }
      const Vec dc = da * s * (1.f + c * (1.f - s));
      bias += dc;
      store(dconv, dc);
      store(dx[n] + e, dxe);
    }
    for (int j = 0; j < GATES; j++) {
      add_to(d[GATES_A + j] + e, from_a[j]);
      add_to(d[GATES_X + j] + e, from_x[j]);
    }
    add_to(d[CONV_BIAS] + e, bias);
  }
}

// The convolution's part of dx, and the derivatives of its kernel.
inline void differentiate_convolution(const Scan& scan, const Table& t, const Table& d, int image,
                                      int start, int end, int first, int last,
                                      const float* outside) {
  // dconv in reading order, as a map of the grid: in reverse it is walked backwards
  const int64_t E = t.channels, S = scan.length(), step = scan.reverse ? -E : E;
  float* dconv = scan.dconv + int64_t(image) * S * E + (scan.reverse ? (S - 1) * E : 0);
  const Map dmap{dconv, 0, step * scan.columns, step};
  Neighbours x[TOKENS], dc[TOKENS];
  float* dx[TOKENS];
  for (int p = start; p < end; p++) {
    x[p - start] = Neighbours(scan, scan.x, image, scan.token(p), outside);
    dc[p - start] = Neighbours(scan, dmap, 0, scan.token(p), outside);
    dx[p - start] = scan.at(scan.dx, image, p);
  }
  for (int e = first; e < last; e += LANES) {
    Vec kernel[TAPS], dkernel[TAPS] = {};
    for (int i = 0; i < TAPS; i++) kernel[i] = load(t[CONV + i] + e);
    for (int n = 0; n < end - start; n++) {
      const Vec own = load(dc[n].data[TAPS / 2] + e);
      Vec even = load(dx[n] + e), odd = {};
      for (int i = 0; i < TAPS; i++) {
        dkernel[i] += own * load(x[n].data[i] + e);
        (i % 2 ? odd : even) += kernel[i] * load(dc[n].data[TAPS - 1 - i] + e);
      }
      store(dx[n] + e, even + odd);
    }
    for (int i = 0; i < TAPS; i++) add_to(d[CONV + i] + e, dkernel[i]);
  }
}

// d: one table of gradients per image
inline void backward(const Scan& scan, const Table& t, const std::vector<Table>& d) {
  const int S = scan.length(), parts = int(scan.channels) / CHANNELS;
  const std::vector<float> outside(scan.channels, 0.f);
  for_each(scan, int(scan.images) * parts, [&](int n) {
    const int image = n / parts, first = n % parts * CHANNELS, last = first + CHANNELS;
    for (int start = 0; start < S; start += TOKENS)
      differentiate_gates(scan, t, d[image], image, start, start + TOKENS < S ? start + TOKENS : S,
                          first, last);
    for (int start = 0; start < S; start += TOKENS)
      differentiate_convolution(scan, t, d[image], image, start,
                                start + TOKENS < S ? start + TOKENS : S, first, last,
                                outside.data());
  });
}

}  // namespace mix
