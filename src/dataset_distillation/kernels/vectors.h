// A vector register of the machine, by GCC's and Clang's vector extension.
#pragma once
#include <cstdint>
#include <cstring>

#ifdef __AVX512F__
constexpr int WIDTH = 64;  // bytes
constexpr bool MANY = true;  // registers: 32, or 16; sums that do not fit them go through memory
#else
constexpr int WIDTH = 32;
constexpr bool MANY = false;
#endif

template <class T> constexpr int LANES = WIDTH / sizeof(T);
template <class T> struct Register { typedef T type __attribute__((vector_size(WIDTH))); };
template <class T> using Vector = typename Register<T>::type;

// Addresses need not be aligned.
template <class T> inline Vector<T> load(const T* from) {
  Vector<T> v;
  std::memcpy(&v, from, WIDTH);
  return v;
}
template <class T> inline void store(T* to, Vector<T> v) { std::memcpy(to, &v, WIDTH); }

inline int64_t rounded_up(int64_t n, int64_t multiple) { return (n + multiple - 1) / multiple * multiple; }
