/* Rosenbrock integration of many cells of one network, several cells to a vector register.
 *
 * Each lane of a vector holds one cell with a time, a step and an error of its own, so the result of
 * a cell does not depend on its neighbours; a lane whose cell has ended takes the next one.
 * Networks, elimination and method come as tables (jaxchem/solvers/native.py packs them), so this
 * is compiled once for all networks.
 */
#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#if defined(__SSE2__)
#include <xmmintrin.h>
#endif

#include "adjoint.h"
#include "xla/ffi/api/c_api.h"

enum { SUCCESS = 0, TOO_MANY_STEPS = 1, STEP_TOO_SMALL = 2, NOT_FINITE = 3 };

enum { ALLOW = 0, REJECT = 1, PROJECT = 2 }; /* what becomes of negative concentrations */

typedef struct {
  double first_step, max_steps, land, negative;
} Settings;

typedef struct {
  const Network *net;
  const Method *method;
  const Settings *settings;
  int64_t cells, times;
  int64_t each_k, each_ts, each_rtol, each_atol;  /* strides by cell, 0 where all share one row */
  const double *k, *y0, *ts, *t0, *rtol, *atol;
  double *ys, *end_state, *end_time;
  /* forward sensitivities: directions, their row stride in dk by cell, [N, P, S], [N or 1, P, R] */
  int64_t tangents, each_dk;
  const double *dy0, *dk;
  double *dys;                                    /* [N, P, T, S] */
  /* reverse mode: cotangents [N, T, S] of the states, which become [N, S] and [N, R] */
  const double *cotangent;
  double *pulled_y0, *pulled_k;
  int32_t *status;                                /* [N, 3] result, accepted, rejected */
  atomic_long *next;
} Job;

typedef struct {
  int64_t cell[LANES], next_time[LANES], accepted[LANES], rejected[LANES], active[LANES];
  int64_t after_rejection[LANES];
  const double *ts[LANES];
  double end[LANES];
  vec t, h, rtol;
} Lanes;

/* the steps that a lane has taken, for reverse mode: t, h, end and state of each */
typedef struct {
  double *steps;
  int64_t used, room;
} Log;

typedef struct {
  const Job *job;
  Step step;
  Lanes lanes;
  Tangent tangent;
  Adjoint adjoint;
  Log log[LANES];
  vec *atol, *curve, *sensitivity;    /* [S], [4 S], [LANES blocks S] */
  int64_t blocks;                     /* vectors of directions */
} Worker;

static void unload(Worker *worker, int l, int status) {
  const Job *job = worker->job;
  const Network *n = job->net;
  Lanes *lanes = &worker->lanes;
  int64_t cell = lanes->cell[l];
  double *out = job->ys + cell * job->times * n->species;
  for (int64_t m = lanes->next_time[l]; m < job->times; m++)
    for (int64_t i = 0; i < n->species; i++) {
      out[m * n->species + i] = INFINITY;
      for (int64_t q = 0; q < job->tangents; q++)
        job->dys[((cell * job->tangents + q) * job->times + m) * n->species + i] = NAN;
    }
  for (int64_t i = 0; i < n->species; i++) job->end_state[cell * n->species + i] = worker->step.y[i][l];
  job->end_time[cell] = lanes->t[l];
  job->status[3 * cell] = status;
  job->status[3 * cell + 1] = (int32_t)lanes->accepted[l];
  job->status[3 * cell + 2] = (int32_t)lanes->rejected[l];
  lanes->active[l] = 0;
}

/* gives lane l the next cell, with the first step of Hairer, Norsett & Wanner (1993, II.4) */
static void load(Worker *worker, int l) {
  const Job *job = worker->job;
  const Network *n = job->net;
  Lanes *lanes = &worker->lanes;
  Step *w = &worker->step;
  for (;;) {
    int64_t cell = atomic_fetch_add(job->next, 1);
    if (cell >= job->cells) {
      lanes->cell[l] = -1;
      lanes->active[l] = 0;
      lanes->t[l] = 0;
      lanes->h[l] = lanes->rtol[l] = 1;
      return;
    }
    const double *y0 = job->y0 + cell * n->species;
    const double *rates = job->k + cell * job->each_k;
    const double *tolerance = job->atol + cell * job->each_atol;
    const double *ts = lanes->ts[l] = job->ts + cell * job->each_ts;
    for (int64_t i = 0; i < n->species; i++) w->y[i][l] = y0[i];
    for (int64_t i = 0; i < n->species; i++) worker->atol[i][l] = tolerance[i];
    for (int64_t j = 0; j < n->reactions; j++) w->k[j][l] = rates[j];
    lanes->cell[l] = cell;
    lanes->active[l] = 1;
    lanes->rtol[l] = job->rtol[cell * job->each_rtol];
    lanes->end[l] = ts[job->times - 1];
    lanes->after_rejection[l] = 0;
    lanes->accepted[l] = lanes->rejected[l] = lanes->next_time[l] = 0;
    double t0 = job->t0[cell];
    lanes->t[l] = t0;
    double *out = job->ys + cell * job->times * n->species;
    while (lanes->next_time[l] < job->times && ts[lanes->next_time[l]] <= t0)
      memcpy(out + n->species * lanes->next_time[l]++, y0, sizeof(double) * n->species);
    for (int64_t q = 0; q < job->tangents; q++) {
      const double *dy0 = job->dy0 + (cell * job->tangents + q) * n->species;
      double *dys = job->dys + (cell * job->tangents + q) * job->times * n->species;
      for (int64_t i = 0; i < n->species; i++)
        worker->sensitivity[(l * worker->blocks + q / LANES) * n->species + i][q % LANES] = dy0[i];
      for (int64_t m = 0; m < lanes->next_time[l]; m++)
        memcpy(dys + m * n->species, dy0, sizeof(double) * n->species);
    }
    if (lanes->next_time[l] < job->times) break;
    unload(worker, l, SUCCESS);
    if (job->cotangent) return; /* its cotangents are still to be pulled back */
  }
  double span = lanes->end[l] - lanes->t[l], h = job->settings->first_step;
  if (!(h > 0)) {
    tendency(n, w->k, w->y, w->pool, w->flux, w->scratch);
    double d0 = 0, d1 = 0;
    for (int64_t i = 0; i < n->species; i++) {
      double scale = worker->atol[i][l] + lanes->rtol[l] * fabs(w->y[i][l]);
      d0 += (w->y[i][l] / scale) * (w->y[i][l] / scale);
      d1 += (w->scratch[i][l] / scale) * (w->scratch[i][l] / scale);
    }
    h = d1 > 0 && d0 > 0 ? 0.01 * sqrt(d0 / d1) : 1e-6 * span;
  }
  lanes->h[l] = h > 0 && h < span ? h : (h >= span ? span : 1e-6 * span);
}

/* the sensitivities of lane l over its last step, written out for the output times in it */
static void carry(Worker *worker, int l, double h, double t1) {
  const Job *job = worker->job;
  const Lanes *lanes = &worker->lanes;
  const Step *step = &worker->step;
  Tangent *w = &worker->tangent;
  const Network *n = job->net;
  const Method *method = job->method;
  int64_t S = n->species, R = n->reactions, T = job->times, cell = lanes->cell[l];
  prepare(n, method, l, step->k, step->y, step->u, w);
  for (int64_t first = 0; first < job->tangents; first += LANES) {
    vec *state = worker->sensitivity + (l * worker->blocks + first / LANES) * S;
    int64_t many = job->tangents - first < LANES ? job->tangents - first : LANES;
    const double *dk = job->dk + cell * job->each_dk + first * R;
    for (int64_t j = 0; j < R; j++)
      for (int64_t q = 0; q < many; q++) w->dk[j][q] = dk[q * R + j];
    memcpy(w->change, state, sizeof(vec) * S);
    differentiate(n, method, l, h, step->lu, step->inverse, w);
    const vec *last = step->u + (method->stages - 1) * S;
    for (int64_t i = 0; i < S; i++) {
      int projected = job->settings->negative == PROJECT && step->stage[i][l] + last[i][l] < 0;
      state[i] = projected ? splat(0)
                           : w->stage_change[i] + w->du[(method->stages - 1) * S + i];
    }
    const double *ts = lanes->ts[l];
    for (int64_t m = lanes->next_time[l]; m < T && ts[m] <= t1; m++) {
      double s = (ts[m] - lanes->t[l]) / h;
      for (int64_t i = 0; i < S; i++) {
        vec value = state[i];
        if (ts[m] < t1) {
          vec curve = splat(0);
          for (int64_t b = method->curves - 1; b >= 0; b--) {
            curve *= s;
            for (int64_t q = 0; q < method->stages; q++)
              curve += method->curve[b][q] * w->du[q * S + i];
          }
          value = (1 - s) * w->change[i] + s * (value + (1 - s) * curve);
        }
        for (int64_t q = 0; q < many; q++)
          job->dys[((cell * job->tangents + first + q) * T + m) * S + i] = value[q];
      }
    }
  }
}

/* keeps a step for the way back */
static int record(Worker *worker, int l, double h, double t1) {
  int64_t S = worker->job->net->species, size = S + 3;
  Log *log = &worker->log[l];
  if ((log->used + 1) * size > log->room) {
    int64_t room = 2 * log->room + 64 * size;
    double *grown = realloc(log->steps, sizeof(double) * room);
    if (!grown) return 0;
    log->steps = grown;
    log->room = room;
  }
  double *entry = log->steps + log->used++ * size;
  entry[0] = worker->lanes.t[l];
  entry[1] = h;
  entry[2] = t1;
  for (int64_t i = 0; i < S; i++) entry[3 + i] = worker->step.y[i][l];
  return 1;
}

/* reverse mode: from the last step of every lane back to its start */
static void go_back(Worker *worker) {
  const Job *job = worker->job;
  const Network *n = job->net;
  const Method *method = job->method;
  const Lanes *lanes = &worker->lanes;
  Step *w = &worker->step;
  Adjoint *g = &worker->adjoint;
  int64_t S = n->species, R = n->reactions, size = S + 3, m[LANES];
  memset(g->state, 0, sizeof(vec) * S);
  memset(g->rates, 0, sizeof(vec) * R);
  for (int l = 0; l < LANES; l++) m[l] = lanes->next_time[l] - 1;
  for (;;) {
    vec h = splat(1);
    mask active = {0};
    int any = 0;
    memset(g->start, 0, sizeof(vec) * (S + n->pools));
    memset(g->du, 0, sizeof(vec) * MAX_STAGES * S);
    for (int l = 0; l < LANES; l++) {
      Log *log = &worker->log[l];
      if (lanes->cell[l] < 0 || !log->used) continue;
      any = 1;
      active[l] = -1;
      const double *entry = log->steps + --log->used * size, t = entry[0], t1 = entry[2];
      h[l] = entry[1];
      for (int64_t i = 0; i < S; i++) w->y[i][l] = entry[3 + i];
      const double *ts = lanes->ts[l];
      for (; m[l] >= 0 && ts[m[l]] > t; m[l]--) {
        const double *c = job->cotangent + (lanes->cell[l] * job->times + m[l]) * S;
        double s = ts[m[l]] == t1 ? 1 : (ts[m[l]] - t) / h[l];
        for (int64_t i = 0; i < S; i++) {
          g->state[i][l] += s * c[i];
          g->start[i][l] += (1 - s) * c[i];
        }
        double weight = s * (1 - s);
        for (int64_t b = 0; weight != 0 && b < method->curves; b++, weight *= s)
          for (int64_t q = 0; q < method->stages; q++)
            for (int64_t i = 0; i < S; i++)
              g->du[q * S + i][l] += weight * method->curve[b][q] * c[i];
      }
    }
    if (!any) break;
    attempt(n, method, h, w);
    if (job->settings->negative == PROJECT)
      for (int64_t i = 0; i < S; i++) g->state[i] = pick(active & (w->y1[i] < 0), splat(0), g->state[i]);
    transpose(n, method, h, active, w, g);
  }
  for (int l = 0; l < LANES; l++) {
    int64_t cell = lanes->cell[l];
    if (cell < 0) continue;
    for (; m[l] >= 0; m[l]--)
      for (int64_t i = 0; i < S; i++)
        g->state[i][l] += job->cotangent[(cell * job->times + m[l]) * S + i];
    for (int64_t i = 0; i < S; i++) job->pulled_y0[cell * S + i] = g->state[i][l];
    for (int64_t j = 0; j < R; j++) job->pulled_k[cell * R + j] = g->rates[j][l];
  }
}

/* writes the outputs that lane l has passed on its step of length h to t1 */
static void write_out(Worker *worker, int l, double h, double t1) {
  const Job *job = worker->job;
  const Step *w = &worker->step;
  Lanes *lanes = &worker->lanes;
  int64_t S = job->net->species, m = lanes->next_time[l];
  const double *ts = lanes->ts[l];
  double *out = job->ys + (lanes->cell[l] * job->times + m) * S;
  for (; m < job->times && ts[m] <= t1; m++, out += S) {
    if (ts[m] == t1) {
      for (int64_t i = 0; i < S; i++) out[i] = w->y1[i][l];
      continue;
    }
    double s = (ts[m] - lanes->t[l]) / h;
    for (int64_t i = 0; i < S; i++) {
      double value = 0;
      for (int64_t b = job->method->curves - 1; b >= 0; b--)
        value = worker->curve[b * S + i][l] + s * value;
      out[i] = (1 - s) * w->y[i][l] + s * (w->y1[i][l] + (1 - s) * value);
    }
  }
  lanes->next_time[l] = m;
}

/* the step each lane attempts next: what it wants, or what is left to where it must stop */
static vec choose(const Worker *worker) {
  const Lanes *lanes = &worker->lanes;
  vec h = lanes->h;
  for (int l = 0; l < LANES; l++)
    if (lanes->active[l]) {
      double stop = worker->job->settings->land ? lanes->ts[l][lanes->next_time[l]] : lanes->end[l];
      double left = stop - lanes->t[l];
      if (h[l] > left * (1 - 1e-12)) h[l] = left;
      else if (h[l] > 0.5 * left) h[l] = 0.5 * left; /* two even steps, not one and a sliver */
    }
  return h;
}

/* root mean square of the error over the tolerances, by lane; and how far below zero a
 * concentration is, where that is refused */
static vec error_norm(const Worker *worker) {
  const Network *n = worker->job->net;
  const Step *w = &worker->step;
  const vec *last = w->u + (worker->job->method->stages - 1) * n->species;
  vec sum = splat(0), norm = splat(0), dip = splat(0);
  for (int64_t i = 0; i < n->species; i++) {
    vec largest = larger(size_of(w->y[i]), size_of(w->y1[i]));
    vec error = last[i] / (worker->atol[i] + worker->lanes.rtol * largest);
    sum += error * error;
    dip = larger(dip, -w->y1[i] / worker->atol[i]);
  }
  for (int l = 0; l < LANES; l++) norm[l] = sqrt(sum[l] / n->species);
  return worker->job->settings->negative == REJECT ? larger(norm, pick(dip > 1, dip, norm)) : norm;
}

static void make_curves(Worker *worker) {
  const Method *method = worker->job->method;
  int64_t S = worker->job->net->species;
  for (int64_t b = 0; b < method->curves; b++)
    for (int64_t i = 0; i < S; i++) {
      vec value = splat(0);
      for (int64_t q = 0; q < method->stages; q++)
        value += method->curve[b][q] * worker->step.u[q * S + i];
      worker->curve[b * S + i] = value;
    }
}

/* what lane l makes of a step of length h with this error; 0 when there is no memory */
static int judge(Worker *worker, int l, double h, double norm) {
  const Job *job = worker->job;
  Lanes *lanes = &worker->lanes;
  int finite = isfinite(norm);
  double factor = finite ? 0.9 * pow(norm > 1e-10 ? norm : 1e-10, -1.0 / job->method->order) : 0.1;
  if (factor < 0.2) factor = finite ? 0.2 : 0.1;
  if (!(norm <= 1)) {
    lanes->rejected[l]++;
    lanes->h[l] = h * (factor < 0.9 ? factor : 0.5);
    lanes->after_rejection[l] = 1;
  } else {
    double stop = job->settings->land ? lanes->ts[l][lanes->next_time[l]] : lanes->end[l];
    double t1 = h == stop - lanes->t[l] ? stop : lanes->t[l] + h;
    if (job->tangents) carry(worker, l, h, t1);
    if (job->cotangent && !record(worker, l, h, t1)) return 0;
    write_out(worker, l, h, t1);
    double most = lanes->after_rejection[l] ? 1.0 : 6.0;
    double proposed = h * (factor < most ? factor : most);
    /* a step that was cut short to land says little about the length that errors allow */
    if (proposed > lanes->h[l] || h >= 0.9 * lanes->h[l] || factor < 1) lanes->h[l] = proposed;
    lanes->after_rejection[l] = 0;
    lanes->accepted[l]++;
    lanes->t[l] = t1;
    for (int64_t i = 0; i < job->net->species; i++) worker->step.y[i][l] = worker->step.y1[i][l];
  }
  double least = 1e-30 * (lanes->end[l] - job->t0[lanes->cell[l]]);
  int status = -1;
  if (lanes->next_time[l] >= job->times) status = SUCCESS;
  else if (lanes->accepted[l] + lanes->rejected[l] >= job->settings->max_steps)
    status = TOO_MANY_STEPS;
  else if (lanes->h[l] < least || lanes->t[l] + lanes->h[l] == lanes->t[l])
    status = finite ? STEP_TOO_SMALL : NOT_FINITE;
  if (status >= 0) {
    unload(worker, l, status);
    if (!job->cotangent) load(worker, l); /* reverse mode goes back with all lanes together */
  }
  return 1;
}

static int integrate(Worker *worker) {
  const Job *job = worker->job;
  Lanes *lanes = &worker->lanes;
  for (int l = 0; l < LANES; l++) {
    load(worker, l);
    worker->log[l].used = 0;
  }
  for (;;) {
    int any = 0, wanted = 0;
    for (int l = 0; l < LANES; l++) any |= lanes->active[l];
    if (!any) {
      if (!job->cotangent) return 1;
      go_back(worker);
      if (atomic_load(job->next) >= job->cells) return 1;
      for (int l = 0; l < LANES; l++) {
        load(worker, l);
        worker->log[l].used = 0;
      }
      continue;
    }
    vec h = choose(worker);
    attempt(job->net, job->method, h, &worker->step);
    vec norm = error_norm(worker);
    if (job->settings->negative == PROJECT)
      for (int64_t i = 0; i < job->net->species; i++)
        worker->step.y1[i] = larger(worker->step.y1[i], splat(0));
    for (int l = 0; l < LANES; l++)
      wanted |= lanes->active[l] && norm[l] <= 1 &&
                lanes->ts[l][lanes->next_time[l]] < lanes->t[l] + h[l];
    if (wanted) make_curves(worker);
    for (int l = 0; l < LANES; l++)
      if (lanes->active[l] && !judge(worker, l, h[l], norm[l])) return 0;
  }
}

static void *work(void *argument) {
  const Job *job = argument;
  const Network *n = job->net;
  Worker worker = {.job = job, .blocks = (job->tangents + LANES - 1) / LANES};
  int64_t S = n->species, total = step_size(n) + 5 * S + worker.blocks * LANES * S;
  if (job->tangents) total += tangent_size(n, job->method);
  if (job->cotangent) total += adjoint_size(n);
  vec *memory = NULL;
  if (posix_memalign((void **)&memory, sizeof(vec), sizeof(vec) * total)) return (void *)1;
  memset(memory, 0, sizeof(vec) * total);
  vec *p = place_step(n, memory, &worker.step);
  worker.atol = p; p += S;
  worker.curve = p; p += 4 * S;
  worker.sensitivity = p; p += worker.blocks * LANES * S;
  if (job->tangents) p = place_tangent(n, job->method, p, &worker.tangent);
  if (job->cotangent) p = place_adjoint(n, p, &worker.adjoint);
#if defined(__SSE2__)
  unsigned int control = _mm_getcsr();
  _mm_setcsr(control | 0x8040); /* no denormal numbers: they are slow and below every tolerance */
#endif
  int done = integrate(&worker);
#if defined(__SSE2__)
  _mm_setcsr(control);
#endif
  for (int l = 0; l < LANES; l++) free(worker.log[l].steps);
  free(memory);
  return done ? NULL : (void *)1;
}

static const void *data(XLA_FFI_CallFrame *frame, int i) {
  return ((XLA_FFI_Buffer *)frame->args.args[i])->data;
}

static int64_t extent(XLA_FFI_CallFrame *frame, int i, int axis) {
  return ((XLA_FFI_Buffer *)frame->args.args[i])->dims[axis];
}

static int64_t each(XLA_FFI_CallFrame *frame, int i, int64_t row) {
  return extent(frame, i, 0) == 1 ? 0 : row;
}

static void *result(XLA_FFI_CallFrame *frame, int i) {
  return ((XLA_FFI_Buffer *)frame->rets.rets[i])->data;
}

static XLA_FFI_Error *complain(XLA_FFI_CallFrame *frame, const char *message) {
  XLA_FFI_Error_Create_Args args = {sizeof(args), NULL, message, XLA_FFI_Error_Code_INTERNAL};
  return frame->api->XLA_FFI_Error_Create(&args);
}

/* arguments: y0 [N, S], k [N or 1, R], ts [N or 1, T], t0 [N], rtol [N or 1], atol [N or 1, S],
 * numbers, tables, and for sensitivities dy0 [N, P, S], dk [N or 1, P, R];
 * or for reverse mode the cotangent of ys [N, T, S];
 * results: ys [N, T, S], end state [N, S], end time [N], status [N, 3], and dys [N, P, T, S] or the
 * cotangents of y0 [N, S] and of k [N, R] */
XLA_FFI_Error *jaxchem_rosenbrock(XLA_FFI_CallFrame *frame) {
  XLA_FFI_Extension_Base *extension = frame->extension_start;
  if (extension && extension->type == XLA_FFI_Extension_Metadata) {
    XLA_FFI_Metadata *metadata = ((XLA_FFI_Metadata_Extension *)extension)->metadata;
    metadata->api_version.major_version = XLA_FFI_API_MAJOR;
    metadata->api_version.minor_version = XLA_FFI_API_MINOR;
    return NULL;
  }
  const double *number = data(frame, 6);
  const int32_t *table = data(frame, 7);
  Settings settings = {number[0], number[1], number[2], number[3]};
  int64_t threads = (int64_t)number[4];
  Method method = {.stages = (int64_t)number[5], .curves = (int64_t)number[6],
                   .order = number[7], .gamma = number[8]};
  number += 9;
  for (int64_t s = 0; s < method.stages; s++, number += method.stages)
    memcpy(method.a[s], number, sizeof(double) * method.stages);
  for (int64_t s = 0; s < method.stages; s++, number += method.stages)
    memcpy(method.c[s], number, sizeof(double) * method.stages);
  for (int64_t b = 0; b < method.curves; b++, number += method.stages)
    memcpy(method.curve[b], number, sizeof(double) * method.stages);

  Network n = {.species = table[0], .reactions = table[1], .slots = table[2], .pools = table[3],
               .entries = table[4], .fill = table[5]};
  table += 6;
#define TABLE(name, count) n.name = table; table += (count)
  TABLE(reactants, n.reactions * n.slots);
  TABLE(pool_start, n.pools + 1); TABLE(pool_member, n.pool_start[n.pools]);
  TABLE(pool_of, n.reactions);
  TABLE(change_start, n.species + 1); TABLE(change_reaction, n.change_start[n.species]);
  TABLE(entry_start, n.entries + 1); TABLE(entry_partial, n.entry_start[n.entries]);
  TABLE(entry_slot, n.entries);
  TABLE(diagonal, n.species); TABLE(order, n.species); TABLE(kind, n.fill);
  TABLE(update_start, n.fill + 1); TABLE(update_lower, n.update_start[n.fill]);
  TABLE(update_upper, n.update_start[n.fill]);
  TABLE(lower_start, n.species + 1); TABLE(lower_slot, n.lower_start[n.species]);
  TABLE(lower_column, n.lower_start[n.species]);
  TABLE(upper_start, n.species + 1); TABLE(upper_slot, n.upper_start[n.species]);
  TABLE(upper_column, n.upper_start[n.species]);
#undef TABLE
  n.change = number;
  n.entry_factor = number + n.change_start[n.species];
  if (n.slots + 1 > MAX_SLOTS || method.stages > MAX_STAGES)
    return complain(frame, "jaxchem: a reaction has more reactants than the kernel takes");

  atomic_long next = 0;
  Job job = {.net = &n, .method = &method, .settings = &settings,
             .cells = extent(frame, 0, 0), .times = extent(frame, 2, 1),
             .each_k = each(frame, 1, n.reactions), .each_ts = each(frame, 2, extent(frame, 2, 1)),
             .each_rtol = each(frame, 4, 1), .each_atol = each(frame, 5, n.species),
             .y0 = data(frame, 0), .k = data(frame, 1), .ts = data(frame, 2), .t0 = data(frame, 3),
             .rtol = data(frame, 4), .atol = data(frame, 5), .ys = result(frame, 0), .end_state = result(frame, 1),
             .end_time = result(frame, 2), .status = result(frame, 3), .next = &next};
  if (frame->args.size == 9) {
    job.cotangent = data(frame, 8);
    job.pulled_y0 = result(frame, 4);
    job.pulled_k = result(frame, 5);
  } else if (frame->args.size == 10) {
    job.tangents = extent(frame, 8, 1);
    job.each_dk = each(frame, 9, job.tangents * n.reactions);
    job.dy0 = data(frame, 8);
    job.dk = data(frame, 9);
    job.dys = result(frame, 4);
  }
  int64_t most = (job.cells + LANES - 1) / LANES;
  if (threads > most) threads = most;
  if (threads < 1) threads = 1;
  pthread_t *others = calloc(threads, sizeof(pthread_t));
  int64_t started = 0;
  for (; others && started < threads - 1; started++)
    if (pthread_create(&others[started], NULL, work, &job)) break;
  void *failed = work(&job);
  for (int64_t i = 0; i < started; i++) {
    void *outcome;
    pthread_join(others[i], &outcome);
    if (outcome) failed = outcome;
  }
  free(others);
  return failed ? complain(frame, "jaxchem: out of memory") : NULL;
}
