/* What the earlier solutions of a step make of stage s: stage = y + sum_q a_sq u_q, the argument, and
 * right = sum_q (C_sq / h) u_q. Included once for each type of what is summed, as sums.h is. */
INLINE void NAME(combine)(const int s, int64_t width, const Method *m, el inverse_h,
                          const NUMBER *y, const NUMBER *u, NUMBER *restrict stage,
                          NUMBER *restrict right) {
  double a[MAX_STAGES], c[MAX_STAGES];
  for (int q = 0; q < s; q++) a[q] = m->a[s][q], c[q] = m->c[s][q];
  for (int64_t i = 0; i < width; i++) {
    NUMBER sum = y[i], add = {0};
    UNROLL for (int q = 0; q < s; q++) {
      NUMBER value = u[q * width + i];
      sum = PLUS(sum, a[q] - (NUMBER){0}, value);
      add = PLUS(add, c[q] - (NUMBER){0}, value);
    }
    stage[i] = sum;
    right[i] = inverse_h * add;
  }
}

static void NAME(stage_argument)(int64_t s, int64_t width, const Method *m, el inverse_h,
                                 const NUMBER *y, const NUMBER *u, NUMBER *stage, NUMBER *right) {
  switch (s) {
#define CASE(s) case s: NAME(combine)(s, width, m, inverse_h, y, u, stage, right); break;
    CASE(0) CASE(1) CASE(2) CASE(3) CASE(4) CASE(5) CASE(6) CASE(7)
#undef CASE
  }
}

#undef NUMBER
#undef NAME
