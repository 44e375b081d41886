// What library.py calls.
#include "head.h"
#include "mix.h"

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
EXPORT int vil_mm_scan_backward(const Scan*) { return 2; }
