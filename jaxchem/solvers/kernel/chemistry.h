/* Mass action and its elimination: fluxes, tendencies, L and U, and solutions with them. */
#include "element.h"
#include "network.h"

#define NUMBER el
#define NAME(x) x
#if CELLS == 1
#define NUMBER_IS_DOUBLE
#endif
#include "sums.h"

#if DIRECTIONS > 1
#define NUMBER dir
#define NAME(x) x##_along
#include "sums.h"
#else
#define add_sums_along add_sums
#define total_pools_along total_pools
#endif

/* what the chemistry of a cell works on */
typedef struct {
  el *k;          /* [reactions + partials + 1] in the order of the tables; the last is zero */
  el *flux;       /* [reactions + 1]; the last is zero */
  el *a;          /* [fill + 1 blocks] the matrix, eliminated in place; the last is nobody's */
  el *l, *u;      /* its factors as the substitutions read them; both have unit diagonals */
  el *inverse;    /* [width] of the pivots */
  int dirty;      /* something was not finite, and may stand where zeros belong */
} Chemistry;

static int64_t lower_size(const Network *n) { return ROWS * (n->lower_outside + ROWS * n->blocks); }
static int64_t upper_size(const Network *n) { return ROWS * (n->upper_outside + ROWS * n->blocks); }

static el *place_chemistry(const Network *n, el *p, Chemistry *w) {
  w->a = p; p += ROWS * (n->fill + 1);
  w->l = p; p += lower_size(n);
  w->u = p; p += upper_size(n);
  w->inverse = p; p += n->width;
  w->k = p; p += n->reactions + n->partials + 1;
  w->flux = p; p += n->reactions + 1;
  w->dirty = 1;
  return p;
}

static int64_t chemistry_size(const Network *n) {
  return ROWS * (n->fill + 1) + lower_size(n) + upper_size(n) + n->width + 2 * n->reactions +
         n->partials + 2;
}

/* flux of every reaction: k times its factors; no `restrict`, or compilers emulate gathers */
static __attribute__((noinline)) void fluxes(const Network *n, const el *k, const el *y, el *flux) {
  const int32_t *f = n->factor;
  int64_t j = 0;
  for (; j < n->by_factors[1]; j++, f++) flux[j] = k[j] * y[f[0]];
  if (n->orders > 1) for (; j < n->by_factors[2]; j++, f += 2) flux[j] = k[j] * y[f[0]] * y[f[1]];
  for (int64_t order = 3; order <= n->orders; order++)
    for (; j < n->by_factors[order]; j++, f += order) {
      el value = k[j];
      for (int64_t s = 0; s < order; s++) value *= y[f[s]];
      flux[j] = value;
    }
}

/* out += dy/dt of mass action */
static void add_tendency(const Network *n, const el *k, const el *y, el *flux, el *out) {
  fluxes(n, k, y, flux);
  add_sums(&n->change, flux, out);
}

/* the matrix `scale` - J before its elimination; a pool is one more unknown: it less its members = 0 */
static void assemble(const Network *n, Chemistry *w, const el *y, el scale) {
  el *k = w->k, *partial = k + n->reactions;
  const int32_t *o = n->other;
  int64_t q = 0;
  for (int64_t many = 1; many < n->orders; many++)
    for (; q < n->by_others[many]; q++, o += many) {
      el value = k[n->partial_reaction[q]];
      for (int64_t s = 0; s < many; s++) value *= y[o[s]];
      partial[q] = value;
    }
  if (w->dirty) memset(w->a, 0, sizeof(el) * ROWS * (n->fill + 1));
  w->dirty = 0;
  for (int64_t e = 0; e < n->constants; e++) w->a[n->constant_at[e]] = splat(n->constant[e]);
  set_sums(&n->entry, k, w->a);
  add_sums(&n->more, k, w->a);
  for (int64_t i = 0; i < n->states; i++) w->a[n->state_diagonal[i]] += scale;
}

#if CELLS == 1
/* the rows of its own block that a pivot, in row r, has below it */
static const int64_t BELOW[ROWS][ROWS] __attribute__((aligned(32))) =
#if ROWS == 4
    {{0, -1, -1, -1}, {0, 0, -1, -1}, {0, 0, 0, -1}, {0, 0, 0, 0}};
#else
    {{0, -1}, {0, 0}};
#endif
#define KEEP_BELOW(v, r) ((block)((block_mask)(v) & *(const block_mask *)BELOW[r]))
#else
#define KEEP_BELOW(v, r) (v)
#endif

/* L + U without pivoting, right-looking: the blocks of L below a pivot stay in registers, and every
 * entry of U beside it multiplies them */
static void eliminate(const Network *n, Chemistry *w) {
  el *restrict a = w->a, *restrict l = w->l, *restrict u = w->u, *inverse = w->inverse;
  const int32_t *upper = n->upper_at, *target = n->target, *from = n->lower_from, *to = n->lower_to;
  int64_t unknowns = n->states + n->pools;
  for (int64_t p = 0; p < unknowns; p++) {
    int32_t below = n->lower_blocks[p], beside = n->upper_entries[p];
    int64_t place = p + n->offset;
    el over = inverse[place] = 1.0 / a[n->diagonal[p]];
    block left[4];
#define LOWER(many, first) \
  for (int b = 0; b < many; b++) left[b] = BLOCK(a, from[(first) + b]) * over; \
  if ((first) == 0 && n->owns_lower[p]) left[0] = KEEP_BELOW(left[0], place % ROWS); \
  for (int b = 0; b < many; b++) BLOCK(l, to[(first) + b]) = left[b];
#define UPDATE(many, at, stride) \
  for (int32_t e = 0; e < beside; e++, at += stride) { \
    block right = SPREAD(a[upper[e]]); \
    for (int b = 0; b < many; b++) BLOCK(a, at[b]) = LESS(BLOCK(a, at[b]), left[b], right); \
  }
#define CASE(many) case many: { LOWER(many, 0) UPDATE(many, target, many) break; }
    switch (below) {
      case 0: break;
      CASE(1) CASE(2) CASE(3) CASE(4)
      default:
        for (int32_t first = 0; first < below; first += 4) {
          const int32_t *at = target + first;
          if (below - first >= 4) { LOWER(4, first) UPDATE(4, at, below) }
          else { int many = below - first; LOWER(many, first) UPDATE(many, at, below) }
        }
        target += (int64_t)beside * below;
    }
#undef LOWER
#undef UPDATE
#undef CASE
    upper += beside; from += below; to += below;
  }
  /* rows of U over their pivots, where the substitutions want them */
  for (int64_t e = 0; e < n->uppers; e++)
    BLOCK(u, n->upper_to[e]) = BLOCK(a, n->upper_from[e]) * BLOCK(inverse, n->upper_row[e]);
#if ROWS > 1
  block *own = (block *)(u + ROWS * n->upper_outside);
  for (int64_t p = 0; p < unknowns; p++)
    if (n->owns_upper[p]) { /* of its own block, only what stands above the pivot */
      int64_t place = p + n->offset, r = place % ROWS;
      block *v = own + (n->blocks - 1 - place / ROWS) * ROWS + r;
      block_mask above = ~*(const block_mask *)BELOW[r];
      above[r] = 0;
      *v = (block)((block_mask)*v & above);
    }
#endif
}

/* x = (L D U)^-1 x. A block of rows gathers what earlier unknowns contribute in two registers (a
 * store of each contribution would be read again at once), then resolves its own unknowns. */
static void solve(const Network *n, const Chemistry *w, el *restrict x) {
  for (int upper = 0; upper < 2; upper++) {
    const int32_t *pairs = upper ? n->upper_pairs : n->lower_pairs;
    const int32_t *pivot = upper ? n->upper_pivot : n->lower_pivot;
    const el *restrict m = upper ? w->u : w->l;
    const el *own = m + ROWS * (upper ? n->upper_outside : n->lower_outside);
    for (int64_t q = 0; q < n->blocks; q++, own += ROWS * ROWS) {
      int64_t b = upper ? n->blocks - 1 - q : q;
      block s = BLOCK(x, b);
      for (int32_t e = pairs[q]; e > 0; e--, pivot += 2, m += 2 * ROWS) {
        s = LESS(s, BLOCK(m, 0), SPREAD(x[pivot[0]]));
        s = LESS(s, BLOCK(m, 1), SPREAD(x[pivot[1]]));
      }
#if ROWS > 1
      if (upper) { UNROLL for (int r = ROWS - 1; r > 0; r--) s = LESS(s, BLOCK(own, r), SPREAD(s[r])); }
      else { UNROLL for (int r = 0; r < ROWS - 1; r++) s = LESS(s, BLOCK(own, r), SPREAD(s[r])); }
#endif
      BLOCK(x, b) = s;
    }
    if (!upper) for (int64_t i = 0; i < ROWS * n->blocks; i++) x[i] *= w->inverse[i];
  }
}

#if DIRECTIONS > 1
/* the same for directions of one cell */
static void solve_along(const Network *n, const Chemistry *w, dir *restrict x) {
  for (int upper = 0; upper < 2; upper++) {
    const int32_t *pairs = upper ? n->upper_pairs : n->lower_pairs;
    const int32_t *pivot = upper ? n->upper_pivot : n->lower_pivot;
    const el *m = upper ? w->u : w->l;
    const el *own = m + ROWS * (upper ? n->upper_outside : n->lower_outside);
    for (int64_t q = 0; q < n->blocks; q++, own += ROWS * ROWS) {
      int64_t b = upper ? n->blocks - 1 - q : q;
      dir s[ROWS];
      memcpy(s, x + b * ROWS, sizeof s);
      for (int32_t e = 2 * pairs[q]; e > 0; e--, pivot++, m += ROWS) {
        dir known = x[*pivot];
        UNROLL for (int i = 0; i < ROWS; i++) s[i] = LESS(s[i], m[i] - (dir){0}, known);
      }
      for (int p = 0; p < ROWS; p++) {
        int r = upper ? ROWS - 1 - p : p;
        for (int i = upper ? 0 : r + 1; i < (upper ? r : ROWS); i++) s[i] = LESS(s[i], own[ROWS * r + i] - (dir){0}, s[r]);
      }
      memcpy(x + b * ROWS, s, sizeof s);
    }
    if (!upper) for (int64_t i = 0; i < ROWS * n->blocks; i++) x[i] *= w->inverse[i];
  }
}
#else
#define solve_along solve
#endif

/* x = (L D U)^-T x: the same tables read backwards, each block giving to where it took from */
static void solve_transposed(const Network *n, const Chemistry *w, dir *restrict x) {
  for (int lower = 0; lower < 2; lower++) {
    int64_t outside = lower ? n->lower_outside : n->upper_outside;
    const int32_t *pairs = lower ? n->lower_pairs : n->upper_pairs;
    const int32_t *pivot = (lower ? n->lower_pivot : n->upper_pivot) + outside;
    const el *m = (lower ? w->l : w->u) + ROWS * outside;
    const el *own = m + ROWS * ROWS * n->blocks;
    for (int64_t q = n->blocks - 1; q >= 0; q--) {
      int64_t b = lower ? q : n->blocks - 1 - q;
      dir *s = x + b * ROWS;
      own -= ROWS * ROWS;
      for (int p = ROWS - 1; p >= 0; p--) { /* column r of the block takes from the rows it gave to */
        int r = lower ? p : ROWS - 1 - p;
        for (int i = lower ? r + 1 : 0; i < (lower ? ROWS : r); i++) s[r] = LESS(s[r], own[ROWS * r + i] - (dir){0}, s[i]);
      }
      for (int32_t e = 2 * pairs[q]; e > 0; e--) {
        pivot--;
        m -= ROWS;
        dir given = m[0] * s[0];
        UNROLL for (int i = 1; i < ROWS; i++) given = PLUS(given, m[i] - (dir){0}, s[i]);
        x[*pivot] -= given;
      }
    }
    if (!lower) for (int64_t i = 0; i < ROWS * n->blocks; i++) x[i] *= w->inverse[i];
  }
}
