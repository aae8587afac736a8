// Max-pooling by index: the place of each window's maximum, and two linear operations on such places. Average-pooling.
#pragma once
#include <ATen/Parallel.h>
#include <algorithm>
#include <type_traits>
#include <vector>
#include "vectors.h"

// As in torch: of equal values the first is the maximum, and a NaN is larger than anything.
template <class T> inline bool better(T candidate, T best) { return candidate > best || candidate != candidate; }

struct Window {
  int height, width, kernel, stride, padding;
  int rows() const { return (height + 2 * padding - kernel) / stride + 1; }
  int columns() const { return (width + 2 * padding - kernel) / stride + 1; }
};

template <int N> struct Lanes;
template <> struct Lanes<8> {
  typedef float Floats __attribute__((vector_size(32)));
  typedef int32_t Integers __attribute__((vector_size(32)));
  static constexpr Integers count = {0, 1, 2, 3, 4, 5, 6, 7};
  static Floats even(Floats a, Floats b) { return __builtin_shufflevector(a, b, 0, 2, 4, 6, 9, 11, 13, 15); }
};
template <> struct Lanes<4> {
  typedef float Floats __attribute__((vector_size(16)));
  typedef int32_t Integers __attribute__((vector_size(16)));
  static constexpr Integers count = {0, 1, 2, 3};
  static Floats even(Floats a, Floats b) { return __builtin_shufflevector(a, b, 0, 2, 5, 7); }
};

// N numbers, STRIDE (1 or 2) apart. For 2, the second load begins with the last number of the first, so that
// nothing behind the last wanted number is read.
template <int N, int STRIDE> auto apart(const float* from) {
  typename Lanes<N>::Floats low, high;
  std::memcpy(&low, from, sizeof low);
  if constexpr (STRIDE == 1) return low;
  std::memcpy(&high, from + N - 1, sizeof high);
  return Lanes<N>::even(low, high);
}

// N windows of one row, whose first places are `first`, `first` + STRIDE, ...; `rows` of theirs are in the plane.
// KERNEL is that of the window, or 0 for any.
template <int N, int STRIDE, int KERNEL>
void pool_lanes(const float* plane, int first, int rows, const Window& w, int32_t* index) {
  const int kernel = KERNEL ? KERNEL : w.kernel;
  auto best = apart<N, STRIDE>(plane + first);
  const auto firsts = first + Lanes<N>::count * STRIDE;
  auto places = firsts;
  for (int y = 0; y < rows; y++)
    for (int x = 0; x < kernel; x++) {
      const int further = y * w.width + x;
      const auto candidate = apart<N, STRIDE>(plane + first + further);
      const auto wins = (candidate > best) | (candidate != candidate);
      best = wins ? candidate : best;
      places = wins ? firsts + further : places;
    }
  std::memcpy(index, &places, sizeof places);
}

// The windows from `begin` to `end` of one row, of which none reaches into a margin at the side and which fill a
// register; the last register may overlap the one before.
template <int N, int STRIDE, int KERNEL>
void pool_row(const float* plane, int top, int rows, const Window& w, int begin, int end, int32_t* index) {
  for (int next = begin; next < end; next += N) {
    const int j = std::min(next, end - N), first = top * w.width + j * STRIDE - w.padding;
    pool_lanes<N, STRIDE, KERNEL>(plane, first, rows, w, index + j);
  }
}

template <int N, int STRIDE> auto row_of(int kernel) {
  return kernel == 2 ? pool_row<N, STRIDE, 2> : kernel == 3 ? pool_row<N, STRIDE, 3> : pool_row<N, STRIDE, 0>;
}

// What pools `number` such windows of a row; nothing if there is no faster way than one by one.
template <class T> auto rows_of(const Window& w, int number) -> decltype(&pool_row<4, 1, 0>) {
  if (!std::is_same_v<T, float> || w.stride > 2 || number < 4) return nullptr;
  if (number < 8) return w.stride == 1 ? row_of<4, 1>(w.kernel) : row_of<4, 2>(w.kernel);
  return w.stride == 1 ? row_of<8, 1>(w.kernel) : row_of<8, 2>(w.kernel);
}

// Of one plane; places in the margin never win.
template <class T> void pool_plane(const T* plane, const Window& w, int32_t* index) {
  // The windows that no margin at the side touches: from `begin` to `end`.
  const int begin = std::min((w.padding + w.stride - 1) / w.stride, w.columns());
  const int end = std::clamp((w.width - w.kernel + w.padding) / w.stride + 1, begin, w.columns());
  const auto row = rows_of<T>(w, end - begin);
  for (int i = 0; i < w.rows(); i++, index += w.columns()) {
    const int top = std::max(i * w.stride - w.padding, 0);
    const int bottom = std::min(i * w.stride - w.padding + w.kernel, w.height);
    const auto one_by_one = [&](int from, int to) {
      for (int j = from; j < to; j++) {
        const int left = j * w.stride - w.padding;
        int best = top * w.width + std::max(left, 0);
        T value = plane[best];
        for (int y = top; y < bottom; y++)
          for (int x = std::max(left, 0); x < std::min(left + w.kernel, w.width); x++) {
            const T candidate = plane[y * w.width + x];
            const bool wins = better(candidate, value);  // selected without a branch, which could not be foreseen
            value = wins ? candidate : value;
            best = wins ? y * w.width + x : best;
          }
        index[j] = best;
      }
    };
    one_by_one(0, begin);
    if constexpr (std::is_same_v<T, float>)
      row ? row(plane, top, bottom - top, w, begin, end, index) : one_by_one(begin, end);
    else
      one_by_one(begin, end);
    one_by_one(end, w.columns());
  }
}

// The mean of each window of `kernel` x `kernel`, which lie side by side; and what it gives back: each number, divided
// by the size of the window, at all places of its own. KERNEL is `kernel`, or 0 for any.
template <class T, int KERNEL> void average_plane(const T* plane, int rows, int columns, int any, T* averages) {
  const int kernel = KERNEL ? KERNEL : any;
  const T share = T(1) / (kernel * kernel);
  std::vector<T> sums(columns * kernel);
  for (int i = 0; i < rows; i++, averages += columns) {
    std::fill(sums.begin(), sums.end(), T(0));
    for (int y = 0; y < kernel; y++, plane += columns * kernel)
      for (int x = 0; x < columns * kernel; x++) sums[x] += plane[x];
    for (int j = 0; j < columns; j++) {
      T sum = 0;
      for (int x = 0; x < kernel; x++) sum += sums[j * kernel + x];
      averages[j] = sum * share;
    }
  }
}

template <class T, int KERNEL> void spread_plane(const T* numbers, int rows, int columns, int any, T* plane) {
  const int kernel = KERNEL ? KERNEL : any;
  const T share = T(1) / (kernel * kernel);
  for (int i = 0; i < rows; i++, numbers += columns) {
    const T* row = plane;
    for (int j = 0; j < columns; j++)
      for (int x = 0; x < kernel; x++) plane[j * kernel + x] = numbers[j] * share;
    plane += columns * kernel;
    for (int y = 1; y < kernel; y++, plane += columns * kernel) std::memcpy(plane, row, columns * kernel * sizeof(T));
  }
}

template <class T> void take_plane(const T* plane, const int32_t* index, int64_t number, T* __restrict__ taken) {
  for (int64_t i = 0; i < number; i++) taken[i] = plane[index[i]];
}

// Windows may overlap, so that several numbers meet at one place.
template <class T> void put_plane(const T* numbers, const int32_t* index, int64_t number, T* __restrict__ plane) {
  for (int64_t i = 0; i < number; i++) plane[index[i]] += numbers[i];
}
