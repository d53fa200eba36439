// The weight gradient of a 2D convolution: input values times output gradients, over all positions.
#ifndef ANON_JAX_NATIVE_WEIGHT_GRADIENT_H_
#define ANON_JAX_NATIVE_WEIGHT_GRADIENT_H_

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <memory>
#include <vector>

#include "shared.h"

namespace anon_jax {

constexpr int kPixels = 128;        // positions whose gradients are summed before others are read
constexpr int kShares = 16;         // of the positions, each with a weight gradient of its own, ...
constexpr int kSharesBytes = 4 << 20;  // ... fewer where these would be larger than this together
constexpr int kAdded = 4096;        // values of the shares that a task adds up

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

inline void PairRowOf(const Pairs& t, int64_t values, int64_t vectors) {
  switch (vectors) {
    case 1: return PairRow<1>(t, values);
    case 2: return PairRow<2>(t, values);
    case 3: return PairRow<3>(t, values);
    default: return PairRow<4>(t, values);
  }
}

// A task sums the positions of one share of all rows, for up to four vectors of output channels.
inline void WeightGradient(ffi::ThreadPool& pool, const Shape& s, const float* x, const float* g,
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

}  // namespace anon_jax

#endif  // ANON_JAX_NATIVE_WEIGHT_GRADIENT_H_
