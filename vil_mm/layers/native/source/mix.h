// Local mixing: a = silu(conv(x)) and the gates of all heads, token by token.
#pragma once

#include "table.h"

namespace mix {

// The nine entries of a map around a token, `outside` where the grid ends.
struct Neighbours {
  const float* data[TAPS];

  Neighbours() = default;
  Neighbours(const Scan& scan, const Map& map, int image, int token, const float* outside) {
    const int columns = int(scan.columns), row = token / columns, column = token % columns;
    const float* centre = map.data + image * map.image + row * map.row + column * map.column;
    for (int i = 0; i < TAPS; i++) {
      const int down = i / 3 - 1, right = i % 3 - 1;
      const bool inside = row + down >= 0 && row + down < scan.rows && column + right >= 0 &&
                          column + right < columns;
      data[i] = inside ? centre + down * map.row + right * map.column : outside;
    }
  }
};

// a is written where y will be: each entry is read once more before it is overwritten.
inline void convolve(const Scan& scan, const Table& t, int image, int p, const float* outside) {
  const int E = t.channels;
  const Neighbours near(scan, scan.x, image, scan.token(p), outside);
  float* a = scan.at(scan.y, image, p);
  float* kept = scan.conv ? scan.conv + (int64_t(image) * scan.length() + p) * E : nullptr;
  const float* weight = t[CONV];
  for (int e = 0; e < E; e += LANES) {
    Vec even = load(t[CONV_BIAS] + e), odd = {};
    for (int i = 0; i < TAPS; i++)
      (i % 2 ? odd : even) += load(near.data[i] + e) * load(weight + i * E + e);
    const Vec c = even + odd;
    if (kept) store(kept + e, c);
    store(a + e, c * sigmoid(c));
  }
}

// The gates of `TOKENS` positions from p on.
template <int TOKENS>
INLINE void find_gates(const Scan& scan, const Table& t, int image, int p) {
  const int E = t.channels, S = scan.length();
  const float *a[TOKENS], *x[TOKENS];
  for (int n = 0; n < TOKENS; n++) a[n] = scan.at(scan.y, image, p + n);
  for (int n = 0; n < TOKENS; n++) x[n] = scan.at(scan.x, image, p + n);
  Vec total[TOKENS * GATES] = {};
  for (int e = 0; e < E; e += LANES) {
    Vec ae[TOKENS], xe[TOKENS];
    for (int n = 0; n < TOKENS; n++) ae[n] = load(a[n] + e), xe[n] = load(x[n] + e);
    for (int j = 0; j < GATES; j++) {
      const Vec from_a = load(t[GATES_A + j] + e), from_x = load(t[GATES_X + j] + e);
      for (int n = 0; n < TOKENS; n++) {
        total[n * GATES + j] += ae[n] * from_a;
        total[n * GATES + j] += xe[n] * from_x;
      }
    }
  }
  float* gates = scan.gates + int64_t(image) * GATES * S + p;
  float found[TOKENS * GATES];
  if constexpr (TOKENS * GATES % LANES == 0)
    for (int n = 0; n < TOKENS * GATES; n += LANES)
      store(found + n, sums(reinterpret_cast<Vec(&)[LANES]>(total[n])));
  else
    for (int n = 0; n < TOKENS * GATES; n++) found[n] = sum(total[n]);
  for (int n = 0; n < TOKENS * GATES; n++)
    gates[int64_t(n % GATES) * S + n / GATES] = found[n] + t.gate_bias[n % GATES];
}

inline void forward(const Scan& scan, const Table& t) {
  constexpr int TOKENS = 16;  // of a task; their rows stay in the nearest cache
  const int S = scan.length(), tasks = (S + TOKENS - 1) / TOKENS;
  const std::vector<float> outside(scan.channels, 0.f);
  for_each(scan, int(scan.images) * tasks, [&](int n) {
    const int image = n / tasks, start = n % tasks * TOKENS;
    const int end = start + TOKENS < S ? start + TOKENS : S;
    for (int p = start; p < end; p++) convolve(scan, t, image, p, outside.data());
    int p = start;
    if constexpr (LANES == 16)
      for (; p + 2 <= end; p += 2) find_gates<2>(scan, t, image, p);
    for (; p < end; p++) find_gates<1>(scan, t, image, p);
  });
}

}  // namespace mix
