/* Rosenbrock integration of many cells of one network, several cells to a vector register.
 *
 * Each lane of a vector holds one cell with a time, a step and an error of its own, so the result of
 * a cell does not depend on its neighbours; a lane whose cell has ended takes the next one.
 * Networks, elimination and method come as tables (jaxchem/solvers/native.py packs them), so this
 * file is compiled once for all networks.
 */
#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#if defined(__SSE2__)
#include <xmmintrin.h>
#endif

#include "xla/ffi/api/c_api.h"

#define LANES 8
#define MAX_STAGES 8
#define MAX_SLOTS 8
typedef double vec __attribute__((vector_size(LANES * 8)));
typedef int64_t mask __attribute__((vector_size(LANES * 8)));

enum { SUCCESS = 0, TOO_MANY_STEPS = 1, STEP_TOO_SMALL = 2, NOT_FINITE = 3 };

typedef struct {
  /* sizes: species, reactions, factors of a flux, entries of the Jacobian, entries of L + U */
  int64_t species, reactions, slots, pools, entries, fill;
  const int32_t *reactants;                       /* [reactions, slots], `species` pads */
  const int32_t *pool_start, *pool_member;        /* species of each pool */
  const int32_t *pool_of;                         /* [reactions], `pools` is none */
  const int32_t *change_start, *change_reaction;  /* net production of each species */
  const double *change;
  const int32_t *entry_start, *entry_partial;     /* partial derivatives that make each entry */
  const double *entry_factor;
  const int32_t *entry_slot;                      /* where the entry stands in L + U */
  const int32_t *diagonal;                        /* [species] slot of each pivot */
  const int32_t *order;                           /* [species] species that is eliminated n-th */
  const int32_t *kind;                            /* [fill] pivot column of a lower entry, or -1 */
  const int32_t *update_start, *update_lower, *update_upper;
  const int32_t *lower_start, *lower_slot, *lower_column;
  const int32_t *upper_start, *upper_slot, *upper_column;
} Network;

typedef struct {
  int64_t stages, curves;
  double order, gamma;
  double a[MAX_STAGES][MAX_STAGES], c[MAX_STAGES][MAX_STAGES], curve[4][MAX_STAGES];
} Method;

typedef struct {
  double first_step, max_steps, land;
} Settings;

typedef struct {
  const Network *net;
  const Method *method;
  const Settings *settings;
  int64_t cells, times;
  int64_t each_k, each_ts, each_rtol, each_atol;  /* strides by cell, 0 where all share one row */
  const double *k, *y0, *ts, *t0, *rtol, *atol;
  double *ys, *end_state, *end_time;
  int32_t *status;                                /* [cells, 3] result, accepted, rejected */
  atomic_long *next;
} Job;

static inline vec splat(double x) { return (vec){} + x; }
static inline vec pick(mask m, vec a, vec b) { return (vec)((m & (mask)a) | (~m & (mask)b)); }
static inline vec larger(vec a, vec b) { return pick(a > b, a, b); }
static inline vec size_of(vec a) { return (vec)((mask)a & INT64_MAX); }

/* the value of every factor of reaction j, and how many there are */
static inline int64_t factors(const Network *n, int64_t j, const vec *y, const vec *pool,
                              const vec **value) {
  int64_t count = 0;
  for (int64_t s = 0; s < n->slots; s++) {
    int32_t i = n->reactants[j * n->slots + s];
    if (i < n->species) value[count++] = &y[i];
  }
  if (n->pools && n->pool_of[j] < n->pools) value[count++] = &pool[n->pool_of[j]];
  return count;
}

static void pool_totals(const Network *n, const vec *y, vec *pool) {
  for (int64_t p = 0; p < n->pools; p++) {
    vec total = splat(0);
    for (int32_t e = n->pool_start[p]; e < n->pool_start[p + 1]; e++)
      total += y[n->pool_member[e]];
    pool[p] = total;
  }
}

static void tendency(const Network *n, const vec *k, const vec *y, vec *pool, vec *flux, vec *out) {
  pool_totals(n, y, pool);
  for (int64_t j = 0; j < n->reactions; j++) {
    const vec *value[MAX_SLOTS];
    int64_t count = factors(n, j, y, pool, value);
    vec f = k[j];
    for (int64_t s = 0; s < count; s++) f *= *value[s];
    flux[j] = f;
  }
  for (int64_t i = 0; i < n->species; i++) {
    vec total = splat(0);
    for (int32_t e = n->change_start[i]; e < n->change_start[i + 1]; e++)
      total += n->change[e] * flux[n->change_reaction[e]];
    out[i] = total;
  }
}

/* L + U of 1/(h gamma) - J without pivoting: entries in the order of elimination */
static void factorise(const Network *n, const vec *k, const vec *y, const vec *pool, vec scale,
                      vec *partial, vec *lu, vec *inverse) {
  int64_t slots = n->slots, reactions = n->reactions;
  for (int64_t j = 0; j < reactions; j++) {
    const int32_t *r = n->reactants + j * slots;
    int pooled = n->pools && n->pool_of[j] < n->pools;
    vec base = pooled ? k[j] * pool[n->pool_of[j]] : k[j];
    for (int64_t s = 0; s < slots; s++) {
      vec f = base;
      for (int64_t q = 0; q < slots; q++)
        if (q != s && r[q] < n->species) f *= y[r[q]];
      partial[s * reactions + j] = f;
    }
    if (pooled) {
      vec f = k[j];
      for (int64_t q = 0; q < slots; q++)
        if (r[q] < n->species) f *= y[r[q]];
      partial[slots * reactions + j] = f;
    }
  }
  memset(lu, 0, sizeof(vec) * n->fill);
  for (int64_t e = 0; e < n->entries; e++) {
    vec total = splat(0);
    for (int32_t p = n->entry_start[e]; p < n->entry_start[e + 1]; p++)
      total -= n->entry_factor[p] * partial[n->entry_partial[p]];
    lu[n->entry_slot[e]] = total;
  }
  for (int64_t i = 0; i < n->species; i++) lu[n->diagonal[i]] += scale;
  int64_t pivot = 0;
  for (int64_t e = 0; e < n->fill; e++) {
    vec total = lu[e];
    for (int32_t p = n->update_start[e]; p < n->update_start[e + 1]; p++)
      total -= lu[n->update_lower[p]] * lu[n->update_upper[p]];
    if (n->kind[e] >= 0) total *= inverse[n->kind[e]];
    lu[e] = total;
    if (e == n->diagonal[n->order[pivot]]) inverse[pivot++] = 1.0 / total;
    if (pivot == n->species) break;
  }
}

static void substitute(const Network *n, const vec *lu, const vec *inverse, const vec *right,
                       vec *x, vec *out) {
  for (int64_t i = 0; i < n->species; i++) {
    vec total = right[n->order[i]];
    for (int32_t e = n->lower_start[i]; e < n->lower_start[i + 1]; e++)
      total -= lu[n->lower_slot[e]] * x[n->lower_column[e]];
    x[i] = total;
  }
  for (int64_t i = n->species - 1; i >= 0; i--) {
    vec total = x[i];
    for (int32_t e = n->upper_start[i]; e < n->upper_start[i + 1]; e++)
      total -= lu[n->upper_slot[e]] * x[n->upper_column[e]];
    x[i] = total * inverse[i];
    out[n->order[i]] = x[i];
  }
}

typedef struct {
  int64_t cell[LANES], next_time[LANES], accepted[LANES], rejected[LANES], active[LANES];
  int64_t after_rejection[LANES];
  const double *ts[LANES];
  double end[LANES];
  vec t, h, rtol;
} Lanes;

/* gives lane l the next cell, with the first step of Hairer, Norsett & Wanner (1993, II.4) */
static void load(const Job *job, Lanes *lanes, int l, vec *y, vec *k, vec *atol, vec *scratch_flux,
                 vec *scratch_pool, vec *scratch) {
  const Network *n = job->net;
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
    for (int64_t i = 0; i < n->species; i++) y[i][l] = y0[i];
    for (int64_t i = 0; i < n->species; i++) atol[i][l] = tolerance[i];
    for (int64_t j = 0; j < n->reactions; j++) k[j][l] = rates[j];
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
    if (lanes->next_time[l] < job->times) break;
    memcpy(job->end_state + cell * n->species, y0, sizeof(double) * n->species);
    job->end_time[cell] = t0;
    job->status[3 * cell] = job->status[3 * cell + 1] = job->status[3 * cell + 2] = 0;
  }
  double span = lanes->end[l] - lanes->t[l], h = job->settings->first_step;
  if (!(h > 0)) {
    tendency(n, k, y, scratch_pool, scratch_flux, scratch);
    double d0 = 0, d1 = 0;
    for (int64_t i = 0; i < n->species; i++) {
      double scale = atol[i][l] + lanes->rtol[l] * fabs(y[i][l]);
      d0 += (y[i][l] / scale) * (y[i][l] / scale);
      d1 += (scratch[i][l] / scale) * (scratch[i][l] / scale);
    }
    h = d1 > 0 && d0 > 0 ? 0.01 * sqrt(d0 / d1) : 1e-6 * span;
  }
  lanes->h[l] = h > 0 && h < span ? h : (h >= span ? span : 1e-6 * span);
}

static void unload(const Job *job, Lanes *lanes, int l, const vec *y, int status) {
  const Network *n = job->net;
  int64_t cell = lanes->cell[l];
  double *out = job->ys + cell * job->times * n->species;
  for (int64_t m = lanes->next_time[l]; m < job->times; m++)
    for (int64_t i = 0; i < n->species; i++) out[m * n->species + i] = INFINITY;
  for (int64_t i = 0; i < n->species; i++) job->end_state[cell * n->species + i] = y[i][l];
  job->end_time[cell] = lanes->t[l];
  job->status[3 * cell] = status;
  job->status[3 * cell + 1] = (int32_t)lanes->accepted[l];
  job->status[3 * cell + 2] = (int32_t)lanes->rejected[l];
}

static void *work(void *argument) {
  const Job *job = argument;
  const Network *n = job->net;
  const Method *method = job->method;
  const Settings *settings = job->settings;
#if defined(__SSE2__)
  unsigned int control = _mm_getcsr();
  _mm_setcsr(control | 0x8040); /* no denormal numbers: they are slow and below every tolerance */
#endif
  int64_t S = n->species, R = n->reactions;
  int64_t total = R * (n->slots + 3) + n->fill + S * (MAX_STAGES + 13) + n->pools + 1;
  vec *memory = NULL;
  if (posix_memalign((void **)&memory, 64, sizeof(vec) * total)) return (void *)1;
  memset(memory, 0, sizeof(vec) * total);
  vec *p = memory;
#define TAKE(name, count) vec *name = p; p += (count)
  TAKE(k, R); TAKE(flux, R); TAKE(partial, R * (n->slots + 1)); TAKE(lu, n->fill);
  TAKE(inverse, S); TAKE(y, S); TAKE(y1, S); TAKE(stage, S); TAKE(right, S); TAKE(x, S);
  TAKE(scratch, S); TAKE(atol, S); TAKE(curve, 4 * S); TAKE(u, MAX_STAGES * S); TAKE(pool, n->pools + 1);
#undef TAKE
  double power = -1.0 / method->order;
  Lanes lanes;
  for (int l = 0; l < LANES; l++) load(job, &lanes, l, y, k, atol, flux, pool, scratch);
  for (;;) {
    int any = 0;
    for (int l = 0; l < LANES; l++) any |= lanes.active[l];
    if (!any) break;
    vec h = lanes.h;
    for (int l = 0; l < LANES; l++)
      if (lanes.active[l]) {
        double stop = settings->land ? lanes.ts[l][lanes.next_time[l]] : lanes.end[l];
        double left = stop - lanes.t[l];
        if (h[l] > left * (1 - 1e-12)) h[l] = left;
        else if (h[l] > 0.5 * left) h[l] = 0.5 * left; /* two even steps, not one and a sliver */
      }
    vec inverse_h = 1.0 / h;
    pool_totals(n, y, pool);
    factorise(n, k, y, pool, inverse_h / method->gamma, partial, lu, inverse);
    for (int64_t s = 0; s < method->stages; s++) {
      const double *a = method->a[s], *c = method->c[s];
      if (s == 0) {
        tendency(n, k, y, pool, flux, right);
      } else {
        int moved = 0;
        for (int64_t q = 0; q < s; q++) moved |= a[q] != 0;
        if (moved) {
          for (int64_t i = 0; i < S; i++) {
            vec sum = y[i];
            for (int64_t q = 0; q < s; q++) sum += a[q] * u[q * S + i];
            stage[i] = sum;
          }
          tendency(n, k, stage, pool, flux, scratch);
        } else {
          tendency(n, k, y, pool, flux, scratch);
        }
        for (int64_t i = 0; i < S; i++) {
          vec sum = splat(0);
          for (int64_t q = 0; q < s; q++) sum += c[q] * u[q * S + i];
          right[i] = scratch[i] + inverse_h * sum;
        }
      }
      substitute(n, lu, inverse, right, x, u + s * S);
    }
    /* methods are stiffly accurate: the last stage's argument plus its solution is the new state */
    const vec *last = u + (method->stages - 1) * S;
    vec sum = splat(0);
    for (int64_t i = 0; i < S; i++) {
      y1[i] = stage[i] + last[i];
      vec scale = atol[i] + lanes.rtol * larger(size_of(y[i]), size_of(y1[i]));
      vec error = last[i] / scale;
      sum += error * error;
    }
    vec error;
    for (int l = 0; l < LANES; l++) error[l] = sqrt(sum[l] / S);
    mask good = error <= 1.0;
    int wanted = 0;
    for (int l = 0; l < LANES; l++)
      wanted |= lanes.active[l] && good[l] && lanes.ts[l][lanes.next_time[l]] < lanes.t[l] + h[l];
    if (wanted)
      for (int64_t b = 0; b < method->curves; b++)
        for (int64_t i = 0; i < S; i++) {
          vec value = splat(0);
          for (int64_t q = 0; q < method->stages; q++) value += method->curve[b][q] * u[q * S + i];
          curve[b * S + i] = value;
        }
    for (int l = 0; l < LANES; l++) {
      if (!lanes.active[l]) continue;
      double norm = error[l];
      int finite = isfinite(norm);
      double factor = finite ? 0.9 * pow(norm > 1e-10 ? norm : 1e-10, power) : 0.1;
      if (factor < 0.2) factor = finite ? 0.2 : 0.1;
      if (!good[l]) {
        lanes.rejected[l]++;
        lanes.h[l] = h[l] * (factor < 0.9 ? factor : 0.5);
        lanes.after_rejection[l] = 1;
      } else {
        double most = lanes.after_rejection[l] ? 1.0 : 6.0, t = lanes.t[l], t1 = t + h[l];
        int64_t m = lanes.next_time[l];
        const double *ts = lanes.ts[l];
        double stop = settings->land ? ts[m] : lanes.end[l];
        if (h[l] == stop - t) t1 = stop;
        double *out = job->ys + (lanes.cell[l] * job->times + m) * S;
        for (; m < job->times && ts[m] <= t1; m++, out += S) {
          if (ts[m] == t1) {
            for (int64_t i = 0; i < S; i++) out[i] = y1[i][l];
            continue;
          }
          double s = (ts[m] - t) / h[l];
          for (int64_t i = 0; i < S; i++) {
            double value = 0;
            for (int64_t b = method->curves - 1; b >= 0; b--) value = curve[b * S + i][l] + s * value;
            out[i] = (1 - s) * y[i][l] + s * (y1[i][l] + (1 - s) * value);
          }
        }
        lanes.next_time[l] = m;
        lanes.accepted[l]++;
        double proposed = h[l] * (factor < most ? factor : most);
        /* a step that was cut short to land says little about the length that errors allow */
        lanes.h[l] = proposed > lanes.h[l] || h[l] >= 0.9 * lanes.h[l] || factor < 1
                         ? proposed : lanes.h[l];
        lanes.after_rejection[l] = 0;
        lanes.t[l] = t1;
        for (int64_t i = 0; i < S; i++) y[i][l] = y1[i][l];
      }
      int status = -1;
      if (lanes.next_time[l] >= job->times) status = SUCCESS;
      else if (lanes.accepted[l] + lanes.rejected[l] >= settings->max_steps) status = TOO_MANY_STEPS;
      else if (lanes.h[l] < 1e-30 * (lanes.end[l] - job->t0[lanes.cell[l]]) ||
               lanes.t[l] + lanes.h[l] == lanes.t[l])
        status = finite ? STEP_TOO_SMALL : NOT_FINITE;
      if (status >= 0) {
        unload(job, &lanes, l, y, status);
        load(job, &lanes, l, y, k, atol, flux, pool, scratch);
      }
    }
  }
  free(memory);
#if defined(__SSE2__)
  _mm_setcsr(control);
#endif
  return NULL;
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
 * numbers, tables;
 * results: ys [N, T, S], end state [N, S], end time [N], status [N, 3] */
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
  Settings settings = {number[0], number[1], number[2]};
  int64_t threads = (int64_t)number[3];
  Method method = {.stages = (int64_t)number[4], .curves = (int64_t)number[5],
                   .order = number[6], .gamma = number[7]};
  number += 8;
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
