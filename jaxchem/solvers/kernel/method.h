/* One attempted step of a Rosenbrock method. */
#include "chemistry.h"

typedef struct {
  int64_t stages, curves;
  double order, gamma;
  double a[MAX_STAGES][MAX_STAGES], c[MAX_STAGES][MAX_STAGES], curve[4][MAX_STAGES];
} Method;

/* What a step works on; every array is of vectors, [S] unless it says more. */
typedef struct {
  vec *k, *flux, *partial;       /* [R], [R], [R (slots + 1)] */
  vec *lu, *inverse;             /* [fill], pivots' inverses */
  vec *y, *stage, *y1, *u;       /* start, last stage's argument, end, [stages S] solutions */
  vec *right, *x, *scratch, *pool; /* the last is [pools] */
} Step;

static int64_t step_size(const Network *n) {
  return n->reactions * (n->slots + 3) + n->fill + n->species * (MAX_STAGES + 7) + n->pools;
}

/* places a step's arrays from `p` on, and tells where they end */
static vec *place_step(const Network *n, vec *p, Step *w) {
  int64_t S = n->species, R = n->reactions;
  w->k = p; p += R;
  w->flux = p; p += R;
  w->partial = p; p += R * (n->slots + 1);
  w->lu = p; p += n->fill;
  w->inverse = p; p += S;
  w->y = p; p += S;
  w->stage = p; p += S;
  w->y1 = p; p += S;
  w->u = p; p += MAX_STAGES * S;
  w->right = p; p += S;
  w->x = p; p += S;
  w->scratch = p; p += S;
  w->pool = p; p += n->pools;
  return p;
}

/* the argument of stage s: y + sum_q a_sq u_q */
static void stage_argument(const Network *n, const Method *method, int64_t s, const Step *w,
                           vec *out) {
  for (int64_t i = 0; i < n->species; i++) {
    vec sum = w->y[i];
    for (int64_t q = 0; q < s; q++) sum += method->a[s][q] * w->u[q * n->species + i];
    out[i] = sum;
  }
}

static void attempt(const Network *n, const Method *method, vec h, Step *w) {
  int64_t S = n->species;
  vec inverse_h = 1.0 / h;
  pool_totals(n, w->y, w->pool);
  factorise(n, w->k, w->y, w->pool, inverse_h / method->gamma, w->partial, w->lu, w->inverse);
  for (int64_t s = 0; s < method->stages; s++) {
    stage_argument(n, method, s, w, w->stage);
    tendency(n, w->k, w->stage, w->pool, w->flux, w->scratch);
    for (int64_t i = 0; i < S; i++) {
      vec sum = splat(0);
      for (int64_t q = 0; q < s; q++) sum += method->c[s][q] * w->u[q * S + i];
      w->right[i] = w->scratch[i] + inverse_h * sum;
    }
    substitute(n, w->lu, w->inverse, w->right, w->x, w->u + s * S);
  }
  /* methods are stiffly accurate: the last stage's argument plus its solution is the new state */
  for (int64_t i = 0; i < S; i++) w->y1[i] = w->stage[i] + w->u[(method->stages - 1) * S + i];
}
