// Convolutions of stride 1 for few channels, and the two products that differentiate them.
//
// An image is laid out with its margin of zeros, one padded row after the other; the right margin of a row is the
// left margin of the next. Then every tap (i, j) of the kernel is one offset, i * pitch + j, and a register can run
// over the ends of rows: of the `pitch` places of a row of the result, the first `columns` are wanted, and the
// others are computed and thrown away.
#pragma once
#include <ATen/Parallel.h>
#include <algorithm>
#include <vector>
#include "vectors.h"

struct Sizes {
  int networks, images, channels, height, width;  // of the input, without its margin
  int outputs, kernel_height, kernel_width;
  int pad_height, pad_width;
  bool shared;  // the networks have one batch of images in common

  int pitch() const { return width + pad_width; }
  int rows() const { return height + 2 * pad_height - kernel_height + 1; }
  int columns() const { return width + 2 * pad_width - kernel_width + 1; }  // at most `pitch`: see operations.py
  int taps() const { return kernel_height * kernel_width; }
  int64_t plane() const { return (int64_t)height * width; }
  int64_t result() const { return (int64_t)rows() * columns(); }
};

// One image (channels, height, width) with its margin; `size` places per channel.
template <class T> void with_margin(const T* image, const Sizes& s, T* out, int64_t size) {
  for (int c = 0; c < s.channels; c++, out += size) {
    std::memset(out, 0, size * sizeof(T));
    T* inside = out + (int64_t)s.pad_height * s.pitch() + s.pad_width;
    for (int h = 0; h < s.height; h++, image += s.width)
      std::memcpy(inside + (int64_t)h * s.pitch(), image, s.width * sizeof(T));
  }
}

// y[o][i] = sum over c and k of w[o][c][k] * x[c][i + offset[k]], for O outputs and B registers of places i.
// The O * B sums stay in registers.
template <class T, int O, int B>
void correlate_block(const T* x, int64_t size, const T* w, int channels, const std::vector<int64_t>& offset, T* y,
                     int64_t length) {
  const int taps = offset.size();
  Vector<T> sum[O][B] = {};
  for (int c = 0; c < channels; c++)
    for (int k = 0; k < taps; k++) {
      const T* from = x + c * size + offset[k];
      Vector<T> v[B];
      for (int b = 0; b < B; b++) v[b] = load(from + b * LANES<T>);
      for (int o = 0; o < O; o++) {
        const T weight = w[((int64_t)o * channels + c) * taps + k];
        for (int b = 0; b < B; b++) sum[o][b] += weight * v[b];
      }
    }
  for (int o = 0; o < O; o++)
    for (int b = 0; b < B; b++) store(y + o * length + b * LANES<T>, sum[o][b]);
}

template <class T, int B>
void correlate_outputs(const T* x, int64_t size, const T* w, int outputs, int channels,
                       const std::vector<int64_t>& offset, T* y, int64_t length) {
  const int64_t each = (int64_t)channels * offset.size();
  int o = 0;
  for (; MANY && o + 8 <= outputs; o += 8)
    correlate_block<T, 8, B>(x, size, w + o * each, channels, offset, y + o * length, length);
  for (; o + 6 <= outputs; o += 6)
    correlate_block<T, 6, B>(x, size, w + o * each, channels, offset, y + o * length, length);
  for (; o + 4 <= outputs; o += 4)
    correlate_block<T, 4, B>(x, size, w + o * each, channels, offset, y + o * length, length);
  for (; o + 3 <= outputs; o += 3)
    correlate_block<T, 3, B>(x, size, w + o * each, channels, offset, y + o * length, length);
  for (; o < outputs; o++)
    correlate_block<T, 1, B>(x, size, w + o * each, channels, offset, y + o * length, length);
}

// x (networks or 1, images, channels, height, width), w (networks, outputs, channels, kernel)
// -> y (networks, images, outputs, rows, columns)
template <class T> void correlate(const T* x, const T* w, T* y, const Sizes& s) {
  // With one or two outputs, more places at once keep as many independent sums in flight.
  const int at_once = s.outputs < 3 ? 6 : 2;
  const int64_t length = rounded_up((int64_t)s.rows() * s.pitch(), at_once * LANES<T>);
  const int64_t size = rounded_up(length + (int64_t)(s.kernel_height - 1) * s.pitch() + s.kernel_width, LANES<T>);
  std::vector<int64_t> offset;
  for (int i = 0; i < s.kernel_height; i++)
    for (int j = 0; j < s.kernel_width; j++) offset.push_back((int64_t)i * s.pitch() + j);
  at::parallel_for(0, (int64_t)s.networks * s.images, 4, [&](int64_t from, int64_t to) {
    std::vector<T> padded(s.channels * size), sums(s.outputs * length);
    for (int64_t n = from; n < to; n++) {
      const T* own = w + n / s.images * s.outputs * s.channels * s.taps();
      with_margin(x + (s.shared ? n % s.images : n) * s.channels * s.plane(), s, padded.data(), size);
      for (int64_t i = 0; i < length; i += at_once * LANES<T>) {
        const auto block = at_once == 6 ? correlate_outputs<T, 6> : correlate_outputs<T, 2>;
        block(padded.data() + i, size, own, s.outputs, s.channels, offset, sums.data() + i, length);
      }
      T* out = y + n * s.outputs * s.result();
      for (int o = 0; o < s.outputs; o++)
        for (int h = 0; h < s.rows(); h++, out += s.columns())
          std::memcpy(out, sums.data() + o * length + (int64_t)h * s.pitch(), s.columns() * sizeof(T));
    }
  });
}

// w[o][k] += sum over images and places i of y[o][i] * x[i + k], for O outputs and K taps of one kernel row. The
// lanes hold places; they are added up once, after all images.
template <class T, int O, int K>
void places_block(const T* x, int64_t next_x, const T* y, int64_t length, int64_t next_y, int images, T* w,
                  int64_t each) {
  Vector<T> sum[O][K] = {};
  for (int m = 0; m < images; m++, x += next_x, y += next_y)
    for (int64_t i = 0; i < length; i += LANES<T>) {
      Vector<T> v[K];
      for (int k = 0; k < K; k++) v[k] = load(x + i + k);
      for (int o = 0; o < O; o++) {
        const Vector<T> u = load(y + o * length + i);
        for (int k = 0; k < K; k++) sum[o][k] += u * v[k];
      }
    }
  for (int o = 0; o < O; o++)
    for (int k = 0; k < K; k++) {
      T total = 0;
      for (int lane = 0; lane < LANES<T>; lane++) total += sum[o][k][lane];
      w[o * each + k] = total;
    }
}

template <class T, int K>
void places_outputs(const T* x, int64_t next_x, const T* y, int64_t length, const Sizes& s, T* w) {
  const int64_t each = (int64_t)s.channels * s.taps(), next_y = s.outputs * length;
  int o = 0;
  for (; (MANY || K <= 3) && o + 4 <= s.outputs; o += 4)
    places_block<T, 4, K>(x, next_x, y + o * length, length, next_y, s.images, w + o * each, each);
  for (; o + 2 <= s.outputs; o += 2)
    places_block<T, 2, K>(x, next_x, y + o * length, length, next_y, s.images, w + o * each, each);
  for (; o < s.outputs; o++)
    places_block<T, 1, K>(x, next_x, y + o * length, length, next_y, s.images, w + o * each, each);
}

// The weights of one network, with places in the lanes: for few outputs.
template <class T> void weights_by_places(const T* x, const T* y, T* w, const Sizes& s) {
  // Behind the last wanted place of each result stand zeros, so that places between rows count nothing.
  const int64_t length = rounded_up((int64_t)(s.rows() - 1) * s.pitch() + s.columns(), LANES<T>);
  const int64_t size = rounded_up(length + (int64_t)(s.kernel_height - 1) * s.pitch() + s.kernel_width, LANES<T>);
  const int64_t next_x = s.channels * size;
  std::vector<T> padded(s.images * next_x), spread(s.images * s.outputs * length, T(0));
  for (int m = 0; m < s.images; m++)
    with_margin(x + m * s.channels * s.plane(), s, padded.data() + m * next_x, size);
  for (int64_t row = 0; row < (int64_t)s.images * s.outputs; row++)
    for (int h = 0; h < s.rows(); h++, y += s.columns())
      std::memcpy(spread.data() + row * length + (int64_t)h * s.pitch(), y, s.columns() * sizeof(T));
  for (int c = 0; c < s.channels; c++)
    for (int i = 0; i < s.kernel_height; i++, w += s.kernel_width) {
      const T* from = padded.data() + c * size + (int64_t)i * s.pitch();
      int j = 0;
      for (; j + 5 <= s.kernel_width; j += 5) places_outputs<T, 5>(from + j, next_x, spread.data(), length, s, w + j);
      for (; j + 3 <= s.kernel_width; j += 3) places_outputs<T, 3>(from + j, next_x, spread.data(), length, s, w + j);
      for (; j < s.kernel_width; j++) places_outputs<T, 1>(from + j, next_x, spread.data(), length, s, w + j);
    }
}

// w[k][o] += sum over places (h, i) of x[h * pitch + i + k] * y[h][i][o], for K taps and O registers of outputs.
template <class T, int K, int O>
void outputs_block(const T* x, const T* y, int64_t outputs, const Sizes& s, T* w) {
  Vector<T> sum[K][O];
  for (int k = 0; k < K; k++)
    for (int o = 0; o < O; o++) sum[k][o] = load(w + k * outputs + o * LANES<T>);
  for (int h = 0; h < s.rows(); h++, x += s.pitch())
    for (int i = 0; i < s.columns(); i++, y += outputs) {
      Vector<T> v[O];
      for (int o = 0; o < O; o++) v[o] = load(y + o * LANES<T>);
      for (int k = 0; k < K; k++)
        for (int o = 0; o < O; o++) sum[k][o] += x[i + k] * v[o];
    }
  for (int k = 0; k < K; k++)
    for (int o = 0; o < O; o++) store(w + k * outputs + o * LANES<T>, sum[k][o]);
}

template <class T, int K> void outputs_taps(const T* x, const T* y, int64_t outputs, const Sizes& s, T* w) {
  int64_t o = 0;
  for (; (MANY || K <= 3) && o + 4 * LANES<T> <= outputs; o += 4 * LANES<T>) outputs_block<T, K, 4>(x, y + o, outputs, s, w + o);
  for (; o + 2 * LANES<T> <= outputs; o += 2 * LANES<T>) outputs_block<T, K, 2>(x, y + o, outputs, s, w + o);
  for (; o < outputs; o += LANES<T>) outputs_block<T, K, 1>(x, y + o, outputs, s, w + o);
}

// The weights of one network, with outputs in the lanes, so that no lanes need to be added up: for many outputs.
template <class T> void weights_by_outputs(const T* x, const T* y, T* w, const Sizes& s) {
  const int64_t size = rounded_up((int64_t)(s.height + 2 * s.pad_height) * s.pitch() + s.pad_width, LANES<T>);
  const int64_t outputs = rounded_up(s.outputs, LANES<T>), places = s.result(), each = (int64_t)s.channels * s.taps();
  std::vector<T> padded(s.channels * size), turned(places * outputs), sums(each * outputs, T(0));
  for (int m = 0; m < s.images; m++) {
    with_margin(x + m * s.channels * s.plane(), s, padded.data(), size);
    const T* own = y + m * s.outputs * places;
    for (int o = 0; o < s.outputs; o += 8)  // eight rows at a time, so that their cache lines stay
      for (int64_t i = 0; i < places; i++)
        for (int u = o; u < std::min(o + 8, s.outputs); u++) turned[i * outputs + u] = own[u * places + i];
    T* out = sums.data();
    for (int c = 0; c < s.channels; c++)
      for (int i = 0; i < s.kernel_height; i++, out += s.kernel_width * outputs) {
        const T* from = padded.data() + c * size + (int64_t)i * s.pitch();
        int j = 0;
        for (; j + 5 <= s.kernel_width; j += 5)
          outputs_taps<T, 5>(from + j, turned.data(), outputs, s, out + j * outputs);
        for (; j + 3 <= s.kernel_width; j += 3)
          outputs_taps<T, 3>(from + j, turned.data(), outputs, s, out + j * outputs);
        for (; j < s.kernel_width; j++) outputs_taps<T, 1>(from + j, turned.data(), outputs, s, out + j * outputs);
      }
  }
  for (int o = 0; o < s.outputs; o++)
    for (int64_t k = 0; k < each; k++) w[o * each + k] = sums[k * outputs + o];
}

// x (networks or 1, images, channels, height, width), y (networks, images, outputs, rows, columns)
// -> w (networks, outputs, channels, kernel)
template <class T> void correlate_weights(const T* x, const T* y, T* w, const Sizes& s) {
  const auto one = s.outputs >= 12 ? weights_by_outputs<T> : weights_by_places<T>;
  at::parallel_for(0, s.networks, 1, [&](int64_t from, int64_t to) {
    for (int64_t k = from; k < to; k++)
      one(x + (s.shared ? 0 : k) * s.images * s.channels * s.plane(), y + k * s.images * s.outputs * s.result(),
          w + k * s.outputs * s.channels * s.taps(), s);
  });
}
