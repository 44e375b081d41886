// Local mixing, backward: gates, SiLU and convolution. Some channels of one image at a time; those of
// other tasks are never touched, so nothing depends on the number of threads.
#pragma once

#include "mix.h"

namespace mix {

constexpr int CHANNELS = 64;  // of a task
constexpr int TOKENS = 64;    // between which sums stay in registers

// For one vector of channels and some positions: dconv from a's derivative to that of the
// convolution's output, the gates' part of dx, and the derivatives of the gates' folded weights.
inline void differentiate_gates(const Scan& scan, const Table& t, const Table& d, int image,
                                int start, int end, int e) {
  const int64_t E = t.channels, S = scan.length(), at = int64_t(image) * S;
  const float* dgates = scan.dgates + at * GATES;
  Vec from_a[GATES] = {}, from_x[GATES] = {}, bias = {};
  for (int p = start; p < end; p++) {
    const float* x = scan.at(scan.x, image, p) + e;
    float *dx = scan.at(scan.dx, image, p) + e, *dconv = scan.dconv + (at + p) * E + e;
    const Vec c = load(scan.conv + (at + p) * E + e), s = sigmoid(c), a = c * s, xe = load(x);
    Vec da = load(dconv), dxe = load(dx);
    for (int j = 0; j < GATES; j++) {
      const float g = dgates[j * S + p];
      da += g * load(t[GATES_A + j] + e);
      dxe += g * load(t[GATES_X + j] + e);
      from_a[j] += g * a;
      from_x[j] += g * xe;
    }
    const Vec dc = da * s * (1.f + c * (1.f - s));
    bias += dc;
    store(dconv, dc);
    store(dx, dxe);
  }
  for (int j = 0; j < GATES; j++) {
    add_to(d[GATES_A + j] + e, from_a[j]);
    add_to(d[GATES_X + j] + e, from_x[j]);
  }
  add_to(d[CONV_BIAS] + e, bias);
}

// The convolution's part of dx, and the derivatives of its kernel, for one vector of channels.
inline void differentiate_convolution(const Scan& scan, const Table& t, const Table& d, int image,
                                      int start, int end, int e, const float* outside) {
  // dconv in reading order, as a map of the grid: in reverse it is walked backwards
  const int64_t E = t.channels, S = scan.length(), step = scan.reverse ? -E : E;
  float* dconv = scan.dconv + int64_t(image) * S * E + (scan.reverse ? (S - 1) * E : 0);
  const Map dmap{dconv, 0, step * scan.columns, step};
  Vec kernel[TAPS], dkernel[TAPS] = {};
  for (int i = 0; i < TAPS; i++) kernel[i] = load(t[CONV + i] + e);
  for (int p = start; p < end; p++) {
    const int token = scan.token(p);
    const Neighbours x(scan, scan.x, image, token, outside);
    const Neighbours dc(scan, dmap, 0, token, outside);
    float* dx = scan.at(scan.dx, image, p) + e;
    const Vec own = load(dc.data[TAPS / 2] + e);
    Vec total = load(dx);
    for (int i = 0; i < TAPS; i++) {
      dkernel[i] += own * load(x.data[i] + e);
      total += kernel[i] * load(dc.data[TAPS - 1 - i] + e);
    }
    store(dx, total);
  }
  for (int i = 0; i < TAPS; i++) add_to(d[CONV + i] + e, dkernel[i]);
}

// d: one table of gradients per image
inline void backward(const Scan& scan, const Table& t, const std::vector<Table>& d) {
  const int S = scan.length(), parts = int(scan.channels) / CHANNELS;
  const std::vector<float> outside(scan.channels, 0.f);
  for_each(scan, int(scan.images) * parts, [&](int n) {
    const int image = n / parts, first = n % parts * CHANNELS;
    const auto over_tiles = [&](auto body) {
      for (int start = 0; start < S; start += TOKENS)
        for (int e = first; e < first + CHANNELS; e += LANES)
          body(start, start + TOKENS < S ? start + TOKENS : S, e);
    };
    over_tiles([&](int start, int end, int e) {
      differentiate_gates(scan, t, d[image], image, start, end, e);
    });
    over_tiles([&](int start, int end, int e) {
      differentiate_convolution(scan, t, d[image], image, start, end, e, outside.data());
    });
  });
}

}  // namespace mix
