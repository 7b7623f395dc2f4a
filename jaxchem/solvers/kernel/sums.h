/* A sparse matrix times a vector: out[target] = or += sum of coefficient x[index].
 *
 * Eight rows of equal length stand together, and long rows are cut, so the length of the inner
 * loop hardly ever changes: mispredicted ends of short loops would cost more than the arithmetic.
 * Included once for each type of `x`: NUMBER is el or dir, NAME(sums) what its function is called. */
#define TOGETHER 8

#if defined(NUMBER_IS_DOUBLE)
#define PACK (LANES < 4 ? 2 : 4)
#if LANES < 4
typedef double NAME(pack) __attribute__((vector_size(16), aligned(8), may_alias));
#define GATHER(i) ((NAME(pack)){x[(i)[0]], x[(i)[1]]})
#else
typedef double NAME(pack) __attribute__((vector_size(32), aligned(8), may_alias));
#define GATHER(i) ((NAME(pack)){x[(i)[0]], x[(i)[1]], x[(i)[2]], x[(i)[3]]})
#endif
#define START NAME(pack) total[TOGETHER / PACK] = {{0}};
#define TERM(e) \
  UNROLL for (int q = 0; q < TOGETHER / PACK; q++) \
    total[q] = PLUS(total[q], *(const NAME(pack) *)(c + TOGETHER * (e) + PACK * q), \
                    GATHER(index + TOGETHER * (e) + PACK * q));
#define TOTAL(q) total[(q) / PACK][(q) % PACK]
#else
#define START NUMBER total[TOGETHER] = {{0}};
#define TERM(e) \
  UNROLL for (int q = 0; q < TOGETHER; q++) \
    total[q] = PLUS(total[q], c[TOGETHER * (e) + q] - (NUMBER){0}, x[index[TOGETHER * (e) + q]]);
#define TOTAL(q) total[q]
#endif
#define PUT \
  UNROLL for (int q = 0; q < TOGETHER; q++) { \
    if (add) out[target[q]] += TOTAL(q); else out[target[q]] = TOTAL(q); \
  }
#define OF_LENGTH(n, terms) \
  case n: \
    for (; g < end; g++, target += TOGETHER, index += TOGETHER * n, c += TOGETHER * n) { \
      START terms PUT \
    } \
    break;

INLINE void NAME(sums)(const Sums *m, const NUMBER *x, NUMBER *restrict out, const int add) {
  const int32_t *index = m->index, *target = m->target;
  const double *c = m->coefficient;
  for (int32_t r = 0, g = 0; r < m->runs; r++) {
    int32_t length = m->length[r], end = m->run[r + 1];
    switch (length) {
      OF_LENGTH(1, TERM(0))
      OF_LENGTH(2, TERM(0) TERM(1))
      OF_LENGTH(3, TERM(0) TERM(1) TERM(2))
      OF_LENGTH(4, TERM(0) TERM(1) TERM(2) TERM(3))
      default:
        for (; g < end; g++, target += TOGETHER) {
          START
          for (int32_t e = 0; e < length; e++, index += TOGETHER, c += TOGETHER) { TERM(0) }
          PUT
        }
    }
  }
}

static __attribute__((noinline, unused)) void NAME(set_sums)(const Sums *m, const NUMBER *x, NUMBER *out) {
  NAME(sums)(m, x, out, 0);
}

static __attribute__((noinline)) void NAME(add_sums)(const Sums *m, const NUMBER *x, NUMBER *out) {
  NAME(sums)(m, x, out, 1);
}

/* the pools of a state are the weighted sums of their members */
static void NAME(total_pools)(const Network *n, NUMBER *y) {
  for (int64_t p = 0; p < n->pools; p++) {
    NUMBER total = {0};
    for (int32_t e = n->pool_start[p]; e < n->pool_start[p + 1]; e++)
      total = PLUS(total, n->pool_weight[e] - (NUMBER){0}, y[n->pool_member[e]]);
    y[n->pool_place[p]] = total;
  }
}

#undef PACK
#undef GATHER
#undef START
#undef TERM
#undef TOTAL
#undef PUT
#undef OF_LENGTH
#undef TOGETHER
#undef NUMBER
#undef NAME
#undef NUMBER_IS_DOUBLE
