// The arguments of a scan, its memory and its threads.
#pragma once

#include <atomic>
#include <cstdlib>
#include <new>
#include <thread>
#include <vector>

#include "vector.h"

constexpr int HEADS = 4, GATES = 2 * HEADS;  // input gates first
constexpr int MAX_CHUNK = 96;                // tokens; the stride of matrices of a chunk
constexpr int MAX_WIDTH = 512;               // channels of a head
constexpr int TAPS = 9;                      // of the convolution

// Everything below is shared with library.py, field by field. Strides count floats.

struct Map {  // (B, Hg, Wg, E), the channels dense
  float* data;
  int64_t image, row, column;
};

struct Parameters {  // as PyTorch stores them; biases of q, k, v and of the norm may be null
  float *conv, *conv_bias, *q, *k, *v, *q_bias, *k_bias, *v_bias;
  float *igate, *igate_bias, *fgate, *fgate_bias, *norm, *norm_bias, *skip;
};

// An OpenMP runtime's entry point: run task(data) in each of some threads.
typedef void (*Parallel)(void (*task)(void*), void* data, unsigned threads, unsigned flags);

struct Scan {
  int64_t images, rows, columns, channels, reverse, chunk, threads;
  double norm_eps, eps;
  Parallel parallel;  // null: threads of the standard library
  Map x, z, y;
  Parameters weights;
  float* gates;   // (B, 8, S) in reading order
  float* conv;    // (B, S, E) in reading order, before SiLU; null unless kept for the gradient
  float* hidden;  // (B, S, E), the mLSTM's output; the same
  float* states;  // (B, NH, C, (DH + 1) DH), the state that each chunk receives; the same
  // the gradient only
  Map dy, dx, dz;
  Parameters gradients;
  float* dconv;   // (B, S, E), overwritten
  float* dgates;  // (B, 8, S), overwritten

  int length() const { return int(rows * columns); }
  int width() const { return int(channels / HEADS); }
  int chunks() const { return int((length() + chunk - 1) / chunk); }
  int state_size() const { return width() * (width() + 1); }
  // The entry of a map at position p in reading order.
  int token(int p) const { return reverse ? length() - 1 - p : p; }
  float* at(const Map& map, int image, int p) const {
    const int t = token(p);
    float* first = map.data + image * map.image;
    if (map.row == columns * map.column) return first + t * map.column;  // without a division
    const int row = t / int(columns), column = t - row * int(columns);
    return first + row * map.row + column * map.column;
  }
};

// Memory of a thread that later calls reuse: new memory costs a page fault every 4 KiB.
class Workspace {
 public:
  float* reserve(size_t floats) {
    if (floats > size_) {
      std::free(data_);
      data_ = nullptr, size_ = 0;
      void* data = nullptr;
      if (posix_memalign(&data, 64, floats * sizeof(float))) throw std::bad_alloc();
      data_ = static_cast<float*>(data), size_ = floats;
    }
    next_ = data_;
    return data_;
  }
  float* take(size_t floats) {  // of what was reserved; aligned if all sizes are multiples of 16
    float* taken = next_;
    next_ += floats;
    return taken;
  }
  ~Workspace() { std::free(data_); }

 private:
  float *data_ = nullptr, *next_ = nullptr;
  size_t size_ = 0;
};

inline Workspace& task_workspace() {
  static thread_local Workspace workspace;
  return workspace;
}

// Calls body(n) for n < tasks from several threads; each takes the next one when it is free.
template <class Body>
void for_each(const Scan& scan, int tasks, Body body) {
  struct Shared {
    Body* body;
    std::atomic<int> next, failed;
    int tasks;
  } shared{&body, {0}, {0}, tasks};
  const auto work = [](void* data) {
    Shared& s = *static_cast<Shared*>(data);
    try {
      for (int n; (n = s.next++) < s.tasks;) (*s.body)(n);
    } catch (const std::bad_alloc&) {
      s.failed = 1;
    }
  };
  const int threads = int(scan.threads < tasks ? scan.threads : tasks);
  if (threads <= 1) {
    work(&shared);
  } else if (scan.parallel) {
    scan.parallel(work, &shared, threads, 0);
  } else {
    std::vector<std::thread> others;
    for (int n = 1; n < threads; n++) others.emplace_back(work, &shared);
    work(&shared);
    for (auto& thread : others) thread.join();
  }
  if (shared.failed) throw std::bad_alloc();
}
