/* One attempted step of a Rosenbrock method, in the transformed form of Hairer & Wanner (1996,
 * section IV.7): with W = 1/(h gamma) - J,
 *
 *   W u_s = f(t + c_s h, y + sum_q a_sq u_q) + sum_q (C_sq / h) u_q + d_s h df/dt.
 *
 * The equation of a pool is algebraic and linear: its right-hand side is zero. */
#include "chemistry.h"
#include "job.h"
#include "tape.h"

#define NUMBER el
#define NAME(x) x
#include "stages.h"

#if DIRECTIONS > 1
#define NUMBER dir
#define NAME(x) x##_along
#include "stages.h"
#else
#define stage_argument_along stage_argument
#endif

/* what a step works on; arrays are [width] unless it says more */
typedef struct {
  Chemistry chemistry;
  el *y, *y1;              /* start and end */
  el *stage, *u;           /* [stages width] arguments of the stages, and solutions */
  el *slope, *dk;          /* df/dt of the step, and dk/dt [reactions + 1] */
  el *slots;               /* of the tapes */
  el t, clock;             /* time since the start of the cell, and what it was then */
} Step;

static int64_t step_size(const Network *n, const Program *p) {
  return chemistry_size(n) + (2 * MAX_STAGES + 3) * n->width + (p ? n->reactions + 1 + p->tape.slots : 0);
}

/* places a step's arrays from `p` on, and tells where they end */
static el *place_step(const Network *n, const Program *program, el *p, Step *w) {
  w->y = p; p += n->width;
  w->y1 = p; p += n->width;
  w->slope = p; p += n->width;
  w->stage = p; p += MAX_STAGES * n->width;
  w->u = p; p += MAX_STAGES * n->width;
  p = place_chemistry(n, p, &w->chemistry);
  if (program) {
    w->dk = p; p += n->reactions + 1;
    w->slots = p; p += program->tape.slots;
  }
  return p;
}

static void write_constants(const Tape *tape, el *slots) {
  for (int64_t i = 0; i < tape->constants; i++) slots[i] = splat(tape->constant[i]);
}

static void run_part(const Tape *tape, int part, el *slots) {
  run_tape(tape->code[part], tape->length[part], slots, tape->table);
}

/* the states that are read, into slots from `first` on */
static void read_states(const Network *n, const Program *p, const el *y, el *first) {
  for (int64_t i = 0; i < p->reads; i++) first[p->read[i]] = y[n->place[p->read[i]]];
}

/* the coefficients and further tendencies at a time and state */
static void evaluate(const Program *p, const Network *n, el t, const el *y, Step *w) {
  w->slots[p->time_slot] = w->clock + t;
  read_states(n, p, y, w->slots + p->state_slot);
  run_part(&p->tape, FIRST, w->slots);
  for (int64_t j = 0; j < p->varying; j++)
    w->chemistry.k[p->varying_at[j]] = w->slots[p->varying_slot[j]];
}

/* the same at the start of a step, with df/dt */
static void evaluate_start(const Program *p, const Network *n, Step *w) {
  evaluate(p, n, w->t, w->y, w);
  run_part(&p->tape, SECOND, w->slots);
  if (!p->timed) return;
  memset(w->slope, 0, sizeof(el) * n->width);
  for (int64_t j = 0; j < p->varying; j++) w->dk[p->varying_at[j]] = w->slots[p->varying_slope[j]];
  add_tendency(n, w->dk, w->y, w->chemistry.flux, w->slope);
  for (int64_t i = 0; i < p->adds; i++) w->slope[p->add_place[i]] += w->slots[p->add_slope[i]];
}

static void attempt(const Network *n, const Method *method, const Program *p, el h, Step *w) {
  Chemistry *chemistry = &w->chemistry;
  el inverse_h = 1.0 / h;
  total_pools(n, w->y);
  if (p) evaluate_start(p, n, w);
  assemble(n, chemistry, w->y, inverse_h / method->gamma);
  if (p)
    for (int64_t e = 0; e < p->entries; e++) chemistry->a[p->entry_at[e]] -= w->slots[p->entry_slot[e]];
  eliminate(n, chemistry);
  for (int64_t s = 0; s < method->stages; s++) {
    el *stage = w->stage + s * n->width, *right = w->u + s * n->width;
    stage_argument(s, n->width, method, inverse_h, w->y, w->u, stage, right);
    if (p) {
      if (s && (p->stateful || method->node[s] != method->node[s - 1]))
        evaluate(p, n, w->t + method->node[s] * h, stage, w);
      for (int64_t i = 0; i < p->adds; i++) right[p->add_place[i]] += w->slots[p->add_slot[i]];
      if (p->timed && method->time[s] != 0) {
        el along = method->time[s] * h;
        for (int64_t i = 0; i < n->width; i++) right[i] += along * w->slope[i];
      }
    }
    add_tendency(n, chemistry->k, stage, chemistry->flux, right);
    for (int64_t i = 0; i < n->pools; i++) right[n->pool_place[i]] = splat(0);
    solve(n, chemistry, right);
  }
  /* methods are stiffly accurate: the last stage's argument plus its solution is the new state */
  int64_t last = (method->stages - 1) * n->width;
  for (int64_t i = 0; i < n->width; i++) w->y1[i] = w->stage[last + i] + w->u[last + i];
}
