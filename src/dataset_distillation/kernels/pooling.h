// Max-pooling by index: the place of each window's maximum, and two linear operations on such places.
#pragma once
#include <ATen/Parallel.h>
#include <algorithm>
#include "vectors.h"

// As in torch: of equal values the first is the maximum, and a NaN is larger than anything.
template <class T> inline bool better(T candidate, T best) { return candidate > best || candidate != candidate; }

// One row of windows of 2 x 2 with stride 2, if they fill a register; returns how many.
template <class T> int pool_pairs(const T*, int, int, int, int32_t*) { return 0; }

template <> inline int pool_pairs(const float* plane, int first, int width, int columns, int32_t* index) {
  typedef float Floats __attribute__((vector_size(32)));
  typedef int32_t Integers __attribute__((vector_size(32)));
  const Integers two_apart = {0, 2, 4, 6, 8, 10, 12, 14};
  const auto pairs = [](const float* row, Floats& even, Floats& odd) {
    Floats low, high;
    std::memcpy(&low, row, 32);
    std::memcpy(&high, row + 8, 32);
    even = __builtin_shufflevector(low, high, 0, 2, 4, 6, 8, 10, 12, 14);
    odd = __builtin_shufflevector(low, high, 1, 3, 5, 7, 9, 11, 13, 15);
  };
  if (columns < 8) return 0;
  for (int next = 0; next < columns; next += 8) {
    const int j = std::min(next, columns - 8);  // the last register may overlap the one before
    Floats a, b, c, d;
    pairs(plane + first + 2 * j, a, b);
    pairs(plane + first + 2 * j + width, c, d);
    const Integers right = (b > a) | (b != b), right_below = (d > c) | (d != d);  // −1 where true
    const Floats above = right ? b : a, below = right_below ? d : c;
    const Integers down = (below > above) | (below != below);
    const Integers place = first + 2 * j + two_apart + (down ? width - right_below : -right);
    std::memcpy(index + j, &place, 32);
  }
  return columns;
}

struct Window {
  int height, width, kernel, stride, padding;
  int rows() const { return (height + 2 * padding - kernel) / stride + 1; }
  int columns() const { return (width + 2 * padding - kernel) / stride + 1; }
};

// Of one plane; places in the margin never win.
template <class T> void pool_plane(const T* plane, const Window& w, int32_t* index) {
  for (int i = 0; i < w.rows(); i++) {
    const int top = i * w.stride - w.padding;
    int j = 0;
    if (w.kernel == 2 && w.stride == 2 && w.padding == 0)
      j = pool_pairs(plane, top * w.width, w.width, w.columns(), index);
    for (; j < w.columns(); j++) {
      const int left = j * w.stride - w.padding;
      int best = std::max(top, 0) * w.width + std::max(left, 0);
      T value = plane[best];
      for (int y = std::max(top, 0); y < std::min(top + w.kernel, w.height); y++)
        for (int x = std::max(left, 0); x < std::min(left + w.kernel, w.width); x++) {
          const T candidate = plane[y * w.width + x];
          const bool wins = better(candidate, value);  // selected without a branch, which could not be foreseen
          value = wins ? candidate : value;
          best = wins ? y * w.width + x : best;
        }
      index[j] = best;
    }
    index += w.columns();
  }
}

template <class T> void take_plane(const T* plane, const int32_t* index, int64_t number, T* __restrict__ taken) {
  for (int64_t i = 0; i < number; i++) taken[i] = plane[index[i]];
}

// Windows may overlap, so that several numbers meet at one place.
template <class T> void put_plane(const T* numbers, const int32_t* index, int64_t number, T* __restrict__ plane) {
  for (int64_t i = 0; i < number; i++) plane[index[i]] += numbers[i];
}
