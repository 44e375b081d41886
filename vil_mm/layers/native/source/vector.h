// Vectors of float, and the few functions that the scan needs of them.
//
// GCC's and clang's vector extensions: the same source compiles to AVX-512, AVX2, SSE2 and NEON.
#pragma once

#include <cstdint>
#include <utility>

#if defined(__AVX512F__)
constexpr int LANES = 16;
#elif defined(__AVX2__)
constexpr int LANES = 8;
#else
constexpr int LANES = 4;
#endif

// Rows and vectors of the accumulators that a matrix product keeps in registers.
#if defined(__AVX512F__) || defined(__aarch64__)
constexpr int TILE_ROWS = 8;  // of 32 registers
#else
constexpr int TILE_ROWS = 4;  // of 16
#endif
constexpr int TILE_VECTORS = 3;  // divides the heads of every model but ViL-L

#define INLINE inline __attribute__((always_inline))

typedef float Vec __attribute__((vector_size(4 * LANES)));
typedef int32_t IntVec __attribute__((vector_size(4 * LANES)));
// the same in memory, at any address of a float
typedef float VecInMemory __attribute__((vector_size(4 * LANES), aligned(4), may_alias));

INLINE Vec load(const float* p) { return *reinterpret_cast<const VecInMemory*>(p); }
INLINE void store(float* p, Vec x) { *reinterpret_cast<VecInMemory*>(p) = x; }
INLINE void add_to(float* p, Vec x) { store(p, load(p) + x); }
INLINE Vec broadcast(float x) { return x - Vec{}; }
INLINE int round_up(int n, int step) { return (n + step - 1) / step * step; }

// Permutations ------------------------------------------------------------------------------------

template <class Index, int... I>
INLINE Vec permute(Vec a, Vec b, std::integer_sequence<int, I...>) {
#if defined(__clang__) || __GNUC__ >= 12
  return __builtin_shufflevector(a, b, Index::at(I)...);
#else
  return __builtin_shuffle(a, b, IntVec{Index::at(I)...});
#endif
}
// Lane n is the one numbered Index::at(n) of a, followed by b.
template <class Index>
INLINE Vec permute(Vec a, Vec b) {
  return permute<Index>(a, b, std::make_integer_sequence<int, LANES>{});
}

template <int I>
struct InGroup {  // the I-th of each group of four
  static constexpr int at(int n) { return n / 4 * 4 + I; }
};
template <int W>
struct Rotated {
  static constexpr int at(int n) { return (n + W) % LANES; }
};
// Two vectors exchange their lanes n with and without bit W of n.
template <int W>
struct Lower {
  static constexpr int at(int n) { return n & W ? LANES + n - W : n; }
};
template <int W>
struct Upper {
  static constexpr int at(int n) { return n & W ? LANES + n : n + W; }
};

template <int W = LANES / 2>
INLINE float sum(Vec x) {
  x += permute<Rotated<W>>(x, x);
  if constexpr (W > 1) return sum<W / 2>(x);
  return x[0];
}

// Lane n of the result is the sum of x[n]; destroys x.
template <int W = 1>
INLINE Vec sums(Vec (&x)[LANES]) {
  for (int i = 0; i < LANES; i += 2 * W)
    x[i] = permute<Lower<W>>(x[i], x[i + W]) + permute<Upper<W>>(x[i], x[i + W]);
  if constexpr (2 * W < LANES) return sums<2 * W>(x);
  return x[0];
}

template <int W = 1>
INLINE void transpose(Vec (&x)[LANES]) {
  for (int i = 0; i < LANES; i++) {
    if (i & W) continue;
    const Vec a = x[i], b = x[i + W];
    x[i] = permute<Lower<W>>(a, b);
    x[i + W] = permute<Upper<W>>(a, b);
  }
  if constexpr (2 * W < LANES) transpose<2 * W>(x);
}

// out (columns, rows) = in (rows, columns) transposed; both sizes are multiples of LANES.
inline void transpose(int rows, int columns, const float* in, int in_stride, float* out,
                      int out_stride) {
  for (int r = 0; r < rows; r += LANES)
    for (int c = 0; c < columns; c += LANES) {
      Vec x[LANES];
      for (int i = 0; i < LANES; i++) x[i] = load(in + (r + i) * in_stride + c);
      transpose(x);
      for (int i = 0; i < LANES; i++) store(out + (c + i) * out_stride + r, x[i]);
    }
}

// Functions ---------------------------------------------------------------------------------------

constexpr double LOG2E = 1.4426950408889634;

// 2^x within 2 units in the last place. Below -120, 2^-120: subnormal numbers are slow. NaN stays.
INLINE Vec exp2(Vec x) {
  x = x < -120.f ? broadcast(-120.f) : x;
  x = x > 120.f ? broadcast(120.f) : x;
  const Vec shifted = x + 12582912.f;  // 1.5 * 2^23: the integer is in the last bits
  const IntVec whole = (IntVec)shifted - 0x4B400000;
  const Vec part = x - (shifted - 12582912.f);  // in [-0.5, 0.5]
  Vec p = part * 1.5403530e-4f + 1.3333558e-3f;  // Taylor's series, its last terms adjusted
  p = p * part + 9.6181291e-3f;
  p = p * part + 5.5504109e-2f;
  p = p * part + 2.4022651e-1f;
  p = p * part + 6.9314718e-1f;
  p = p * part + 1.f;
  return (Vec)((IntVec)p + (whole << 23));
}

INLINE Vec sigmoid(Vec x) { return 1.f / (exp2(x * float(-LOG2E)) + 1.f); }

// log sigmoid(x) = min(x, 0) - log(1 + u) with u = exp(-|x|);  log(1 + u) = 2 atanh(u / (2 + u)).
INLINE Vec log_sigmoid(Vec x) {
  const Vec u = exp2((x > 0.f ? -x : x) * float(LOG2E)), s = u / (u + 2.f), s2 = s * s;
  Vec p = s2 * (1.f / 17) + 1.f / 15;
  p = p * s2 + 1.f / 13;
  p = p * s2 + 1.f / 11;
  p = p * s2 + 1.f / 9;
  p = p * s2 + 1.f / 7;
  p = p * s2 + 1.f / 5;
  p = p * s2 + 1.f / 3;
  p = p * s2 + 1.f;
  return (x > 0.f ? Vec{} : x) - 2.f * s * p;
}

// 4 x 4 blocks: lane 4b + o of the result is sum_i x[4b + i] rows[i][4b + o].
INLINE Vec blocks(Vec x, const float* rows, int stride) {
  return permute<InGroup<0>>(x, x) * load(rows) + permute<InGroup<1>>(x, x) * load(rows + stride) +
         permute<InGroup<2>>(x, x) * load(rows + 2 * stride) +
         permute<InGroup<3>>(x, x) * load(rows + 3 * stride);
}
