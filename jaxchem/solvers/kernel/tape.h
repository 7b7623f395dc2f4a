/* The interpreter of a tape (solvers/tape.py): straight-line scalar instructions, run on CELLS
 * cells at once. The numbers of its opcodes and what they do are those of `Op` there.
 *
 * To be included after element.h, which defines CELLS, el, mask, splat, pick, larger, size_of, AT,
 * as_mask, as_el and IF. Everything is written once for el = double and for vectors. Compile with
 * -fno-math-errno -fno-trapping-math -ffp-contract=off, without -ffast-math: exp, log and sine reduce
 * their arguments by sums whose rounding is the point.
 */
#include <math.h>
#include <stdint.h>

#ifdef __GNUC__
/* how a vector that is wider than a register is passed matters between files only */
#pragma GCC diagnostic ignored "-Wpsabi"
#endif

#ifndef JAXCHEM_OPCODES /* the same in every build */
#define JAXCHEM_OPCODES
enum {
  OP_ADD, OP_SUB, OP_MUL, OP_DIV, OP_NEG, OP_FMA, OP_MAX, OP_MIN, OP_ABS, OP_FLOOR, OP_SQRT,
  OP_EXP, OP_LOG, OP_POW, OP_SIN, OP_COS, OP_TANH, OP_LT, OP_LE, OP_GT, OP_GE, OP_EQ, OP_NE,
  OP_AND, OP_OR, OP_XOR, OP_NOT, OP_SELECT, OP_TAKE, OP_REM, OP_ROUND, OP_TAN, OP_SINH, OP_COSH,
  OP_ASIN, OP_ACOS, OP_ATAN, OP_ATAN2, OP_ASINH, OP_ACOSH, OP_ATANH, OP_EXPM1, OP_LOG1P,
  OP_CBRT, OP_ERF, OP_ERFC
};
#endif

#if CELLS == 1
typedef uint64_t word; /* bits of an el, to be shifted without a sign */
#else
typedef uint64_t word __attribute__((vector_size(8 * CELLS)));
#endif

/* 1.5 2^52: added to |x| < 2^51 it leaves x, rounded to an integer, in the lowest bits */
#define SHIFTER 6755399441055744.0
/* log 2 in two parts, of which the first has 32 bits: its product with an exponent is exact */
#define LOG2_HIGH 6.93147180369123816490e-01
#define LOG2_LOW 1.90821492927058770002e-10

static inline el nearest(el x) {
  el whole = (x + SHIFTER) - SHIFTER;
  return pick(IF(size_of(x) < 2251799813685248.0), whole, x); /* beyond 2^51, and NaN */
}

static inline el floor_of(el x) {
  el whole = nearest(x);
  return pick(IF(whole > x), whole - 1.0, whole);
}

static inline el sqrt_of(el x) {
  for (int l = 0; l < CELLS; l++) AT(x, l) = __builtin_sqrt(AT(x, l));
  return x;
}

/* term[0] x^(n - 1) + ... + term[n - 1] */
#define POLYNOMIAL(x, ...) \
  polynomial(x, sizeof((double[]){__VA_ARGS__}) / sizeof(double), (const double[]){__VA_ARGS__})
INLINE el polynomial(el x, const int n, const double *term) {
  el sum = splat(term[0]);
  UNROLL for (int i = 1; i < n; i++) sum = PLUS(splat(term[i]), sum, x);
  return sum;
}

static inline int any_of(mask m) {
  int64_t set = 0;
  for (int l = 0; l < CELLS; l++) set |= AT(m, l);
  return set != 0;
}

/* exp(x + tail) for a tail that is small beside 1, within 1 ulp at tail 0.
 *
 *   n = round(x / log 2), r = x - n log 2 + tail, |r| < 0.347;  e^x = 2^n e^r
 *
 * (W. J. Cody and W. Waite 1980, Software Manual for the Elementary Functions, ch. 6). e^r is its
 * series to r^13, whose remainder is below 2^-57. 2^n is added to the exponent's bits. What
 * would be subnormal is 0. */
static inline el exp_sum(el x, el tail) {
  el shifted = PLUS(splat(SHIFTER), x, splat(1.4426950408889634074)), n = shifted - SHIFTER;
  el r = LESS(LESS(x, n, splat(LOG2_HIGH)), n, splat(LOG2_LOW)) + tail;
  el sum = POLYNOMIAL(r, 1.0 / 6227020800, 1.0 / 479001600, 1.0 / 39916800, 1.0 / 3628800,
                      1.0 / 362880, 1.0 / 40320, 1.0 / 5040, 1.0 / 720, 1.0 / 120, 1.0 / 24,
                      1.0 / 6, 0.5);
  sum = PLUS(r, r * r, sum) + 1.0;
  word bits = (word)as_mask(sum) + ((word)as_mask(shifted) << 52);
  el out = as_el((mask)bits);
  out = pick(IF(x > 709.782712893384), splat(INFINITY), out);
  out = pick(IF(x < -708.396418532264), splat(0.0), out);
  return pick(IF(x == x), out, x);
}

static inline el exp_of(el x) { return exp_sum(x, splat(0.0)); }

/* x = 2^k (1 + f) with 1 + f between sqrt(1/2) and sqrt(2), for positive x */
static inline el fraction_of(el x, el *k) {
  mask small = IF(x < 2.2250738585072014e-308);
  x = pick(small, x * 18014398509481984.0, x); /* 2^54 */
  /* 1024 more than the exponent, so that it is not negative */
  word from_root = (word)as_mask(x) - 0x3fe6a09e667f3bcdULL + (1024ULL << 52);
  word biased = from_root >> 52;
  el exponent = as_el((mask)(biased | 0x4330000000000000ULL)) - (4503599627370496.0 + 1024.0);
  *k = pick(small, exponent - 54.0, exponent);
  return as_el((mask)((word)as_mask(x) - ((biased - 1024ULL) << 52))) - 1.0;
}

/* (log(1 + f) - f + f^2/2 - s f^2/2) / s with s = f / (2 + f), to 2^-58 (FreeBSD's e_log.c,
 * Copyright 1993 Sun Microsystems: its minimax polynomial) */
static inline el log_rest(el s) {
  el z = s * s, w = z * z;
  el even = POLYNOMIAL(w, 1.531383769920937332e-01, 2.222219843214978396e-01,
                       3.999999999940941908e-01);
  el odd = POLYNOMIAL(w, 1.479819860511658591e-01, 1.818357216161805012e-01,
                      2.857142874366239149e-01, 6.666666666666735130e-01);
  return PLUS(z * odd, w, even);
}

/* what log makes of arguments that are not positive and finite */
static inline el log_ends(el x, el out) {
  out = pick(IF(x > 0.0), out, pick(IF(x == 0.0), splat(-INFINITY), splat(NAN)));
  return pick(IF(x == INFINITY), x, out);
}

/* log x within 1 ulp: k log 2 + log(1 + f), the sum as in e_log.c */
static inline el log_of(el x) {
  el k, f = fraction_of(x, &k), s = f / (2.0 + f), half = 0.5 * f * f;
  el rest = PLUS(k * LOG2_LOW, s, half + log_rest(s));
  el out = k * LOG2_HIGH - ((half - rest) - f);
  return log_ends(x, out);
}

/* the upper 26 bits: the product of two such is exact */
static inline el upper_half(el x) {
  return as_el((mask)((word)as_mask(x) & 0xfffffffff8000000ULL));
}

/* x^y = exp(y log x) with log x and the product in two parts each (T. J. Dekker 1971,
 * doi:10.1007/BF01397083), within 2 ulp; zeros, negative bases, infinities and what overflows are
 * left to the library. */
static el pow_of(el x, el y) {
  el k, f = fraction_of(x, &k), s = f / (2.0 + f);
  /* log x = high + low: k LOG2_HIGH + f - f^2/2 + rest, the first three without rounding */
  el f_up = upper_half(f), f_low = f - f_up;
  el square = f * f, square_low = ((f_up * f_up - square) + 2.0 * f_up * f_low) + f_low * f_low;
  el a = k * LOG2_HIGH, b = a + f, b_low = f - (b - a);
  el half = 0.5 * square, c = b - half, c_low = (b - c) - half;
  el rest = s * (half + log_rest(s));
  el low = ((rest + k * LOG2_LOW) + (b_low - 0.5 * square_low)) + c_low;
  el high = c + low;
  low = low - (high - c);
  /* y log x = product + tail */
  el y_up = upper_half(y), y_low = y - y_up, high_up = upper_half(high), high_low = high - high_up;
  el product = y * high;
  el tail = ((y_up * high_up - product) + y_up * high_low + y_low * high_up) + y_low * high_low;
  tail = tail + y * low;
  el out = exp_sum(product, tail);
  mask odd = IF(x > 0.0) & IF(x < INFINITY) & IF(size_of(product) < 700.0);
  if (any_of(~odd))
    for (int l = 0; l < CELLS; l++) AT(out, l) = pow(AT(x, l), AT(y, l));
  return out;
}

/* sin(x + turn pi/2) within 2.5 ulp. x is taken to |r| <= pi/4 by pi/2 in three parts of 33 bits
 * (Cody and Waite, ch. 8); polynomials of FreeBSD's k_sin.c and k_cos.c (Sun Microsystems 1993).
 * Beyond 1e5, where n pi/2 is no longer exact, by the library. */
static el sine(el x, int turn) {
  if (any_of(~IF(size_of(x) < 1e5))) {
    for (int l = 0; l < CELLS; l++) AT(x, l) = turn ? cos(AT(x, l)) : sin(AT(x, l));
    return x;
  }
  el shifted = PLUS(splat(SHIFTER), x, splat(6.36619772367581382433e-01)), n = shifted - SHIFTER;
  el r = LESS(x, n, splat(1.57079632673412561417e+00));
  r = LESS(r, n, splat(6.07710050630396597660e-11));
  r = LESS(r, n, splat(2.02226624879595063154e-21));
  el z = r * r;
  el s = POLYNOMIAL(z, 1.58969099521155010221e-10, -2.50507602534068634195e-08,
                    2.75573137070700676789e-06, -1.98412698298579493134e-04,
                    8.33333333332248946124e-03, -1.66666666666666324348e-01);
  s = PLUS(r, r * z, s);
  el c = z * z * POLYNOMIAL(z, -1.13596475577881948265e-11, 2.08757232129817482790e-09,
                            -2.75573143513906633035e-07, 2.48015872894767294178e-05,
                            -1.38888888888741095749e-03, 4.16666666666666019037e-02);
  el half = 0.5 * z, one = 1.0 - half;
  c = one + (((1.0 - one) - half) + c);
  word quarter = (word)as_mask(shifted) + (uint64_t)turn;
  el out = pick((mask)(0ULL - (quarter & 1ULL)), c, s);
  return as_el((mask)((word)as_mask(out) ^ ((quarter & 2ULL) << 62)));
}

/* tanh x: x + x^3 P(x^2)/Q(x^2) below 0.625 (Cephes' tanh.c, S. L. Moshier 1989), then
 * 1 - 2 / (e^2|x| + 1) */
static inline el tanh_of(el x) {
  el z = x * x, size = size_of(x);
  el p = POLYNOMIAL(z, -9.64399179425052238628e-1, -9.92877231001918586564e1,
                    -1.61468768441708447952e3);
  el q = POLYNOMIAL(z, 1.0, 1.12811678491632931402e2, 2.23548839060100448583e3,
                    4.84406305325125486048e3);
  el low = PLUS(x, x * z, p / q), high = 1.0 - 2.0 / (exp_of(2.0 * size) + 1.0);
  return pick(IF(size < 0.625), low, pick(IF(x < 0.0), -high, high));
}

static inline el by_lane(double (*f)(double), el a) {
  for (int l = 0; l < CELLS; l++) AT(a, l) = f(AT(a, l));
  return a;
}

static inline el by_lane2(double (*f)(double, double), el a, el b) {
  for (int l = 0; l < CELLS; l++) AT(a, l) = f(AT(a, l), AT(b, l));
  return a;
}

/* table[index], the index between 0 (NaN too) and length - 1 */
static inline el look_up(el index, int32_t length, const double *table) {
  for (int l = 0; l < CELLS; l++) {
    double at = AT(index, l);
    int64_t n = at > 0.0 ? (at < length - 1 ? (int64_t)at : length - 1) : 0;
    AT(index, l) = table[n];
  }
  return index;
}

/* Runs instructions: op, n, then n times (a, b, c, out), slots all; see Tape in tape.py. */
static void run_tape(const int32_t *code, int64_t length, el *slots, const double *table) {
  const int32_t *end = code + length;
#define A slots[code[0]]
#define B slots[code[1]]
#define C slots[code[2]]
#define CASE(op, result)                                            \
  case OP_##op:                                                     \
    for (; n > 0; n--, code += 4) slots[code[3]] = (result);        \
    break;
  while (code < end) {
    int32_t op = code[0], n = code[1];
    code += 2;
    switch (op) {
      CASE(ADD, A + B)
      CASE(SUB, A - B)
      CASE(MUL, A * B)
      CASE(DIV, A / B)
      CASE(NEG, -A)
      CASE(FMA, PLUS(C, A, B))
      CASE(MAX, pick(IF(A > B) | IF(A != A), A, B))
      CASE(MIN, pick(IF(A < B) | IF(A != A), A, B))
      CASE(ABS, size_of(A))
      CASE(FLOOR, floor_of(A))
      CASE(SQRT, sqrt_of(A))
      CASE(EXP, exp_of(A))
      CASE(LOG, log_of(A))
      CASE(POW, pow_of(A, B))
      CASE(SIN, sine(A, 0))
      CASE(COS, sine(A, 1))
      CASE(TANH, tanh_of(A))
      CASE(LT, as_el(IF(A < B)))
      CASE(LE, as_el(IF(A <= B)))
      CASE(GT, as_el(IF(A > B)))
      CASE(GE, as_el(IF(A >= B)))
      CASE(EQ, as_el(IF(A == B)))
      CASE(NE, as_el(IF(A != B)))
      CASE(AND, as_el(as_mask(A) & as_mask(B)))
      CASE(OR, as_el(as_mask(A) | as_mask(B)))
      CASE(XOR, as_el(as_mask(A) ^ as_mask(B)))
      CASE(NOT, as_el(~as_mask(A)))
      CASE(SELECT, pick(as_mask(A), C, B))
      CASE(TAKE, look_up(A, code[1], table + code[2]))
      CASE(REM, by_lane2(fmod, A, B))
      CASE(ROUND, nearest(A))
      CASE(TAN, by_lane(tan, A))
      CASE(SINH, by_lane(sinh, A))
      CASE(COSH, by_lane(cosh, A))
      CASE(ASIN, by_lane(asin, A))
      CASE(ACOS, by_lane(acos, A))
      CASE(ATAN, by_lane(atan, A))
      CASE(ATAN2, by_lane2(atan2, A, B))
      CASE(ASINH, by_lane(asinh, A))
      CASE(ACOSH, by_lane(acosh, A))
      CASE(ATANH, by_lane(atanh, A))
      CASE(EXPM1, by_lane(expm1, A))
      CASE(LOG1P, by_lane(log1p, A))
      CASE(CBRT, by_lane(cbrt, A))
      CASE(ERF, by_lane(erf, A))
      CASE(ERFC, by_lane(erfc, A))
      default:
        return; /* not a tape of this version */
    }
  }
#undef CASE
#undef A
#undef B
#undef C
}
