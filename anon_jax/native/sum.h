// A 2D convolution: tiles of neighbouring positions times vectors of output channels.
#ifndef ANON_JAX_NATIVE_SUM_H_
#define ANON_JAX_NATIVE_SUM_H_

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <memory>
#include <vector>

#include "shared.h"

namespace anon_jax {

constexpr int kRowsBytes = 192 << 10;  // of input rows that a task of the sum copies at a time

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

inline RowFunction RowFunctionFor(int64_t block, int64_t stride) {
  if (stride == 1)
    return block == 4 ? SumRowOf<4, 4> : block == 8 ? SumRowOf<8, 8> : SumRowOf<16, 16>;
  return block == 4 ? SumRowOf<8, 4> : block == 8 ? SumRowOf<16, 8> : SumRowOf<32, 16>;
}

inline void Sum(ffi::ThreadPool& pool, const Shape& s, const float* x, const float* kernel, float* y) {
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

}  // namespace anon_jax

#endif  // ANON_JAX_NATIVE_SUM_H_
