/* PLUS(c, a, b) = c + a b and LESS(c, a, b) = c - a b of doubles or of vectors of them, rounded once
 * where the processor can do that.
 *
 * Compilers must not contract products and sums by themselves (native.py tells them): they would do
 * it differently in each build, and a cell alone would not have the bits that it has in a batch. */
#define INLINE static inline __attribute__((always_inline, unused))

typedef double double2 __attribute__((vector_size(16)));
typedef double double4 __attribute__((vector_size(32)));
typedef double double8 __attribute__((vector_size(64)));

#define FUSED(width, type, plus, less) \
  INLINE type plus_##width(type c, type a, type b) { return plus; } \
  INLINE type less_##width(type c, type a, type b) { return less; }

#if defined(__FMA__)
#include <immintrin.h>
FUSED(1, double, __builtin_fma(a, b, c), __builtin_fma(-a, b, c))
FUSED(2, double2, _mm_fmadd_pd(a, b, c), _mm_fnmadd_pd(a, b, c))
FUSED(4, double4, _mm256_fmadd_pd(a, b, c), _mm256_fnmadd_pd(a, b, c))
#elif defined(__ARM_FEATURE_FMA) && defined(__aarch64__)
#include <arm_neon.h>
FUSED(1, double, __builtin_fma(a, b, c), __builtin_fma(-a, b, c))
FUSED(2, double2, vfmaq_f64(c, a, b), vfmsq_f64(c, a, b))
#else
FUSED(1, double, c + a * b, c - a * b)
FUSED(2, double2, c + a * b, c - a * b)
#endif
#if !defined(__FMA__)
INLINE double4 plus_4(double4 c, double4 a, double4 b) {
  for (int i = 0; i < 4; i++) c[i] = plus_1(c[i], a[i], b[i]);
  return c;
}
INLINE double4 less_4(double4 c, double4 a, double4 b) {
  for (int i = 0; i < 4; i++) c[i] = less_1(c[i], a[i], b[i]);
  return c;
}
#endif
#if defined(__AVX512F__)
FUSED(8, double8, _mm512_fmadd_pd(a, b, c), _mm512_fnmadd_pd(a, b, c))
#define WIDER(name) , double8: name##_8
#else
#define WIDER(name)
#endif
#define PLUS(c, a, b) _Generic((c), double: plus_1, double2: plus_2, double4: plus_4 WIDER(plus))(c, a, b)
#define LESS(c, a, b) _Generic((c), double: less_1, double2: less_2, double4: less_4 WIDER(less))(c, a, b)
