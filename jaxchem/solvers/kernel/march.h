/* Cells marched through their output times: each lane of an `el` holds one cell with a time, a step
 * and an error of its own, so the result of a cell does not depend on its neighbours; a lane whose
 * cell has ended takes the next one. */
#include <stdlib.h>
#if defined(__SSE2__)
#include <xmmintrin.h>
#endif

#include "derivative.h"
#include "interrupt.h"

#define LEAST_SCALE 1e-290 /* an idle species whose absolute tolerance is zero has no error */

typedef struct {
  int64_t cell[CELLS], next_time[CELLS], accepted[CELLS], rejected[CELLS], active[CELLS];
  int64_t after_rejection[CELLS];
  const double *ts[CELLS];
  double end[CELLS];
  el h, rtol;
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
  Derivative derivative;
  Varying linear;
  Log log[CELLS];
  el *atol, *scratch, *curve;         /* [width], [width], [4 width] */
} Worker;

#if DIRECTIONS == 1
#define VARYING(worker) ((worker)->job->at_stage ? &(worker)->linear : NULL)
#else
#define VARYING(worker) NULL /* only coefficients that are constant are differentiated so */
#endif

/* what `state` of the network is in direction q of the cell in lane l */
#define OF_STATE(array, n, l, q, i) \
  DIR_AT((array)[((q) / DIRECTIONS) * (n)->width + (n)->place[i]], l, q)
#define OF_REACTION(array, n, l, q, j) DIR_AT((array)[((q) / DIRECTIONS) * (n)->reactions + (j)], l, q)

static void unload(Worker *worker, int l, int status) {
  const Job *job = worker->job;
  const Network *n = job->net;
  Lanes *lanes = &worker->lanes;
  int64_t cell = lanes->cell[l];
  double *out = job->ys + cell * job->times * n->states;
  for (int64_t m = lanes->next_time[l]; m < job->times; m++)
    for (int64_t i = 0; i < n->states; i++) {
      out[m * n->states + i] = INFINITY;
      for (int64_t q = 0; q < job->tangents; q++)
        job->dys[((cell * job->tangents + q) * job->times + m) * n->states + i] = NAN;
    }
  for (int64_t i = 0; i < n->states; i++)
    job->end_state[cell * n->states + i] = AT(worker->step.y[n->place[i]], l);
  job->end_time[cell] = AT(worker->step.t, l);
  job->end_step[cell] = AT(lanes->h, l);
  job->status[3 * cell] = status;
  job->status[3 * cell + 1] = (int32_t)lanes->accepted[l];
  job->status[3 * cell + 2] = (int32_t)lanes->rejected[l];
  lanes->active[l] = 0;
}

#define SHORTEST 1e-30 /* of all the time: a shorter step means a tendency that is no number */

/* the first step of Hairer, Norsett & Wanner (1993, II.4) */
static double first_step(Worker *worker, int l) {
  const Job *job = worker->job;
  const Network *n = job->net;
  Step *w = &worker->step;
  el *slope = worker->scratch;
  total_pools(n, w->y);
  memset(slope, 0, sizeof(el) * n->width);
  if (job->program) {
    evaluate(job->program, n, w->t, w->y, w);
    for (int64_t i = 0; i < job->program->adds; i++)
      slope[job->program->add_place[i]] += w->slots[job->program->add_slot[i]];
  }
  add_tendency(n, w->chemistry.k, w->y, w->chemistry.flux, slope);
  double d0 = 0, d1 = 0;
  for (int64_t s = 0; s < n->states; s++) {
    int64_t i = n->place[s];
    double scale = AT(worker->atol[i], l) + AT(worker->lanes.rtol, l) * fabs(AT(w->y[i], l));
    if (scale < LEAST_SCALE) scale = LEAST_SCALE;
    d0 += (AT(w->y[i], l) / scale) * (AT(w->y[i], l) / scale);
    d1 += (AT(slope[i], l) / scale) * (AT(slope[i], l) / scale);
  }
  double span = worker->lanes.end[l] - AT(w->t, l), least = SHORTEST * worker->lanes.end[l];
  if (!(d1 > 0 && d0 > 0)) return 1e-6 * span;
  double guess = 0.01 * sqrt(d0 / d1); /* too cautious where nothing is there yet */
  return guess > least ? guess : least;
}

/* gives lane l the next cell */
static void load(Worker *worker, int l) {
  const Job *job = worker->job;
  const Network *n = job->net;
  const Program *p = job->program;
  Lanes *lanes = &worker->lanes;
  Step *w = &worker->step;
  worker->log[l].used = 0;
  for (;;) {
    int64_t cell = atomic_fetch_add(job->next, 1), S = n->states;
    if (cell >= job->cells) {
      lanes->cell[l] = -1;
      lanes->active[l] = 0;
      AT(w->t, l) = 0;
      AT(lanes->h, l) = AT(lanes->rtol, l) = 1;
      return;
    }
    const double *y0 = job->y0 + cell * S, *atol = job->atol + cell * job->each_atol;
    const double *k = job->k + cell * job->each_k;
    const double *ts = lanes->ts[l] = job->ts + cell * job->each_ts;
    for (int64_t i = 0; i < S; i++) {
      AT(w->y[n->place[i]], l) = y0[i];
      AT(worker->atol[n->place[i]], l) = atol[i];
    }
    for (int64_t j = 0; j < n->reactions; j++) AT(w->chemistry.k[j], l) = k[n->reaction[j]];
    lanes->cell[l] = cell;
    lanes->active[l] = 1;
    AT(lanes->rtol, l) = job->rtol[cell * job->each_rtol];
    lanes->end[l] = ts[job->times - 1];
    lanes->after_rejection[l] = 0;
    lanes->accepted[l] = lanes->rejected[l] = lanes->next_time[l] = 0;
    AT(w->clock, l) = job->t0[cell];
    AT(w->t, l) = 0;
    if (p) {
      const double *parameters = job->parameters + cell * job->each_parameter;
      for (int64_t i = 0; i < p->parameters; i++)
        AT(w->slots[p->parameter_slot + i], l) = parameters[i];
#if DIRECTIONS == 1
      if (job->at_stage) load_linear(&worker->linear, p, parameters, l);
#endif
      run_part(&p->tape, ONCE, w->slots);
      for (int64_t j = 0; j < p->steady; j++)
        AT(w->chemistry.k[p->steady_at[j]], l) = AT(w->slots[p->steady_slot[j]], l);
    }
    double *out = job->ys + cell * job->times * S;
    while (lanes->next_time[l] < job->times && ts[lanes->next_time[l]] <= 0)
      memcpy(out + S * lanes->next_time[l]++, y0, sizeof(double) * S);
    for (int64_t q = 0; q < job->tangents; q++) {
      const double *dy0 = job->dy0 + (cell * job->tangents + q) * S;
      const double *dk = job->dk + cell * job->each_dk + q * n->reactions;
      double *dys = job->dys + (cell * job->tangents + q) * job->times * S;
      for (int64_t i = 0; i < S; i++) OF_STATE(worker->derivative.change, n, l, q, i) = dy0[i];
      for (int64_t j = 0; j < n->reactions; j++)
        OF_REACTION(worker->derivative.rates, n, l, q, j) = dk[n->reaction[j]];
#if DIRECTIONS == 1
      if (job->at_stage)
        for (int64_t i = 0; i < p->parameters; i++)
          AT(worker->linear.parameters[q * p->parameters + i], l) =
              job->dparameters[cell * job->each_dparameter + q * p->parameters + i];
#endif
      for (int64_t m = 0; m < lanes->next_time[l]; m++) memcpy(dys + m * S, dy0, sizeof(double) * S);
    }
    if (lanes->next_time[l] < job->times) break;
    unload(worker, l, SUCCESS);
    if (job->cotangents) return; /* its cotangents are still to be pulled back */
  }
  double span = lanes->end[l] - AT(w->t, l), h = job->first_step[lanes->cell[l] * job->each_step];
  if (!(h > 0)) h = first_step(worker, l);
  AT(lanes->h, l) = h > 0 && h < span ? h : (h >= span ? span : 1e-6 * span);
}

/* where lane l must stop: at its next output, or at the last */
static double stop_of(const Worker *worker, int l) {
  const Lanes *lanes = &worker->lanes;
  return worker->job->settings.land ? lanes->ts[l][lanes->next_time[l]] : lanes->end[l];
}

/* the end of a step of length h, which is exactly an output time where it was cut to be one */
static double step_end(const Worker *worker, int l, double h) {
  double t = AT(worker->step.t, l), stop = stop_of(worker, l);
  return h == stop - t ? stop : t + h;
}

/* carries the sensitivities over the step that the lanes in `taken` have just made, and writes them
 * out for the output times in it */
static void carry(Worker *worker, el h, mask taken) {
  const Job *job = worker->job;
  const Lanes *lanes = &worker->lanes;
  const Network *n = job->net;
  const Method *method = job->method;
  Derivative *g = &worker->derivative;
  int64_t S = n->states, W = n->width;
  differentiate(n, method, h, &worker->step, g, VARYING(worker));
  if (job->settings.negative == PROJECT)
    for (int64_t b = 0; b < g->blocks; b++)
      for (int64_t s = 0; s < S; s++) {
        int64_t i = n->place[s];
        dir *after = g->after + b * W + i;
        *after = DIR_PICK(IF(worker->step.y1[i] < 0), (dir){0}, *after);
      }
  for (int l = 0; l < CELLS; l++) {
    if (!AT(taken, l)) continue;
    const double *ts = lanes->ts[l];
    double t = AT(worker->step.t, l), step = AT(h, l);
    double t1 = step_end(worker, l, step);
    for (int64_t m = lanes->next_time[l]; m < job->times && ts[m] <= t1; m++)
      for (int64_t q = 0; q < job->tangents; q++) {
        const dir *du = g->du + (q / DIRECTIONS) * MAX_STAGES * W;
        double *dys = job->dys + ((lanes->cell[l] * job->tangents + q) * job->times + m) * S;
        double s = (ts[m] - t) / step;
        for (int64_t i = 0; i < S; i++) {
          double value = OF_STATE(g->after, n, l, q, i);
          if (ts[m] < t1) {
            double curve = 0;
            for (int64_t b = method->curves - 1; b >= 0; b--) {
              curve *= s;
              for (int64_t e = 0; e < method->stages; e++)
                curve += method->curve[b][e] * DIR_AT(du[e * W + n->place[i]], l, q);
            }
            value = (1 - s) * OF_STATE(g->change, n, l, q, i) + s * (value + (1 - s) * curve);
          }
          dys[i] = value;
        }
      }
  }
  for (int64_t i = 0; i < g->blocks * W; i++)
    g->change[i] = DIR_PICK(taken, g->after[i], g->change[i]);
}

/* keeps a step for the way back */
static int record(Worker *worker, int l, double h, double t1) {
  int64_t W = worker->job->net->width, size = W + 3;
  Log *log = &worker->log[l];
  if ((log->used + 1) * size > log->room) {
    int64_t room = 2 * log->room + 64 * size;
    double *grown = realloc(log->steps, sizeof(double) * room);
    if (!grown) return 0;
    log->steps = grown;
    log->room = room;
  }
  double *entry = log->steps + log->used++ * size;
  entry[0] = AT(worker->step.t, l);
  entry[1] = h;
  entry[2] = t1;
  for (int64_t i = 0; i < W; i++) entry[3 + i] = AT(worker->step.y[i], l);
  return 1;
}

/* reverse mode: from the last step of every lane back to its start. `after` is the cotangent of the
 * end of a step, and becomes that of its start. */
static void go_back(Worker *worker) {
  const Job *job = worker->job;
  const Network *n = job->net;
  const Method *method = job->method;
  const Lanes *lanes = &worker->lanes;
  Step *w = &worker->step;
  Derivative *g = &worker->derivative;
  int64_t S = n->states, R = n->reactions, W = n->width, P = job->cotangents, m[CELLS];
  memset(g->after, 0, sizeof(dir) * g->blocks * W);
  memset(g->rates, 0, sizeof(dir) * g->blocks * R);
#if DIRECTIONS == 1
  if (job->at_stage)
    memset(worker->linear.parameters, 0, sizeof(dir) * g->blocks * job->program->parameters);
#endif
  for (int l = 0; l < CELLS; l++) m[l] = lanes->next_time[l] - 1;
  while (!interrupted(job->heard)) {
    el h = splat(1);
    mask active = {0};
    int any = 0;
    memset(g->start, 0, sizeof(dir) * g->blocks * W);
    memset(g->du, 0, sizeof(dir) * g->blocks * MAX_STAGES * W);
    for (int l = 0; l < CELLS; l++) {
      Log *log = &worker->log[l];
      if (lanes->cell[l] < 0 || !log->used) continue;
      any = 1;
      AT(active, l) = -1;
      const double *entry = log->steps + --log->used * (W + 3), t = entry[0], t1 = entry[2];
      AT(h, l) = entry[1];
      AT(w->t, l) = t;
      for (int64_t i = 0; i < W; i++) AT(w->y[i], l) = entry[3 + i];
      const double *ts = lanes->ts[l];
      for (; m[l] >= 0 && ts[m[l]] > t; m[l]--) {
        double s = ts[m[l]] == t1 ? 1 : (ts[m[l]] - t) / entry[1];
        for (int64_t q = 0; q < P; q++) {
          const double *c = job->cotangent + ((lanes->cell[l] * P + q) * job->times + m[l]) * S;
          dir *du = g->du + (q / DIRECTIONS) * MAX_STAGES * W;
          for (int64_t i = 0; i < S; i++) {
            OF_STATE(g->after, n, l, q, i) += s * c[i];
            if (s != 1) OF_STATE(g->start, n, l, q, i) += (1 - s) * c[i];
          }
          double weight = s * (1 - s);
          for (int64_t b = 0; weight != 0 && b < method->curves; b++, weight *= s)
            for (int64_t e = 0; e < method->stages; e++)
              for (int64_t i = 0; i < S; i++)
                DIR_AT(du[e * W + n->place[i]], l, q) += weight * method->curve[b][e] * c[i];
        }
      }
    }
    if (!any) break;
    attempt(n, method, job->program, h, w);
    /* lanes that are at their start keep what they have */
    memcpy(g->change, g->after, sizeof(dir) * g->blocks * W);
    for (int64_t b = 0; b < g->blocks; b++)
      for (int64_t i = 0; i < W; i++) {
        mask kept = active;
        if (job->settings.negative == PROJECT) kept &= ~IF(w->y1[i] < 0);
        g->after[b * W + i] = DIR_PICK(kept, g->after[b * W + i], (dir){0});
      }
    transpose(n, method, h, active, w, g, VARYING(worker));
    for (int64_t i = 0; i < g->blocks * W; i++)
      g->after[i] = DIR_PICK(active, g->start[i], g->change[i]);
  }
  for (int l = 0; l < CELLS; l++) {
    int64_t cell = lanes->cell[l];
    if (cell < 0) continue;
    for (int64_t q = 0; q < P; q++) {
      for (int64_t e = m[l]; e >= 0; e--)
        for (int64_t i = 0; i < S; i++)
          OF_STATE(g->after, n, l, q, i) += job->cotangent[((cell * P + q) * job->times + e) * S + i];
      for (int64_t i = 0; i < S; i++)
        job->pulled_y0[(cell * P + q) * S + i] = OF_STATE(g->after, n, l, q, i);
      for (int64_t j = 0; j < R; j++)
        job->pulled_k[(cell * P + q) * R + n->reaction[j]] = OF_REACTION(g->rates, n, l, q, j);
#if DIRECTIONS == 1
      if (job->at_stage)
        for (int64_t i = 0, Q = job->program->parameters; i < Q; i++)
          job->pulled_parameters[(cell * P + q) * Q + i] = AT(worker->linear.parameters[q * Q + i], l);
#endif
    }
  }
}

/* writes the outputs that lane l has passed on its step of length h to t1 */
static void write_out(Worker *worker, int l, double h, double t1) {
  const Job *job = worker->job;
  const Network *n = job->net;
  const Step *w = &worker->step;
  Lanes *lanes = &worker->lanes;
  int64_t S = n->states, m = lanes->next_time[l];
  const double *ts = lanes->ts[l];
  double *out = job->ys + (lanes->cell[l] * job->times + m) * S;
  for (; m < job->times && ts[m] <= t1; m++, out += S) {
    if (ts[m] == t1) {
      for (int64_t i = 0; i < S; i++) out[i] = AT(w->y1[n->place[i]], l);
      continue;
    }
    double s = (ts[m] - AT(w->t, l)) / h;
    for (int64_t i = 0; i < S; i++) {
      int64_t at = n->place[i];
      double value = 0;
      for (int64_t b = job->method->curves - 1; b >= 0; b--)
        value = AT(worker->curve[b * n->width + at], l) + s * value;
      out[i] = (1 - s) * AT(w->y[at], l) + s * (AT(w->y1[at], l) + (1 - s) * value);
    }
  }
  lanes->next_time[l] = m;
}

/* the step each lane attempts next: what it wants, or what is left to where it must stop */
static el choose(const Worker *worker) {
  const Lanes *lanes = &worker->lanes;
  el h = lanes->h;
  for (int l = 0; l < CELLS; l++)
    if (lanes->active[l]) {
      double left = stop_of(worker, l) - AT(worker->step.t, l);
      if (AT(h, l) > left * (1 - 1e-12)) AT(h, l) = left;
      else if (AT(h, l) > 0.5 * left) AT(h, l) = 0.5 * left; /* two even steps, not one and a sliver */
    }
  return h;
}

/* root mean square of the error over the tolerances, by lane; and how far below zero a
 * concentration is, where that is refused. Places that are no states have infinite tolerances. */
static el error_norm(const Worker *worker) {
  const Network *n = worker->job->net;
  const Step *w = &worker->step;
  const el *last = w->u + (worker->job->method->stages - 1) * n->width;
  el sum = splat(0), norm = splat(0), dip = splat(0), least = splat(LEAST_SCALE);
  el *square = worker->scratch; /* kept, so that every build rounds it before it is added */
  for (int64_t i = 0; i < ROWS * n->blocks; i++) {
    el largest = larger(size_of(w->y[i]), size_of(w->y1[i]));
    el error = last[i] / larger(worker->atol[i] + worker->lanes.rtol * largest, least);
    square[i] = error * error;
  }
  for (int64_t i = 0; i < ROWS * n->blocks; i++) sum += square[i];
  for (int l = 0; l < CELLS; l++) AT(norm, l) = sqrt(AT(sum, l) / n->states);
  if (worker->job->settings.negative != REJECT) return norm;
  for (int64_t i = 0; i < ROWS * n->blocks; i++)
    dip = larger(dip, -w->y1[i] / larger(worker->atol[i], least));
  return larger(norm, pick(IF(dip > 1), dip, norm));
}

static void make_curves(Worker *worker) {
  const Method *method = worker->job->method;
  int64_t W = worker->job->net->width;
  for (int64_t b = 0; b < method->curves; b++)
    for (int64_t i = 0; i < W; i++) {
      el value = splat(0);
      for (int64_t q = 0; q < method->stages; q++)
        value += method->curve[b][q] * worker->step.u[q * W + i];
      worker->curve[b * W + i] = value;
    }
}

/* what lane l makes of a step of length h with this error; 0 when there is no memory */
static int judge(Worker *worker, int l, double h, double norm) {
  const Job *job = worker->job;
  Lanes *lanes = &worker->lanes;
  Step *w = &worker->step;
  int finite = isfinite(norm);
  double factor = finite ? 0.9 * pow(norm > 1e-10 ? norm : 1e-10, -1.0 / job->method->order) : 0.1;
  if (factor < 0.2) factor = finite ? 0.2 : 0.1;
  if (!finite) w->chemistry.dirty = 1;
  if (!(norm <= 1)) {
    lanes->rejected[l]++;
    AT(lanes->h, l) = h * (factor < 0.9 ? factor : 0.5);
    lanes->after_rejection[l] = 1;
  } else {
    double t1 = step_end(worker, l, h), wanted = AT(lanes->h, l);
    if (job->cotangents && !record(worker, l, h, t1)) return 0;
    write_out(worker, l, h, t1);
    double most = lanes->after_rejection[l] ? 1.0 : 6.0;
    double proposed = h * (factor < most ? factor : most);
    /* a step that was cut short to land says little about the length that errors allow */
    if (proposed > wanted || h >= 0.9 * wanted || factor < 1) AT(lanes->h, l) = proposed;
    lanes->after_rejection[l] = 0;
    lanes->accepted[l]++;
    AT(w->t, l) = t1;
#if CELLS == 1
    el *old = w->y;
    w->y = w->y1;
    w->y1 = old;
#else
    for (int64_t i = 0; i < job->net->width; i++) AT(w->y[i], l) = AT(w->y1[i], l);
#endif
  }
  double t = AT(w->t, l), next = AT(lanes->h, l);
  double least = SHORTEST * lanes->end[l];
  int status = -1;
  if (lanes->next_time[l] >= job->times) status = SUCCESS;
  else if (lanes->accepted[l] + lanes->rejected[l] >= job->settings.max_steps)
    status = TOO_MANY_STEPS;
  else if (next < least || t + next == t) status = finite ? STEP_TOO_SMALL : NOT_FINITE;
  if (status >= 0) {
    unload(worker, l, status);
    if (!job->cotangents) load(worker, l); /* reverse mode goes back with all lanes together */
  }
  return 1;
}

static int integrate(Worker *worker) {
  const Job *job = worker->job;
  const Network *n = job->net;
  Lanes *lanes = &worker->lanes;
  Step *w = &worker->step;
  for (int l = 0; l < CELLS; l++) load(worker, l);
  while (!interrupted(job->heard)) {
    int any = 0, some = 0, wanted = 0;
    for (int l = 0; l < CELLS; l++) any |= lanes->active[l] != 0;
    if (!any) {
      if (!job->cotangents) return 1;
      go_back(worker);
      if (atomic_load(job->next) >= job->cells) return 1;
      for (int l = 0; l < CELLS; l++) load(worker, l);
      continue;
    }
    el h = choose(worker);
    attempt(n, job->method, job->program, h, w);
    el norm = error_norm(worker);
    mask taken = {0};
    for (int l = 0; l < CELLS; l++)
      if (lanes->active[l] && AT(norm, l) <= 1) {
        AT(taken, l) = -1;
        some = 1;
        wanted |= lanes->ts[l][lanes->next_time[l]] < step_end(worker, l, AT(h, l));
      }
    if (job->tangents && some) carry(worker, h, taken);
    if (job->settings.negative == PROJECT)
      for (int64_t i = 0; i < n->width; i++) w->y1[i] = larger(w->y1[i], splat(0));
    if (wanted) make_curves(worker);
    for (int l = 0; l < CELLS; l++)
      if (lanes->active[l] && !judge(worker, l, AT(h, l), AT(norm, l))) return 0;
  }
  return 1;
}

void *MARCH(void *argument) {
  const Job *job = argument;
  const Network *n = job->net;
  int64_t directions = job->tangents ? job->tangents : job->cotangents;
  int64_t blocks = (directions + DIRECTIONS - 1) / DIRECTIONS;
  int64_t reals = step_size(n, job->program) + 6 * n->width;
  int64_t bytes = reals * (int64_t)sizeof(el) + 64 + (directions ? derivative_size(n, blocks) : 0);
#if DIRECTIONS == 1
  if (job->at_stage) bytes += (int64_t)sizeof(el) * varying_size(job, blocks);
#endif
  Worker worker = {.job = job};
  char *memory = NULL;
  if (posix_memalign((void **)&memory, 64, bytes)) return (void *)1;
  memset(memory, 0, bytes);
  el *p = place_step(n, job->program, (el *)memory, &worker.step);
#if DIRECTIONS == 1
  if (job->at_stage) p = place_varying(job, blocks, p, &worker.linear);
#endif
  worker.atol = p; p += n->width;
  worker.scratch = p; p += n->width;
  worker.curve = p; p += 4 * n->width;
  if (directions) {
    char *rest = memory + ((char *)p - memory + 63) / 64 * 64;
    place_derivative(n, blocks, rest, &worker.derivative);
  }
  for (int64_t i = 0; i < n->width; i++) worker.atol[i] = splat(INFINITY);
  worker.step.y[n->one] = worker.step.y1[n->one] = splat(1);
  if (job->program) write_constants(&job->program->tape, worker.step.slots);
#if defined(__SSE2__)
  unsigned int control = _mm_getcsr();
  _mm_setcsr(control | 0x8040); /* no denormal numbers: they are slow and below every tolerance */
#endif
  int done = integrate(&worker);
#if defined(__SSE2__)
  _mm_setcsr(control);
#endif
  for (int l = 0; l < CELLS; l++) free(worker.log[l].steps);
  free(memory);
  return done ? NULL : (void *)1;
}
