// The kernels as operations of torch, `distill::...`; operations.py adds their derivatives and batching rules.
#include <ATen/Dispatch.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>
#include <torch/library.h>
#include "convolution.h"
#include "pooling.h"

using at::Tensor;

// Tensors of several networks have a first dimension more than those of one.
static bool several(const Tensor& own) { return own.dim() == 5; }

// The derivative of correlating with w is correlating with w turned around, inputs and outputs exchanged.
static Tensor turned(const Tensor& w) { return w.flip({-2, -1}).transpose(-4, -3).contiguous(); }

static Sizes sizes(const Tensor& x, const Tensor& own, int64_t outputs, int64_t kernel_height, int64_t kernel_width,
                   int64_t pad_height, int64_t pad_width) {
  const int64_t networks = several(own) ? own.size(0) : 1;
  return {(int)networks, (int)x.size(-4), (int)x.size(-3), (int)x.size(-2), (int)x.size(-1), (int)outputs,
          (int)kernel_height, (int)kernel_width, (int)pad_height, (int)pad_width, several(own) && !several(x)};
}

static Tensor empty(const Tensor& own, std::vector<int64_t> shape) {
  if (several(own)) shape.insert(shape.begin(), own.size(0));
  return at::empty(shape, own.options());
}

static Tensor correlated(const Tensor& x, const Tensor& w, int64_t pad_height, int64_t pad_width) {
  const Sizes s = sizes(x, w, w.size(-4), w.size(-2), w.size(-1), pad_height, pad_width);
  Tensor y = empty(w, {s.images, s.outputs, s.rows(), s.columns()});
  AT_DISPATCH_FLOATING_TYPES(x.scalar_type(), "convolution", [&] {
    correlate(x.const_data_ptr<scalar_t>(), w.const_data_ptr<scalar_t>(), y.mutable_data_ptr<scalar_t>(), s);
  });
  return y;
}

static Tensor convolution(const Tensor& x, const Tensor& w, int64_t pad_height, int64_t pad_width) {
  return correlated(x.contiguous(), w.contiguous(), pad_height, pad_width);
}

static Tensor image_gradient(const Tensor& y, const Tensor& w, int64_t pad_height, int64_t pad_width) {
  return correlated(y.contiguous(), turned(w), w.size(-2) - 1 - pad_height, w.size(-1) - 1 - pad_width);
}

static Tensor weight_gradient(const Tensor& images, const Tensor& gradient, int64_t pad_height, int64_t pad_width) {
  const Tensor x = images.contiguous(), y = gradient.contiguous();
  const int64_t kernel_height = x.size(-2) + 2 * pad_height - y.size(-2) + 1;
  const int64_t kernel_width = x.size(-1) + 2 * pad_width - y.size(-1) + 1;
  const Sizes s = sizes(x, y, y.size(-3), kernel_height, kernel_width, pad_height, pad_width);
  Tensor w = empty(y, {s.outputs, s.channels, s.kernel_height, s.kernel_width});
  AT_DISPATCH_FLOATING_TYPES(x.scalar_type(), "weight_gradient", [&] {
    correlate_weights(x.const_data_ptr<scalar_t>(), y.const_data_ptr<scalar_t>(), w.mutable_data_ptr<scalar_t>(), s);
  });
  return w;
}

static Tensor like_planes(const Tensor& x, int64_t height, int64_t width, at::ScalarType type) {
  auto shape = x.sizes().vec();
  shape[shape.size() - 2] = height;
  shape[shape.size() - 1] = width;
  return at::empty(shape, x.options().dtype(type));
}

static int64_t plane(const Tensor& x) { return x.size(-2) * x.size(-1); }

// 64 planes, at least, are worth another thread.
template <class F> static void each_plane(const Tensor& x, const F& f) {
  at::parallel_for(0, x.numel() / plane(x), 64, [&](int64_t from, int64_t to) {
    for (int64_t n = from; n < to; n++) f(n);
  });
}

static Tensor pool_index(const Tensor& planes, int64_t kernel, int64_t stride, int64_t padding) {
  const Tensor x = planes.contiguous();
  const Window window{(int)x.size(-2), (int)x.size(-1), (int)kernel, (int)stride, (int)padding};
  Tensor index = like_planes(x, window.rows(), window.columns(), at::kInt);
  int32_t* to = index.mutable_data_ptr<int32_t>();
  AT_DISPATCH_FLOATING_TYPES(x.scalar_type(), "pool_index", [&] {
    const scalar_t* from = x.const_data_ptr<scalar_t>();
    each_plane(x, [&, small = plane(index), large = plane(x)](int64_t n) {
      pool_plane(from + n * large, window, to + n * small);
    });
  });
  return index;
}

static Tensor take(const Tensor& planes, const Tensor& places) {
  const Tensor x = planes.contiguous(), index = places.contiguous();
  Tensor y = at::empty(index.sizes(), x.options());
  const int32_t* place = index.const_data_ptr<int32_t>();
  AT_DISPATCH_FLOATING_TYPES(x.scalar_type(), "take", [&] {
    const scalar_t* from = x.const_data_ptr<scalar_t>();
    scalar_t* to = y.mutable_data_ptr<scalar_t>();
    each_plane(x, [&, small = plane(y), large = plane(x)](int64_t n) {
      take_plane(from + n * large, place + n * small, small, to + n * small);
    });
  });
  return y;
}

static Tensor put(const Tensor& planes, const Tensor& places, int64_t height, int64_t width) {
  const Tensor y = planes.contiguous(), index = places.contiguous();
  Tensor x = like_planes(y, height, width, y.scalar_type());
  const int32_t* place = index.const_data_ptr<int32_t>();
  AT_DISPATCH_FLOATING_TYPES(y.scalar_type(), "put", [&] {
    const scalar_t* from = y.const_data_ptr<scalar_t>();
    scalar_t* to = x.mutable_data_ptr<scalar_t>();
    each_plane(x, [&, small = plane(y), large = plane(x)](int64_t n) {
      std::fill_n(to + n * large, large, scalar_t(0));
      put_plane(from + n * small, place + n * small, small, to + n * large);
    });
  });
  return x;
}

// What `one` makes of each plane; it gets the plane and the place of the result, which has this height and width.
template <class F> static Tensor of_planes(const Tensor& planes, int64_t height, int64_t width, const F& one) {
  const Tensor x = planes.contiguous();
  Tensor y = like_planes(x, height, width, x.scalar_type());
  AT_DISPATCH_FLOATING_TYPES(x.scalar_type(), "of_planes", [&] {
    const scalar_t* from = x.const_data_ptr<scalar_t>();
    scalar_t* to = y.mutable_data_ptr<scalar_t>();
    each_plane(x, [&, before = plane(x), after = plane(y)](int64_t n) { one(from + n * before, to + n * after); });
  });
  return y;
}

static Tensor average(const Tensor& x, int64_t kernel) {
  const int64_t rows = x.size(-2) / kernel, columns = x.size(-1) / kernel;
  return of_planes(x, rows, columns, [&]<class T>(const T* from, T* to) {
    (kernel == 2 ? average_plane<T, 2> : average_plane<T, 0>)(from, rows, columns, kernel, to);
  });
}

static Tensor spread(const Tensor& y, int64_t kernel) {
  const int64_t rows = y.size(-2), columns = y.size(-1);
  return of_planes(y, rows * kernel, columns * kernel, [&]<class T>(const T* from, T* to) {
    (kernel == 2 ? spread_plane<T, 2> : spread_plane<T, 0>)(from, rows, columns, kernel, to);
  });
}

TORCH_LIBRARY(distill, m) {
  m.def("convolution(Tensor x, Tensor w, int pad_height, int pad_width) -> Tensor");
  m.def("image_gradient(Tensor y, Tensor w, int pad_height, int pad_width) -> Tensor");
  m.def("weight_gradient(Tensor x, Tensor y, int pad_height, int pad_width) -> Tensor");
  m.def("pool_index(Tensor x, int kernel, int stride, int padding) -> Tensor");
  m.def("take(Tensor x, Tensor index) -> Tensor");
  m.def("put(Tensor y, Tensor index, int height, int width) -> Tensor");
  m.def("average(Tensor x, int kernel) -> Tensor");
  m.def("spread(Tensor y, int kernel) -> Tensor");
}

TORCH_LIBRARY_IMPL(distill, CPU, m) {
  m.impl("convolution", convolution);
  m.impl("image_gradient", image_gradient);
  m.impl("weight_gradient", weight_gradient);
  m.impl("pool_index", pool_index);
  m.impl("take", take);
  m.impl("put", put);
  m.impl("average", average);
  m.impl("spread", spread);
}
