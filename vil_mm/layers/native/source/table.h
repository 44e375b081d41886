// The weights of a scan as rows of E floats, in which neighbouring channels are neighbours; and the
// way back for their gradients. Made anew for every call, so that changed weights are always seen.
#pragma once

#include <cstring>

#include "scan.h"

// Rows of the table. Those of a matrix of 4 x 4 blocks hold the weights from input i of each block;
// transposed, those to output o. The gates are linear in q, k and v, which are linear in a and x: so
// they are linear in a and x, with the weights GATES_A and GATES_X.
enum Row {
  CONV = 0,
  CONV_BIAS = CONV + TAPS,
  Q = CONV_BIAS + 1,
  K = Q + 4,
  V = K + 4,
  Q_BIAS = V + 4,
  K_BIAS,
  V_BIAS,
  GATES_A,
  GATES_X = GATES_A + GATES,
  NORM_SCALE = GATES_X + GATES,
  NORM_BIAS,
  SKIP,
  GRADIENT_ROWS,  // a table of gradients ends here
  Q_TRANSPOSED = GRADIENT_ROWS,
  K_TRANSPOSED = Q_TRANSPOSED + 4,
  V_TRANSPOSED = K_TRANSPOSED + 4,
  WEIGHT_ROWS = V_TRANSPOSED + 4,
};

struct Table {
  int channels;
  float* rows;
  float gate_bias[GATES];

  float* operator[](int row) const { return rows + int64_t(row) * channels; }
};

namespace table {

// Row j of the gates' weights, for queries; those for keys and values follow at E and 2E.
inline float* gate_row(const Parameters& p, int channels, int j) {
  return (j < HEADS ? p.igate : p.fgate) + int64_t(j % HEADS) * 3 * channels;
}
inline float* gate_bias(const Parameters& p, int j) {
  return (j < HEADS ? p.igate_bias : p.fgate_bias) + j % HEADS;
}

inline void copy(const float* from, int channels, float* to) {
  if (from)
    std::memcpy(to, from, channels * sizeof(float));
  else
    std::memset(to, 0, channels * sizeof(float));
}

// (block, out, in) to rows [in][block out], and transposed to rows [out][block in]
inline void split_blocks(const float* weight, int channels, float* rows, float* transposed) {
  for (int e = 0; e < channels; e++)
    for (int i = 0; i < 4; i++) {
      rows[i * channels + e] = weight[e * 4 + i];
      transposed[i * channels + e] = weight[(e - e % 4 + i) * 4 + e % 4];
    }
}
inline void join_blocks(const float* rows, int channels, float* weight) {
  for (int e = 0; e < channels; e++)
    for (int i = 0; i < 4; i++) weight[e * 4 + i] = rows[i * channels + e];
}

inline float dot(const float* a, const float* b, int n) {
  Vec total = {};
  for (int e = 0; e < n; e += LANES) total += load(a + e) * load(b + e);
  return sum(total);
}

inline void fold_gates(const Parameters& p, Table& t) {
  const int E = t.channels;
  for (int j = 0; j < GATES; j++) {
    const float *q = gate_row(p, E, j), *k = q + E, *v = k + E;
    for (int e = 0; e < E; e += LANES) {
      store(t[GATES_A + j] + e, blocks(load(q + e), t[Q_TRANSPOSED] + e, E) +
                                    blocks(load(k + e), t[K_TRANSPOSED] + e, E));
      store(t[GATES_X + j] + e, blocks(load(v + e), t[V_TRANSPOSED] + e, E));
    }
    t.gate_bias[j] = *gate_bias(p, j) + dot(q, t[Q_BIAS], E) + dot(k, t[K_BIAS], E) +
                     dot(v, t[V_BIAS], E);
  }
}

inline Table pack(const Scan& scan, float* memory) {
  const Parameters& p = scan.weights;
  const int E = int(scan.channels);
  Table t{E, memory, {}};
  for (int e = 0; e < E; e++)  // in reverse the kernel is turned
    for (int i = 0; i < TAPS; i++)
      t[CONV + i][e] = p.conv[e * TAPS + (scan.reverse ? TAPS - 1 - i : i)];
  copy(p.conv_bias, E, t[CONV_BIAS]);
  split_blocks(p.q, E, t[Q], t[Q_TRANSPOSED]);
  split_blocks(p.k, E, t[K], t[K_TRANSPOSED]);
  split_blocks(p.v, E, t[V], t[V_TRANSPOSED]);
  copy(p.q_bias, E, t[Q_BIAS]);
  copy(p.k_bias, E, t[K_BIAS]);
  copy(p.v_bias, E, t[V_BIAS]);
  fold_gates(p, t);
  for (int e = 0; e < E; e++) t[NORM_SCALE][e] = 1.f + p.norm[e];
  copy(p.norm_bias, E, t[NORM_BIAS]);
  copy(p.skip, E, t[SKIP]);
  return t;
}

// From the gradients of folded gates to those of q, k, v (added to d) and of the gates' own weights.
inline void unfold_gates(const Scan& scan, const Table& t, const Table& d) {
  const int E = t.channels;
  for (int j = 0; j < GATES; j++) {
    const float bias = d.gate_bias[j], *weight = gate_row(scan.weights, E, j);
    float* gradient = gate_row(scan.gradients, E, j);
    *gate_bias(scan.gradients, j) = bias;
    for (int part = 0; part < 3; part++) {
      const int rows = Q + 4 * part, folded = (part < 2 ? GATES_A : GATES_X) + j;
      for (int e = 0; e < E; e += LANES) {
        const Vec g = load(d[folded] + e), w = load(weight + part * E + e);
        store(gradient + part * E + e,
              blocks(g, t[rows] + e, E) + bias * load(t[Q_BIAS + part] + e));
        add_to(d[rows] + e, w * permute<InGroup<0>>(g, g));
        add_to(d[rows + 1] + e, w * permute<InGroup<1>>(g, g));
        add_to(d[rows + 2] + e, w * permute<InGroup<2>>(g, g));
        add_to(d[rows + 3] + e, w * permute<InGroup<3>>(g, g));
        add_to(d[Q_BIAS + part] + e, w * bias);
      }
    }
  }
}

// Write the gradients of the parameters, given those of the table, d.
inline void unpack(const Scan& scan, const Table& t, const Table& d) {
  const Parameters& p = scan.gradients;
  const int E = t.channels;
  unfold_gates(scan, t, d);
  for (int e = 0; e < E; e++)
    for (int i = 0; i < TAPS; i++)
      p.conv[e * TAPS + (scan.reverse ? TAPS - 1 - i : i)] = d[CONV + i][e];
  join_blocks(d[Q], E, p.q);
  join_blocks(d[K], E, p.k);
  join_blocks(d[V], E, p.v);
  const std::pair<float*, int> rows[] = {
      {p.conv_bias, CONV_BIAS}, {p.q_bias, Q_BIAS},   {p.k_bias, K_BIAS}, {p.v_bias, V_BIAS},
      {p.norm, NORM_SCALE},     {p.norm_bias, NORM_BIAS}, {p.skip, SKIP}};
  for (const auto& [target, row] : rows)
    if (target) copy(d[row], E, target);
}

}  // namespace table
