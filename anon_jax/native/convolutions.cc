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
}  // namespace anon_jax

XLA_FFI_DEFINE_HANDLER_SYMBOL(AnonConvolution, anon_jax::Forward,
                              xla::ffi::Ffi::Bind()
                                  .Ctx<xla::ffi::ThreadPool>()
                                  .Arg<anon_jax::Array>()
                                  .Arg<anon_jax::Array>()
                                  .Ret<anon_jax::Array>()
                                  .Attr<int64_t>("stride_h")
                                  .Attr<int64_t>("stride_w")
                                  .Attr<int64_t>("pad_h")
                                  .Attr<int64_t>("pad_w"));

XLA_FFI_DEFINE_HANDLER_SYMBOL(AnonConvolutionWeightGradient, anon_jax::Gradient,
                              xla::ffi::Ffi::Bind()
                                  .Ctx<xla::ffi::ThreadPool>()
                                  .Arg<anon_jax::Array>()
                                  .Arg<anon_jax::Array>()
                                  .Ret<anon_jax::Array>()
                                  .Attr<int64_t>("stride_h")
                                  .Attr<int64_t>("stride_w")
                                  .Attr<int64_t>("pad_h")
                                  .Attr<int64_t>("pad_w"));
