/* One step differentiated, its length and its elimination given: forward, and transposed.
 *
 * With W u_s = r_s(Y_s) a change of state and rates makes W du_s = dr_s + (dJ) u_s. Of reaction j
 * with the product m of its factors that is
 *
 *   (m(Y_s) + m'(y) u_s) dk + k m'(Y_s) dY_s + k (m''(y) u_s) dy,
 *
 * the `moments` of the reaction, which both directions of differentiation share. */
#include "method.h"

typedef struct {
  int64_t blocks;           /* how many `dir` the directions of a cell fill */
  el *by_stage, *by_state;  /* [factors] k m'(Y_s), k m''(y) u_s */
  el *by_rate;              /* [reactions] */
  dir *change;              /* [blocks width] of the state: at the start of the step; cotangents */
  dir *after;               /* [blocks width] at its end */
  dir *du;                  /* [blocks stages width] */
  dir *rates;               /* [blocks reactions] of the coefficients */
  dir *flux, *argument, *start; /* [reactions + 1], [width], [blocks width] */
} Derivative;

static int64_t factor_count(const Network *n) {
  int64_t total = 0;
  for (int64_t order = 1; order <= n->orders; order++)
    total += order * (n->by_factors[order] - n->by_factors[order - 1]);
  return total;
}

static int64_t derivative_size(const Network *n, int64_t blocks) { /* in bytes */
  int64_t each = (3 + MAX_STAGES) * n->width + n->reactions;
  return (2 * factor_count(n) + n->reactions) * (int64_t)sizeof(el) +
         (blocks * each + n->reactions + 1 + n->width) * (int64_t)sizeof(dir) + (int64_t)sizeof(dir);
}

static void place_derivative(const Network *n, int64_t blocks, char *memory, Derivative *g) {
  dir *p = (dir *)memory;
  g->blocks = blocks;
  g->change = p; p += blocks * n->width;
  g->after = p; p += blocks * n->width;
  g->start = p; p += blocks * n->width;
  g->du = p; p += blocks * MAX_STAGES * n->width;
  g->rates = p; p += blocks * n->reactions;
  g->flux = p; p += n->reactions + 1;
  g->argument = p; p += n->width;
  el *e = (el *)p;
  g->by_stage = e; e += factor_count(n);
  g->by_state = e; e += factor_count(n);
  g->by_rate = e;
}

/* What coefficients that vary, and further tendencies, add to that: with the changes k' of the
 * coefficients along (d_s h, u_s) at the start of the step, reaction j adds
 *
 *   m(Y_s) dk_s + m'(y) u_s dk + m(y) dk' + k' m'(y) dy. */
typedef struct {
  const Program *program;
  const Linear *at_stage, *at_start;
  el *k, *along;                /* [reactions] k at the start, k' */
  el *whole, *moved, *held;     /* [reactions] m(Y_s), m'(y) u_s, m(y) */
  el *stage_slots, *start_slots;
  el *parameters;               /* [blocks parameters] changes of the parameters; cotangents */
} Varying;

#if DIRECTIONS == 1
static int64_t varying_size(const Job *job, int64_t blocks) {
  return 5 * job->net->reactions + job->at_stage->tape.slots + job->at_start->tape.slots +
         blocks * job->program->parameters;
}

static el *place_varying(const Job *job, int64_t blocks, el *p, Varying *v) {
  int64_t R = job->net->reactions;
  v->program = job->program;
  v->at_stage = job->at_stage;
  v->at_start = job->at_start;
  v->k = p; p += R;
  v->along = p; p += R;
  v->whole = p; p += R;
  v->moved = p; p += R;
  v->held = p; p += R;
  v->parameters = p; p += blocks * job->program->parameters;
  v->stage_slots = p; p += job->at_stage->tape.slots;
  v->start_slots = p; p += job->at_start->tape.slots;
  write_constants(&v->at_stage->tape, v->stage_slots);
  write_constants(&v->at_start->tape, v->start_slots);
  return p;
}

/* the parameters of the cell in lane l */
static void load_linear(Varying *v, const Program *p, const double *parameters, int l) {
  for (int64_t i = 0; i < p->parameters; i++) {
    AT(v->stage_slots[v->at_stage->parameter_slot + i], l) = parameters[i];
    AT(v->start_slots[v->at_start->parameter_slot + i], l) = parameters[i];
  }
  run_part(&v->at_stage->tape, ONCE, v->stage_slots);
  run_part(&v->at_start->tape, ONCE, v->start_slots);
}

static void keep_start(const Network *n, Step *w, Varying *v) {
  evaluate(v->program, n, w->t, w->y, w);
  memcpy(v->k, w->chemistry.k, sizeof(el) * n->reactions);
  v->start_slots[v->at_start->time_slot] = w->clock + w->t;
  read_states(n, v->program, w->y, v->start_slots + v->at_start->state_slot);
}

/* k' along (tau, u) at the start of the step, and where the stage is */
static void along_step(const Network *n, el at, const el *stage, el tau, const el *u, Varying *v) {
  const Linear *start = v->at_start, *here = v->at_stage;
  v->start_slots[start->tau_slot] = tau;
  read_states(n, v->program, u, v->start_slots + start->along_slot);
  run_part(&start->tape, FIRST, v->start_slots);
  for (int64_t j = 0; j < v->program->varying; j++)
    v->along[v->program->varying_at[j]] = v->start_slots[start->along[j]];
  v->stage_slots[here->time_slot] = at;
  read_states(n, v->program, stage, v->stage_slots + here->state_slot);
}

/* adds to the changes of fluxes and right-hand side what comes from coefficients and tendencies */
static void push_varying(const Network *n, const el *change, const el *stage, int64_t b, el *flux,
                         el *right, Varying *v) {
  const Program *p = v->program;
  const Linear *start = v->at_start, *here = v->at_stage;
  el *at = v->stage_slots, *from = v->start_slots;
  const el *parameters = v->parameters + b * p->parameters;
  read_states(n, p, stage, at + here->state_change);
  read_states(n, p, change, from + start->state_change);
  memcpy(at + here->parameter_change, parameters, sizeof(el) * p->parameters);
  memcpy(from + start->parameter_change, parameters, sizeof(el) * p->parameters);
  run_part(&here->tape, SECOND, at);
  run_part(&start->tape, SECOND, from);
  for (int64_t i = 0; i < p->varying; i++) {
    int32_t j = p->varying_at[i];
    flux[j] += v->whole[j] * at[here->rate[i]] + v->moved[j] * from[start->rate[i]] +
               v->held[j] * from[start->along_change[i]];
  }
  for (int64_t i = 0; i < p->adds; i++)
    right[p->add_place[i]] += at[here->add[i]] + from[start->add[i]];
}

/* cotangents of the state and of the parameters that a tape has made */
static void take_pull(const Network *n, const Linear *linear, mask active, const el *slots,
                      el *state, el *parameters) {
  for (int64_t i = 0; i < linear->states; i++)
    state[n->place[linear->state[i]]] += slots[linear->state_from[i]];
  for (int64_t i = 0; i < linear->parameters; i++)
    parameters[linear->parameter[i]] += pick(active, slots[linear->parameter_from[i]], splat(0));
}

/* the transpose of `push_varying` */
static void pull_varying(const Network *n, mask active, const el *flux, const el *right, int64_t b,
                         el *argument, el *start_pull, Varying *v) {
  const Program *p = v->program;
  const Linear *start = v->at_start, *here = v->at_stage;
  el *at = v->stage_slots, *from = v->start_slots, *parameters = v->parameters + b * p->parameters;
  for (int64_t i = 0; i < p->varying; i++) {
    int32_t j = p->varying_at[i];
    at[here->rate_pull + i] = v->whole[j] * flux[j];
    from[start->rate_pull + i] = v->moved[j] * flux[j];
    from[start->along_pull + i] = v->held[j] * flux[j];
  }
  for (int64_t i = 0; i < p->adds; i++)
    at[here->add_pull + i] = from[start->add_pull + i] = right[p->add_place[i]];
  run_part(&here->tape, SECOND, at);
  run_part(&start->tape, SECOND, from);
  take_pull(n, here, active, at, argument, parameters);
  take_pull(n, start, active, from, start_pull, parameters);
}
#endif

/* calls part(order, ...) for the reactions of each number of factors, the usual ones unrolled */
#define BY_ORDER(part, ...) \
  for (int64_t order = 1, j = 0, f = 0; order <= n->orders; order++) { \
    int64_t end = n->by_factors[order]; \
    switch (order) { \
      case 1: part(1, j, end, f, __VA_ARGS__); break; \
      case 2: part(2, j, end, f, __VA_ARGS__); break; \
      case 3: part(3, j, end, f, __VA_ARGS__); break; \
      default: part(order, j, end, f, __VA_ARGS__); \
    } \
    f += order * (end - j); \
    j = end; \
  }

INLINE void moments(const int64_t order, int64_t j, int64_t end, int64_t first, const Network *n,
                    const el *k, const el *at, const el *y, const el *u, Derivative *g, Varying *v) {
  for (; j < end; j++, first += order) {
    const int32_t *f = n->factor + first;
    el whole = splat(1), moved = splat(0), held = splat(1), start = v ? v->k[j] : k[j];
    UNROLL for (int64_t a = 0; a < order; a++) {
      el others = splat(1), rest = splat(1), slope = splat(0);
      UNROLL for (int64_t b = 0; b < order; b++) {
        if (b == a) continue;
        others *= at[f[b]];
        rest *= y[f[b]];
        el pair = u[f[b]];
        UNROLL for (int64_t c = 0; c < order; c++)
          if (c != a && c != b) pair *= y[f[c]];
        slope += pair;
      }
      whole *= at[f[a]];
      held *= y[f[a]];
      moved = PLUS(moved, u[f[a]], rest);
      g->by_stage[first + a] = k[j] * others;
      g->by_state[first + a] = start * slope;
      if (v) g->by_state[first + a] = PLUS(g->by_state[first + a], v->along[j], rest);
    }
    g->by_rate[j] = whole + moved;
    if (v) v->whole[j] = whole, v->moved[j] = moved, v->held[j] = held;
  }
}

/* `g` for stage s of the step in `w`; where coefficients vary, their values there too */
static void stage_moments(const Network *n, const Method *method, int64_t s, el h, Step *w,
                          Derivative *g, Varying *v) {
  const el *stage = w->stage + s * n->width, *u = w->u + s * n->width;
#if DIRECTIONS == 1
  if (v) {
    el t = w->t + method->node[s] * h;
    evaluate(v->program, n, t, stage, w);
    along_step(n, w->clock + t, stage, method->time[s] * h, u, v);
    BY_ORDER(moments, n, w->chemistry.k, stage, w->y, u, g, v)
    return;
  }
#endif
  (void)method;
  (void)h;
  (void)v;
  BY_ORDER(moments, n, w->chemistry.k, stage, w->y, u, g, NULL)
}

/* changes of the fluxes from those of coefficients, stage and state */
INLINE void push(const int64_t order, int64_t j, int64_t end, int64_t first, const Network *n,
                 Derivative *g, const dir *rates, const dir *stage, const dir *change) {
  for (; j < end; j++, first += order) {
    const int32_t *f = n->factor + first;
    dir total = g->by_rate[j] * rates[j];
    UNROLL for (int64_t a = 0; a < order; a++) {
      total = PLUS(total, g->by_stage[first + a] - (dir){0}, stage[f[a]]);
      total = PLUS(total, g->by_state[first + a] - (dir){0}, change[f[a]]);
    }
    g->flux[j] = total;
  }
}

/* and the transpose of that */
INLINE void pull(const int64_t order, int64_t j, int64_t end, int64_t first, const Network *n,
                 Derivative *g, mask active, dir *rates, dir *argument, dir *start) {
  for (; j < end; j++, first += order) {
    const int32_t *f = n->factor + first;
    dir flux = g->flux[j];
    rates[j] += DIR_PICK(active, g->by_rate[j] * flux, (dir){0});
    UNROLL for (int64_t a = 0; a < order; a++) {
      argument[f[a]] = PLUS(argument[f[a]], g->by_stage[first + a] - (dir){0}, flux);
      start[f[a]] = PLUS(start[f[a]], g->by_state[first + a] - (dir){0}, flux);
    }
  }
}

/* carries `change` (of the state) and `rates` (of the coefficients) over the step, to `after` */
static void differentiate(const Network *n, const Method *method, el h, Step *w, Derivative *g,
                          Varying *v) {
  int64_t W = n->width, stages = method->stages;
  el inverse_h = 1.0 / h;
  for (int64_t b = 0; b < g->blocks; b++) total_pools_along(n, g->change + b * W);
#if DIRECTIONS == 1
  if (v) keep_start(n, w, v);
#endif
  for (int64_t s = 0; s < stages; s++) {
    stage_moments(n, method, s, h, w, g, v);
    for (int64_t b = 0; b < g->blocks; b++) {
      const dir *change = g->change + b * W, *rates = g->rates + b * n->reactions;
      dir *du = g->du + b * MAX_STAGES * W, *right = du + s * W, *stage = g->argument;
      stage_argument_along(s, W, method, inverse_h, change, du, stage, right);
      BY_ORDER(push, n, g, rates, stage, change)
#if DIRECTIONS == 1
      if (v) push_varying(n, change, stage, b, g->flux, right, v);
#endif
      add_sums_along(&n->change, g->flux, right);
      for (int64_t p = 0; p < n->pools; p++) right[n->pool_place[p]] = (dir){0};
      solve_along(n, &w->chemistry, right);
      if (s == stages - 1)
        for (int64_t i = 0; i < W; i++) g->after[b * W + i] = stage[i] + right[i];
    }
  }
}

/* Transposes `differentiate`. On entry `after` has the cotangent of the end of the step, `start`
 * and `du` what outputs within it add; on return `start` has that of its start, and `rates` has
 * grown where lanes are active. */
static void transpose(const Network *n, const Method *method, el h, mask active, Step *w,
                      Derivative *g, Varying *v) {
  int64_t W = n->width, last = method->stages - 1;
  el inverse_h = 1.0 / h;
#if DIRECTIONS == 1
  if (v) keep_start(n, w, v);
#endif
  for (int64_t s = last; s >= 0; s--) {
    stage_moments(n, method, s, h, w, g, v);
    for (int64_t b = 0; b < g->blocks; b++) {
      dir *du = g->du + b * MAX_STAGES * W, *right = du + s * W, *argument = g->argument;
      dir *start = g->start + b * W, *rates = g->rates + b * n->reactions;
      const dir *after = g->after + b * W;
      if (s == last) for (int64_t i = 0; i < W; i++) right[i] += after[i];
      solve_transposed(n, &w->chemistry, right);
      for (int64_t p = 0; p < n->pools; p++) right[n->pool_place[p]] = (dir){0};
      memset(g->flux, 0, sizeof(dir) * (n->reactions + 1));
      add_sums_along(&n->pull, right, g->flux);
      if (s == last) memcpy(argument, after, sizeof(dir) * W);
      else memset(argument, 0, sizeof(dir) * W);
      BY_ORDER(pull, n, g, active, rates, argument, start)
#if DIRECTIONS == 1
      if (v) pull_varying(n, active, g->flux, right, b, argument, start, v);
#endif
      for (int64_t i = 0; i < W; i++) {
        start[i] += argument[i];
        for (int64_t q = 0; q < s; q++)
          du[q * W + i] += method->a[s][q] * argument[i] + method->c[s][q] * (inverse_h * right[i]);
      }
    }
  }
  for (int64_t b = 0; b < g->blocks; b++) { /* cotangents of pools go to their members */
    dir *start = g->start + b * W;
    for (int64_t p = 0; p < n->pools; p++) {
      for (int32_t e = n->pool_start[p]; e < n->pool_start[p + 1]; e++)
        start[n->pool_member[e]] = PLUS(start[n->pool_member[e]], n->pool_weight[e] - (dir){0},
                                        start[n->pool_place[p]]);
      start[n->pool_place[p]] = (dir){0};
    }
  }
}
