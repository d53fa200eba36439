// 2D convolutions in float32, NHWC, for XLA's CPU backend: the sum itself, and its weight gradient.
//
// Both copy a few rows of the padded input, block of channels by block, so that all that the inner
// loops touch lies in the first-level caches and at distances known when this is compiled. The
// inner loops keep a tile of results in vector registers: one input value, spread over a vector,
// times a vector of output channels.
//
// Work is cut into tasks by the shapes alone, each result is summed by one task in a fixed order,
// and so results do not depend on the number of threads.

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <cstring>
#include <memory>
#include <mutex>
#include <vector>

#include "xla/ffi/api/ffi.h"

namespace {

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
constexpr int kRowsBytes = 192 << 10;  // of input rows that a task of the sum copies at a time
constexpr int kPixels = 128;        // positions whose gradients are summed before others are read
constexpr int kShares = 16;         // of the positions, each with a weight gradient of its own, ...
constexpr int kSharesBytes = 4 << 20;  // ... fewer where these would be larger than this together
constexpr int kAdded = 4096;        // values of the shares that a task adds up

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
void CopyRows(const Shape& s, const float* x, int64_t first, int64_t count, float* copy) {
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

// ---- The sum ---------------------------------------------------------------------------------

struct Taps {
  const float* x;        // the first position's first value, copied
  const float* kernel;   // [kh, kw, cin, lanes], from the block's first channel on
  float* y;              // [positions, lanes]
  int64_t kh, kw, row;   // values from a copied row to the next
  int64_t channels, cin, lanes;
  bool first;            // of the blocks of input channels: nothing to add to
};

// kPositions results side by side, of kVectors vectors of output channels each.
template <int kPositions, int kVectors, int kStep, int kBlock>
void SumTile(const Taps& t) {
  Vec sum[kPositions][kVectors];
#pragma GCC unroll 16
  for (int p = 0; p < kPositions; ++p)
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v)
      sum[p][v] = t.first ? Vec{} : Load(t.y + p * t.lanes + v * kLanes);
  const float* kernel = t.kernel;
  for (int64_t i = 0; i < t.kh; ++i) {
    for (int64_t j = 0; j < t.kw; ++j, kernel += t.cin * t.lanes) {
      const float* x = t.x + i * t.row + j * kBlock;
      const float* k = kernel;
      for (int64_t c = 0; c < t.channels; ++c, ++x, k += t.lanes) {
        Vec weights[kVectors];
#pragma GCC unroll 4
        for (int v = 0; v < kVectors; ++v) weights[v] = Load(k + v * kLanes);
#pragma GCC unroll 16
        for (int p = 0; p < kPositions; ++p) {
          const Vec value = Spread(x[p * kStep]);
#pragma GCC unroll 4
          for (int v = 0; v < kVectors; ++v) sum[p][v] += value * weights[v];
        }
      }
    }
  }
#pragma GCC unroll 16
  for (int p = 0; p < kPositions; ++p)
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) Store(t.y + p * t.lanes + v * kLanes, sum[p][v]);
}

// The largest of 16, 14, 8, 7, 4, 2, 1 positions that fit in registers and divide what is left of
// a row, or fit into it.
template <int kVectors>
int Positions(int64_t left) {
  constexpr int sizes[] = {16, 14, 8, 7, 4, 2, 1};
  for (int size : sizes)
    if (size * kVectors <= kTile && 4 * size >= kTile / kVectors && left % size == 0) return size;
  for (int size : sizes)
    if (size * kVectors <= kTile && size <= left) return size;
  return 1;
}

template <int kVectors, int kStep, int kBlock>
void SumRow(Taps t, int64_t ow) {
  while (ow > 0) {
    const int size = Positions<kVectors>(ow);
    switch (size) {
#define ANON_CASE(P)                                                           \
  case P:                                                                      \
    if constexpr (P * kVectors <= kTile) SumTile<P, kVectors, kStep, kBlock>(t); \
    break;
      ANON_CASE(16) ANON_CASE(14) ANON_CASE(8) ANON_CASE(7) ANON_CASE(4) ANON_CASE(2) ANON_CASE(1)
#undef ANON_CASE
    }
    t.x += size * kStep;
    t.y += size * t.lanes;
    ow -= size;
  }
}

template <int kStep, int kBlock>
void SumRowOf(const Taps& t, int64_t ow, int64_t vectors) {
  switch (vectors) {
    case 1: return SumRow<1, kStep, kBlock>(t, ow);
    case 2: return SumRow<2, kStep, kBlock>(t, ow);
    case 3: return SumRow<3, kStep, kBlock>(t, ow);
    default: return SumRow<4, kStep, kBlock>(t, ow);
  }
}

using RowFunction = void (*)(const Taps&, int64_t, int64_t);

RowFunction RowFunctionFor(int64_t block, int64_t stride) {
  if (stride == 1)
    return block == 4 ? SumRowOf<4, 4> : block == 8 ? SumRowOf<8, 8> : SumRowOf<16, 16>;
  return block == 4 ? SumRowOf<8, 4> : block == 8 ? SumRowOf<16, 8> : SumRowOf<32, 16>;
}

// [rows, cols] -> [rows, wide], zeros behind each row.
void Widen(const float* from, int64_t rows, int64_t cols, int64_t wide, float* to) {
  for (int64_t r = 0; r < rows; ++r, from += cols, to += wide) {
    std::memcpy(to, from, sizeof(float) * cols);
    std::memset(to + cols, 0, sizeof(float) * (wide - cols));
  }
}

void Sum(ffi::ThreadPool& pool, const Shape& s, const float* x, const float* kernel, float* y) {
  const int64_t lanes = s.lanes(), block = s.block(), columns = s.columns();
  std::vector<float> wide;
  if (lanes != s.cout) {
    wide.resize(s.kh * s.kw * s.cin * lanes);
    Widen(kernel, s.kh * s.kw * s.cin, s.cout, lanes, wide.data());
    kernel = wide.data();
  }
  const int64_t row_bytes = sizeof(float) * columns * block * s.blocks();
  const int64_t fit = std::max<int64_t>(1, (kRowsBytes / row_bytes - s.kh) / s.stride_h + 1);
  const int64_t count = CeilDiv(s.oh, CeilDiv(s.oh, fit));  // output rows of a task
  const int64_t parts = CeilDiv(s.oh, count);
  const RowFunction sum_row = RowFunctionFor(block, s.stride_w);
  RunTasks(pool, s.n * parts, [&](int64_t task) {
    const int64_t image = task / parts, first = task % parts * count;
    const int64_t rows = std::min(count, s.oh - first), copied = s.rows(rows);
    std::unique_ptr<float[]> copy(new float[s.blocks() * copied * columns * block]);
    CopyRows(s, x + image * s.h * s.w * s.cin, first, rows, copy.get());
    float* own = y + (image * s.oh + first) * s.ow * s.cout;
    std::unique_ptr<float[]> padded;
    if (lanes != s.cout) padded.reset(new float[rows * s.ow * lanes]);
    float* out = padded ? padded.get() : own;
    for (int64_t v = 0; v < lanes / kLanes; v += 4) {
      for (int64_t b = 0; b < s.blocks(); ++b) {
        for (int64_t r = 0; r < rows; ++r) {
          Taps taps;
          taps.x = copy.get() + (b * copied + r * s.stride_h) * columns * block;
          taps.kernel = kernel + b * block * lanes + v * kLanes;
          taps.y = out + r * s.ow * lanes + v * kLanes;
          taps.kh = s.kh;
          taps.kw = s.kw;
          taps.row = columns * block;
          taps.channels = std::min(block, s.cin - b * block);
          taps.cin = s.cin;
          taps.lanes = lanes;
          taps.first = b == 0;
          sum_row(taps, s.ow, std::min<int64_t>(4, lanes / kLanes - v));
        }
      }
    }
    if (padded)
      for (int64_t p = 0; p < rows * s.ow; ++p)
        std::memcpy(own + p * s.cout, out + p * lanes, sizeof(float) * s.cout);
  });
}

// ---- The weight gradient ---------------------------------------------------------------------

struct Pairs {
  const float* x;   // the first position's first value under a row of taps, copied
  const float* g;   // the first position's output channels
  float* weights;   // [values, lanes]
  int64_t rows, columns, x_step, x_row, g_step, g_row, lanes;
};

// The gradient of kValues neighbouring copied values (taps of a row x channels) times kVectors
// vectors of output channels, summed over all positions.
template <int kValues, int kVectors>
void PairTile(const Pairs& t) {
  Vec sum[kValues][kVectors];
#pragma GCC unroll 16
  for (int i = 0; i < kValues; ++i)
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) sum[i][v] = Load(t.weights + i * t.lanes + v * kLanes);
  for (int64_t r = 0; r < t.rows; ++r) {
    const float* x = t.x + r * t.x_row;
    const float* g = t.g + r * t.g_row;
    for (int64_t p = 0; p < t.columns; ++p, x += t.x_step, g += t.g_step) {
      Vec gradients[kVectors];
#pragma GCC unroll 4
      for (int v = 0; v < kVectors; ++v) gradients[v] = Load(g + v * kLanes);
#pragma GCC unroll 16
      for (int i = 0; i < kValues; ++i) {
        const Vec value = Spread(x[i]);
#pragma GCC unroll 4
        for (int v = 0; v < kVectors; ++v) sum[i][v] += value * gradients[v];
      }
    }
  }
#pragma GCC unroll 16
  for (int i = 0; i < kValues; ++i)
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) Store(t.weights + i * t.lanes + v * kLanes, sum[i][v]);
}

template <int kVectors>
void PairRow(Pairs t, int64_t values) {
  while (values > 0) {
    int size = 1;
    for (int candidate : {16, 12, 8, 6, 4, 2})
      if (candidate * kVectors <= kTile && candidate <= values && values % candidate == 0) {
        size = candidate;
        break;
      }
    switch (size) {
#define ANON_CASE(I)                                              \
  case I:                                                         \
    if constexpr (I * kVectors <= kTile) PairTile<I, kVectors>(t); \
    break;
      ANON_CASE(16) ANON_CASE(12) ANON_CASE(8) ANON_CASE(6) ANON_CASE(4) ANON_CASE(2) ANON_CASE(1)
#undef ANON_CASE
    }
    t.x += size;
    t.weights += size * t.lanes;
    values -= size;
  }
}

void PairRowOf(const Pairs& t, int64_t values, int64_t vectors) {
  switch (vectors) {
    case 1: return PairRow<1>(t, values);
    case 2: return PairRow<2>(t, values);
    case 3: return PairRow<3>(t, values);
    default: return PairRow<4>(t, values);
  }
}

// A task sums the positions of one share of all rows, for up to four vectors of output channels.
void WeightGradient(ffi::ThreadPool& pool, const Shape& s, const float* x, const float* g,
                    float* result) {
  const int64_t size = s.kh * s.kw * s.cin * s.cout;
  const int64_t parts = std::clamp<int64_t>(kSharesBytes / (sizeof(float) * size), 1, kShares);
  std::unique_ptr<float[]> shares(parts > 1 ? new float[parts * size] : nullptr);
  float* weights = parts > 1 ? shares.get() : result;
  const int64_t lanes = s.lanes(), block = s.block(), columns = s.columns();
  const int64_t count = std::clamp<int64_t>(kPixels / s.ow, 1, s.oh);  // output rows at a time
  const int64_t strips = CeilDiv(s.oh, count), groups = CeilDiv(lanes, 4 * kLanes);
  const int64_t values = s.kw * block;  // of a row of taps
  RunTasks(pool, parts * groups, [&](int64_t task) {
    const int64_t part = task / groups, channel = task % groups * 4 * kLanes;
    const int64_t own = std::min<int64_t>(4 * kLanes, lanes - channel);
    const bool pad = lanes != s.cout;
    std::unique_ptr<float[]> copy(new float[s.blocks() * s.rows(count) * columns * block]);
    std::unique_ptr<float[]> wide(pad ? new float[count * s.ow * lanes] : nullptr);
    std::vector<float> sums(s.kh * s.blocks() * values * own);
    const int64_t begin = part * s.n * strips / parts, end = (part + 1) * s.n * strips / parts;
    for (int64_t strip = begin; strip < end; ++strip) {
      const int64_t image = strip / strips, first = strip % strips * count;
      const int64_t rows = std::min(count, s.oh - first), copied = s.rows(rows);
      CopyRows(s, x + image * s.h * s.w * s.cin, first, rows, copy.get());
      const float* gradients = g + (image * s.oh + first) * s.ow * s.cout;
      if (pad) {
        Widen(gradients, rows * s.ow, s.cout, lanes, wide.get());
        gradients = wide.get();
      }
      Pairs t;
      t.g = gradients + channel;
      t.rows = rows;
      t.columns = s.ow;
      t.x_step = s.stride_w * block;
      t.x_row = s.stride_h * columns * block;
      t.g_step = lanes;
      t.g_row = s.ow * lanes;
      t.lanes = own;
      for (int64_t i = 0; i < s.kh; ++i) {
        for (int64_t b = 0; b < s.blocks(); ++b) {
          t.x = copy.get() + (b * copied + i) * columns * block;
          t.weights = sums.data() + (i * s.blocks() + b) * values * own;
          PairRowOf(t, values, own / kLanes);
        }
      }
    }
    // [kh, blocks, kw, block, own] -> [kh, kw, cin, cout]
    const int64_t kept = std::min(own, s.cout - channel);
    for (int64_t i = 0; i < s.kh; ++i)
      for (int64_t j = 0; j < s.kw; ++j)
        for (int64_t c = 0; c < s.cin; ++c)
          std::memcpy(
              weights + ((part * s.kh + i) * s.kw + j) * s.cin * s.cout + c * s.cout + channel,
              sums.data() +
                  (((i * s.blocks() + c / block) * s.kw + j) * block + c % block) * own,
              sizeof(float) * kept);
  });
  if (parts == 1) return;
  RunTasks(pool, CeilDiv(size, kAdded), [&](int64_t task) {
    const int64_t begin = task * kAdded, end = std::min(begin + kAdded, size);
    std::memcpy(result + begin, weights + begin, sizeof(float) * (end - begin));
    for (int64_t part = 1; part < parts; ++part)
      for (int64_t i = begin; i < end; ++i) result[i] += weights[part * size + i];
  });
}

// ---- What XLA calls --------------------------------------------------------------------------

using Array = ffi::Buffer<ffi::F32>;

ffi::Error Check(const Shape& s) {
  const bool fits = s.stride_w >= 1 && s.stride_w <= 2 && s.stride_h >= 1 && s.ow > 0 && s.oh > 0;
  return fits ? ffi::Error::Success()
              : ffi::Error::InvalidArgument("convolution: no such strides or size");
}

ffi::Error Forward(ffi::ThreadPool pool, Array x, Array kernel, ffi::Result<Array> y,
                   int64_t stride_h, int64_t stride_w, int64_t pad_h, int64_t pad_w) {
  const auto xd = x.dimensions(), kd = kernel.dimensions(), yd = y->dimensions();
  const Shape s{xd[0], xd[1], xd[2], xd[3],    kd[0],    kd[1], kd[3],
                yd[1], yd[2], stride_h, stride_w, pad_h, pad_w};
  if (ffi::Error error = Check(s); error.failure()) return error;
  Sum(pool, s, x.typed_data(), kernel.typed_data(), y->typed_data());
  return ffi::Error::Success();
}

ffi::Error Gradient(ffi::ThreadPool pool, Array x, Array g, ffi::Result<Array> weights,
                    int64_t stride_h, int64_t stride_w, int64_t pad_h, int64_t pad_w) {
  const auto xd = x.dimensions(), gd = g.dimensions(), wd = weights->dimensions();
  const Shape s{xd[0], xd[1], xd[2], xd[3],    wd[0],    wd[1], gd[3],
                gd[1], gd[2], stride_h, stride_w, pad_h, pad_w};
  if (ffi::Error error = Check(s); error.failure()) return error;
  WeightGradient(pool, s, x.typed_data(), g.typed_data(), weights->typed_data());
  return ffi::Error::Success();
}

}  // namespace

XLA_FFI_DEFINE_HANDLER_SYMBOL(AnonConvolution, Forward,
                              ffi::Ffi::Bind()
                                  .Ctx<ffi::ThreadPool>()
                                  .Arg<Array>()
                                  .Arg<Array>()
                                  .Ret<Array>()
                                  .Attr<int64_t>("stride_h")
                                  .Attr<int64_t>("stride_w")
                                  .Attr<int64_t>("pad_h")
                                  .Attr<int64_t>("pad_w"));

XLA_FFI_DEFINE_HANDLER_SYMBOL(AnonConvolutionWeightGradient, Gradient,
                              ffi::Ffi::Bind()
                                  .Ctx<ffi::ThreadPool>()
                                  .Arg<Array>()
                                  .Arg<Array>()
                                  .Ret<Array>()
                                  .Attr<int64_t>("stride_h")
                                  .Attr<int64_t>("stride_w")
                                  .Attr<int64_t>("pad_h")
                                  .Attr<int64_t>("pad_w"));
