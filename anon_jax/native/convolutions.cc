// 2D convolutions in float32, NHWC, for XLA's CPU backend: the sum itself, and its weight gradient.
//
// Both copy a few rows of the padded input, block of channels by block, so that all that the inner
// loops touch lies in the first-level caches and at distances known when this is compiled. The
// inner loops keep a tile of results in vector registers: one input value, spread over a vector,
// times a vector of output channels.
//
// Work is cut into tasks by the shapes alone, each result is summed by one task in a fixed order,
// and so results do not depend on the number of threads.

#include <cstdint>

#include "shared.h"
#include "sum.h"
#include "weight_gradient.h"
#include "xla/ffi/api/ffi.h"

namespace anon_jax {
namespace {

using Array = ffi::Buffer<ffi::F32>;
using Result = ffi::Result<Array>;
using Dimensions = Array::Dimensions;

// Of images x, a kernel (or its gradient) and outputs y (or theirs).
ffi::ErrorOr<Shape> ShapeOf(Dimensions x, Dimensions kernel, Dimensions y, int64_t stride_h,
                            int64_t stride_w, int64_t pad_h, int64_t pad_w) {
  const Shape s{x[0], x[1], x[2],     x[3],     kernel[0], kernel[1], kernel[3],
                y[1], y[2], stride_h, stride_w, pad_h,     pad_w};
  if (s.stride_w < 1 || s.stride_w > 2 || s.stride_h < 1 || s.ow < 1 || s.oh < 1)
    return ffi::Unexpected(ffi::Error::InvalidArgument("convolution: no such strides or size"));
  return s;
}

ffi::Error Forward(ffi::ThreadPool pool, Array x, Array kernel, Result y, int64_t stride_h,
                   int64_t stride_w, int64_t pad_h, int64_t pad_w) {
  const auto s = ShapeOf(x.dimensions(), kernel.dimensions(), y->dimensions(), stride_h, stride_w,
                         pad_h, pad_w);
  if (s.has_error()) return s.error();
  Sum(pool, *s, x.typed_data(), kernel.typed_data(), y->typed_data());
  return ffi::Error::Success();
}

ffi::Error Gradient(ffi::ThreadPool pool, Array x, Array g, Result weights, int64_t stride_h,
                    int64_t stride_w, int64_t pad_h, int64_t pad_w) {
  const auto s = ShapeOf(x.dimensions(), weights->dimensions(), g.dimensions(), stride_h, stride_w,
                         pad_h, pad_w);
  if (s.has_error()) return s.error();
  WeightGradient(pool, *s, x.typed_data(), g.typed_data(), weights->typed_data());
  return ffi::Error::Success();
}

auto Binding() {
  return ffi::Ffi::Bind()
      .Ctx<ffi::ThreadPool>()
      .Arg<Array>()
      .Arg<Array>()
      .Ret<Array>()
      .Attr<int64_t>("stride_h")
      .Attr<int64_t>("stride_w")
      .Attr<int64_t>("pad_h")
      .Attr<int64_t>("pad_w");
}

}  // namespace
}  // namespace anon_jax

XLA_FFI_DEFINE_HANDLER_SYMBOL(AnonConvolution, anon_jax::Forward, anon_jax::Binding());
XLA_FFI_DEFINE_HANDLER_SYMBOL(AnonConvolutionWeightGradient, anon_jax::Gradient,
                              anon_jax::Binding());
