// What library.py calls.
#include "gradient.h"
#include "head.h"
#include "mix_gradient.h"

#define EXPORT extern "C" __attribute__((visibility("default")))

// Identifies the sources that this was built from; build.py sets it.
#ifndef SOURCE_DIGEST
#define SOURCE_DIGEST "unknown"
#endif

namespace {

void forward(const Scan& scan) {
  std::vector<float> memory(size_t(WEIGHT_ROWS) * scan.channels);
  const Table weights = table::pack(scan, memory.data());
  mix::forward(scan, weights);
  for_each(scan, int(scan.images) * HEADS,
           [&](int n) { Head(scan, weights, n / HEADS, n % HEADS).forward(); });
}

// Images are added in their order, so that the result does not depend on the number of threads.
void add_up(const Scan& scan, const std::vector<Table>& parts, Table& total) {
  const int64_t entries = int64_t(GRADIENT_ROWS) * scan.channels;
  for (const Table& part : parts)
    for (int64_t n = 0; n < entries && part.rows != total.rows; n += LANES)
      add_to(total.rows + n, load(part.rows + n));
  const int64_t S = scan.length();
  for (int j = 0; j < GATES; j++) {
    double bias = 0;
    for (int64_t image = 0; image < scan.images; image++)
      for (int64_t p = 0; p < S; p++) bias += scan.dgates[(image * GATES + j) * S + p];
    total.gate_bias[j] = float(bias);
  }
}

void backward(const Scan& scan) {
  const int E = int(scan.channels);
  const size_t part = size_t(GRADIENT_ROWS) * E;
  std::vector<float> memory(size_t(WEIGHT_ROWS) * E), sums(part * scan.images);
  const Table weights = table::pack(scan, memory.data());
  std::vector<Table> d;
  for (int image = 0; image < scan.images; image++)
    d.push_back({E, sums.data() + image * part, {}});
  for_each(scan, int(scan.images) * HEADS, [&](int n) {
    HeadGradient(scan, weights, d[n / HEADS], n / HEADS, n % HEADS).run();
  });
  mix::backward(scan, weights, d);
  add_up(scan, d, d[0]);
  table::unpack(scan, weights, d[0]);
}

}  // namespace

EXPORT const char* vil_mm_source_digest() { return SOURCE_DIGEST; }
EXPORT int64_t vil_mm_scan_bytes() { return sizeof(Scan); }

// 0; 1 if there is not enough memory; 2 if the system refuses to start threads
template <class Function>
static int guarded(Function function) {
  try {
    function();
    return 0;
  } catch (const std::bad_alloc&) {
    return 1;
  } catch (...) {
    return 2;
  }
}

EXPORT int vil_mm_scan_forward(const Scan* scan) {
  return guarded([&] { forward(*scan); });
}
EXPORT int vil_mm_scan_backward(const Scan* scan) {
  return guarded([&] { backward(*scan); });
}
