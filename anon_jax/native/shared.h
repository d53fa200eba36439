// What both convolution kernels share: vectors, tasks on threads, and copies of padded rows.
#ifndef ANON_JAX_NATIVE_SHARED_H_
#define ANON_JAX_NATIVE_SHARED_H_

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <cstring>
#include <memory>
#include <mutex>

#include "xla/ffi/api/ffi.h"

namespace anon_jax {

namespace ffi = xla::ffi;

// Lanes of a vector, and how many vectors of results fit beside the operands in registers.
#if defined(__AVX512F__)
constexpr int kLanes = 16, kTile = 28;
#elif defined(__AVX__)
constexpr int kLanes = 8, kTile = 12;
#elif defined(__aarch64__)
constexpr int kLanes = 4, kTile = 24;
#else
constexpr int kLanes = 4, kTile = 12;
#endif

using Vec = float __attribute__((vector_size(4 * kLanes), aligned(4), may_alias));

constexpr int kMaxBlock = 16;       // input channels that are copied side by side

inline Vec Load(const float* p) { return *reinterpret_cast<const Vec*>(p); }
inline void Store(float* p, Vec v) { *reinterpret_cast<Vec*>(p) = v; }
inline Vec Spread(float x) { return x - Vec{}; }
inline int64_t CeilDiv(int64_t a, int64_t b) { return (a + b - 1) / b; }

// Runs task(0) ... task(count - 1) on the pool's threads and this one; returns when all are done.
// This thread waits only for tasks that others have begun, so it may itself be one of the pool.
template <typename Task>
void RunTasks(ffi::ThreadPool& pool, int64_t count, const Task& task) {
  struct Shared {
    std::atomic<int64_t> next{0};
    int64_t done = 0;
    std::mutex mutex;
    std::condition_variable all_done;
  };
  auto shared = std::make_shared<Shared>();
  auto work = [shared, count, &task] {
    int64_t own = 0;
    for (int64_t i; (i = shared->next.fetch_add(1)) < count; ++own) task(i);
    if (own == 0) return;  // `task` may be gone
    std::lock_guard<std::mutex> lock(shared->mutex);
    if ((shared->done += own) == count) shared->all_done.notify_one();
  };
  for (int64_t i = std::min(pool.num_threads(), count) - 1; i > 0; --i) {
    auto copy = work;
    pool.Schedule(std::move(copy));
  }
  work();
  std::unique_lock<std::mutex> lock(shared->mutex);
  shared->all_done.wait(lock, [&] { return shared->done == count; });
}

struct Shape {
  int64_t n, h, w, cin, kh, kw, cout, oh, ow, stride_h, stride_w, pad_h, pad_w;
  int64_t block() const {  // input channels side by side; a power of two
    int64_t size = 4;
    while (size < std::min<int64_t>(cin, kMaxBlock)) size *= 2;
    return size;
  }
  int64_t blocks() const { return CeilDiv(cin, block()); }
  int64_t columns() const { return (ow - 1) * stride_w + kw; }  // of a copied row
  int64_t rows(int64_t count) const { return (count - 1) * stride_h + kh; }
  int64_t lanes() const { return CeilDiv(cout, kLanes) * kLanes; }
};

// Copies what `count` output rows from `first` on see of image x [h, w, cin], zeros around it:
// -> [blocks, rows, columns, block]. Channels beyond the last one are zeros.
inline void CopyRows(const Shape& s, const float* x, int64_t first, int64_t count, float* copy) {
  const int64_t block = s.block(), rows = s.rows(count), columns = s.columns();
  for (int64_t b = 0; b < s.blocks(); ++b) {
    const int64_t channels = std::min(block, s.cin - b * block);
    for (int64_t r = 0; r < rows; ++r, copy += columns * block) {
      const int64_t row = first * s.stride_h + r - s.pad_h;
      if (row < 0 || row >= s.h) {
        std::memset(copy, 0, sizeof(float) * columns * block);
        continue;
      }
      const int64_t left = std::clamp<int64_t>(s.pad_w, 0, columns);
      const int64_t skipped = std::clamp<int64_t>(-s.pad_w, 0, s.w);
      const int64_t inside = std::min(s.w - skipped, columns - left);
      std::memset(copy, 0, sizeof(float) * left * block);
      std::memset(copy + (left + inside) * block, 0,
                  sizeof(float) * (columns - left - inside) * block);
      const float* from = x + (row * s.w + skipped) * s.cin + b * block;
      float* to = copy + left * block;
      if (channels == kMaxBlock) {
        for (int64_t i = 0; i < inside; ++i, from += s.cin, to += block)
          for (int j = 0; j < kMaxBlock; j += kLanes) Store(to + j, Load(from + j));
      } else {
        for (int64_t i = 0; i < inside; ++i, from += s.cin, to += block)
          for (int64_t c = 0; c < block; ++c) to[c] = c < channels ? from[c] : 0.0f;
      }
    }
  }
}


// [rows, cols] -> [rows, wide], zeros behind each row.
inline void Widen(const float* from, int64_t rows, int64_t cols, int64_t wide, float* to) {
  for (int64_t r = 0; r < rows; ++r, from += cols, to += wide) {
    std::memcpy(to, from, sizeof(float) * cols);
    std::memset(to + cols, 0, sizeof(float) * (wide - cols));
  }
}

}  // namespace anon_jax

#endif  // ANON_JAX_NATIVE_SHARED_H_
