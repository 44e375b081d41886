// Products of small matrices in the cache. A tile of the result stays in registers.
//
// Matrices are rows of floats with a stride. Of the left factor A, single entries are read, of the
// right factor B vectors. A is either stored transposed (k, rows), or (rows, k).
#pragma once

#include "vector.h"

template <int R, int V>
using Tile = Vec[R][V];

template <int R, int V>
INLINE void clear(Tile<R, V>& tile) {
  for (int r = 0; r < R; r++)
    for (int v = 0; v < V; v++) tile[r][v] = Vec{};
}

// tile += A B
template <bool TRANSPOSED, int R, int V>
INLINE void multiply(Tile<R, V>& tile, int k, const float* a, int a_stride, const float* b,
                     int b_stride) {
  for (int i = 0; i < k; i++) {
    Vec row[V];
    for (int v = 0; v < V; v++) row[v] = load(b + v * LANES);
    for (int r = 0; r < R; r++) {
      const Vec entry = broadcast(TRANSPOSED ? a[r] : a[r * a_stride]);
      for (int v = 0; v < V; v++) tile[r][v] += entry * row[v];
    }
    a += TRANSPOSED ? a_stride : 1;
    b += b_stride;
  }
}

template <int R, int V>
INLINE void store(float* c, int stride, const Tile<R, V>& tile) {
  for (int r = 0; r < R; r++)
    for (int v = 0; v < V; v++) store(c + r * stride + v * LANES, tile[r][v]);
}

// Calls body(j, width) for columns j of a matrix of n columns, several vectors at a time.
template <class Body>
INLINE void over_columns(int n, Body body) {
  int j = 0;
  for (; j + TILE_VECTORS * LANES <= n; j += TILE_VECTORS * LANES)
    body(j, std::integral_constant<int, TILE_VECTORS>{});
  for (; j + 2 * LANES <= n; j += 2 * LANES) body(j, std::integral_constant<int, 2>{});
  for (; j < n; j += LANES) body(j, std::integral_constant<int, 1>{});
}

// Calls body(r, rows) for a matrix of n rows, several rows at a time.
template <int R = TILE_ROWS, class Body>
INLINE void over_rows(int n, Body body, int r = 0) {
  for (; r + R <= n; r += R) body(r, std::integral_constant<int, R>{});
  if constexpr (R > 1) over_rows<R / 2>(n, body, r);
}

struct Matrix {
  const float* data;
  int stride;
};

// C = A B for R rows and n columns
template <bool TRANSPOSED, int R>
INLINE void product(int n, int k, Matrix a, Matrix b, float* c, int c_stride) {
  over_columns(n, [&](int j, auto width) {
    Tile<R, width.value> tile;
    clear<R, width.value>(tile);
    multiply<TRANSPOSED, R, width.value>(tile, k, a.data, a.stride, b.data + j, b.stride);
    store<R, width.value>(c + j, c_stride, tile);
  });
}

// The part of a product that comes through the memory's state: scale_r (first_r last + (A B)_r)
struct Through {
  Matrix a, b;
  int k;               // 0: there is none
  const float* scale;  // one per row
  const float* first;  // one per row, or null for ones
  const float* last;   // one per column, or null for none
};

// C = through the state + A B for R rows and n columns
template <bool THROUGH_TRANSPOSED, bool TRANSPOSED, int R>
INLINE void product(const Through& state, int n, int k, Matrix a, Matrix b, float* c,
                    int c_stride) {
  over_columns(n, [&](int j, auto width) {
    constexpr int V = width.value;
    Tile<R, V> tile;
    clear<R, V>(tile);
    if (state.k) {
      multiply<THROUGH_TRANSPOSED, R, V>(tile, state.k, state.a.data, state.a.stride,
                                         state.b.data + j, state.b.stride);
      for (int r = 0; r < R; r++)
        for (int v = 0; v < V; v++) {
          if (state.last) {
            const Vec last = load(state.last + j + v * LANES);
            tile[r][v] += state.first ? last * state.first[r] : last;
          }
          tile[r][v] *= state.scale[r];
        }
    }
    multiply<TRANSPOSED, R, V>(tile, k, a.data, a.stride, b.data + j, b.stride);
    store<R, V>(c + j, c_stride, tile);
  });
}

// C = beta C + A B for a transposed A (k, m); C (m, n) is dense. With beta 0, C may be anything.
inline void update(int m, int n, int k, const float* a, const float* b, float beta, float* c) {
  over_rows(m, [&](int row, auto rows) {
    over_columns(n, [&](int j, auto width) {
      constexpr int R = rows.value, V = width.value;
      Tile<R, V> tile;
      clear<R, V>(tile);
      multiply<true, R, V>(tile, k, a + row, m, b + j, n);
      float* block = c + row * n + j;
      if (beta != 0.f)
        for (int r = 0; r < R; r++)
          for (int v = 0; v < V; v++) tile[r][v] += load(block + r * n + v * LANES) * beta;
      store<R, V>(block, n, tile);
    });
  });
}
