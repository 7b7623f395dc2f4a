/* Rosenbrock integration of many cells of one network, called through XLA's foreign functions.
 *
 * Networks, elimination, method and rates come as tables (jaxchem/solvers/layout.py and native.py
 * write them in the order in which they are read here), so this is compiled once for all networks.
 * kernel.c -> march.h (cells, control) -> derivative.h -> method.h (a step) -> chemistry.h; Ctrl-C is
 * heard in interrupt.c. */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "interrupt.h"
#include "job.h"
#include "lanes.h"
#include "xla/ffi/api/c_api.h"

/* what the tables of one cell depend on */
const int32_t jaxchem_block_rows = BLOCK_ROWS, jaxchem_lanes = LANES;

enum {
  Y0, K, TS, T0, RTOL, ATOL, FIRST_STEP, PARAMETERS, NUMBERS, TABLES,
  DY0, DK, DPARAMETERS, COTANGENT = DY0
};
enum {
  YS, END_STATE, END_TIME, END_STEP, STATUS,
  DYS, PULLED_Y0 = DYS, PULLED_K, PULLED_PARAMETERS
};
enum { PLAIN = 0, FORWARD = 1, REVERSE = 2 };

/* of the tables that are read here; native.py has the same number */
enum { LAYOUT = 1 };

/* the first integers of the tables; native.py has the same names in the same order */
typedef struct {
  int32_t layout, mode, alone, threads, rows, programs, land, negative;
} Head;

static const void *data(XLA_FFI_CallFrame *frame, int i) {
  return ((XLA_FFI_Buffer *)frame->args.args[i])->data;
}

static int64_t extent(XLA_FFI_CallFrame *frame, int i, int axis) {
  return ((XLA_FFI_Buffer *)frame->args.args[i])->dims[axis];
}

/* the stride by cell of an argument that has one row a cell, or one for all */
static int64_t each(XLA_FFI_CallFrame *frame, int i) {
  int64_t row = 1;
  const XLA_FFI_Buffer *buffer = frame->args.args[i];
  for (int64_t axis = 1; axis < buffer->rank; axis++) row *= buffer->dims[axis];
  return buffer->dims[0] == 1 ? 0 : row;
}

static void *result(XLA_FFI_CallFrame *frame, int i) {
  return ((XLA_FFI_Buffer *)frame->rets.rets[i])->data;
}

static XLA_FFI_Error *complain(XLA_FFI_CallFrame *frame, XLA_FFI_Error_Code code,
                               const char *message) {
  XLA_FFI_Error_Create_Args args = {sizeof(args), NULL, message, code};
  return frame->api->XLA_FFI_Error_Create(&args);
}

/* reads on in the tables of integers and of numbers */
typedef struct {
  const int32_t *integer;
  const double *number;
} Reader;

static int64_t count(Reader *r) { return *r->integer++; }

static void read_counts(Reader *r, int64_t *const *sizes, size_t many) {
  for (size_t i = 0; i < many; i++) *sizes[i] = count(r);
}

static const int32_t *integers(Reader *r, int64_t many) {
  r->integer += many;
  return r->integer - many;
}

static const double *numbers(Reader *r, int64_t many) {
  r->number += many;
  return r->number - many;
}

static Sums read_sums(Reader *r) {
  int64_t runs = count(r), groups = count(r), terms = count(r);
  Sums m = {.runs = (int32_t)runs};
  m.run = integers(r, runs + 1);
  m.length = integers(r, runs);
  m.target = integers(r, 8 * groups);
  m.index = integers(r, terms);
  m.coefficient = numbers(r, terms);
  return m;
}

static Method read_method(Reader *r) {
  Method m = {0};
  m.stages = count(r);
  m.curves = count(r);
  m.order = *r->number++;
  m.gamma = *r->number++;
  size_t row = sizeof(double) * m.stages;
  for (int64_t s = 0; s < m.stages; s++) memcpy(m.a[s], numbers(r, m.stages), row);
  for (int64_t s = 0; s < m.stages; s++) memcpy(m.c[s], numbers(r, m.stages), row);
  for (int64_t b = 0; b < m.curves; b++) memcpy(m.curve[b], numbers(r, m.stages), row);
  memcpy(m.node, numbers(r, m.stages), row);
  memcpy(m.time, numbers(r, m.stages), row);
  return m;
}

static Network read_network(Reader *r) {
  Network n = {0};
  int64_t factors, others, lowers, upper_entries, targets;
  int64_t *sizes[] = {&n.states, &n.pools, &n.width, &n.blocks, &n.offset, &n.one, &n.reactions,
                      &n.orders, &factors, &others, &n.partials, &n.fill, &n.constants, &n.uppers,
                      &lowers, &upper_entries, &targets, &n.lower_outside, &n.upper_outside};
  read_counts(r, sizes, sizeof sizes / sizeof *sizes);
  int64_t unknowns = n.states + n.pools;
  n.place = integers(r, n.states);
  n.pool_place = integers(r, n.pools);
  n.pool_start = integers(r, n.pools + 1);
  n.pool_member = integers(r, n.pool_start[n.pools]);
  n.pool_weight = numbers(r, n.pool_start[n.pools]);
  n.by_factors = integers(r, n.orders + 1);
  n.factor = integers(r, factors);
  n.reaction = integers(r, n.reactions);
  n.by_others = integers(r, n.orders);
  n.partial_reaction = integers(r, n.partials);
  n.other = integers(r, others);
  n.change = read_sums(r);
  n.pull = read_sums(r);
  n.entry = read_sums(r);
  n.more = read_sums(r);
  n.constant_at = integers(r, n.constants);
  n.state_diagonal = integers(r, n.states);
  n.constant = numbers(r, n.constants);
  n.diagonal = integers(r, unknowns);
  n.lower_blocks = integers(r, unknowns);
  n.upper_entries = integers(r, unknowns);
  n.owns_lower = integers(r, unknowns);
  n.owns_upper = integers(r, unknowns);
  n.upper_at = integers(r, upper_entries);
  n.lower_from = integers(r, lowers);
  n.lower_to = integers(r, lowers);
  n.target = integers(r, targets);
  n.upper_from = integers(r, n.uppers);
  n.upper_to = integers(r, n.uppers);
  n.upper_row = integers(r, n.uppers);
  n.lower_pairs = integers(r, n.blocks);
  n.lower_pivot = integers(r, n.lower_outside);
  n.upper_pairs = integers(r, n.blocks);
  n.upper_pivot = integers(r, n.upper_outside);
  return n;
}

static Tape read_tape(Reader *r) {
  Tape t = {0};
  int64_t looked_up;
  int64_t *sizes[] = {&t.slots, &t.constants, &t.length[ONCE], &t.length[FIRST], &t.length[SECOND],
                      &looked_up};
  read_counts(r, sizes, sizeof sizes / sizeof *sizes);
  for (int part = ONCE; part <= SECOND; part++) t.code[part] = integers(r, t.length[part]);
  t.constant = numbers(r, t.constants);
  t.table = numbers(r, looked_up);
  return t;
}

static Program read_program(Reader *r) {
  Program p = {.tape = read_tape(r)};
  int64_t *sizes[] = {&p.parameters, &p.time_slot, &p.state_slot, &p.parameter_slot, &p.reads,
                      &p.steady, &p.varying, &p.adds, &p.entries, &p.timed, &p.stateful};
  read_counts(r, sizes, sizeof sizes / sizeof *sizes);
  p.read = integers(r, p.reads);
  p.steady_at = integers(r, p.steady);
  p.steady_slot = integers(r, p.steady);
  p.varying_at = integers(r, p.varying);
  p.varying_slot = integers(r, p.varying);
  p.varying_slope = integers(r, p.varying);
  p.add_place = integers(r, p.adds);
  p.add_slot = integers(r, p.adds);
  p.add_slope = integers(r, p.adds);
  p.entry_at = integers(r, p.entries);
  p.entry_slot = integers(r, p.entries);
  return p;
}

static Linear read_linear(Reader *r, const Program *p, int mode) {
  Linear m = {.tape = read_tape(r)};
  int64_t *sizes[] = {&m.time_slot, &m.state_slot, &m.parameter_slot, &m.tau_slot, &m.along_slot,
                      &m.state_change, &m.parameter_change, &m.rate_pull, &m.along_pull,
                      &m.add_pull, &m.states, &m.parameters};
  read_counts(r, sizes, sizeof sizes / sizeof *sizes);
  m.along = integers(r, p->varying);
  if (mode == FORWARD) {
    m.rate = integers(r, p->varying);
    m.along_change = integers(r, p->varying);
    m.add = integers(r, p->adds);
  } else {
    m.state = integers(r, m.states);
    m.state_from = integers(r, m.states);
    m.parameter = integers(r, m.parameters);
    m.parameter_from = integers(r, m.parameters);
  }
  return m;
}

/* arguments, S states: y0 [N, S], k [N or 1, R], ts [N or 1, T] since the start, the start's t0 [N], rtol [N or 1],
 * atol [N or 1, S], first step [N or 1] (0 chooses it), parameters of the rates [N or 1, Q],
 * numbers, tables; for sensitivities dy0 [N, P, S], dk [N or 1, P, R] and those of the parameters
 * [N or 1, P, Q]; for reverse mode the cotangents of ys [N, P, T, S];
 * results: ys [N, T, S], end state [N, S], end time [N], next step [N], status [N, 3], and
 * dys [N, P, T, S] or the cotangents of y0 [N, P, S], k [N, P, R] and parameters [N, P, Q] */
XLA_FFI_Error *jaxchem_rosenbrock(XLA_FFI_CallFrame *frame) {
  XLA_FFI_Extension_Base *extension = frame->extension_start;
  if (extension && extension->type == XLA_FFI_Extension_Metadata) {
    XLA_FFI_Metadata *metadata = ((XLA_FFI_Metadata_Extension *)extension)->metadata;
    metadata->api_version.major_version = XLA_FFI_API_MAJOR;
    metadata->api_version.minor_version = XLA_FFI_API_MINOR;
    return NULL;
  }
  Reader reader = {data(frame, TABLES), data(frame, NUMBERS)}, *r = &reader;
  Head head;
  memcpy(&head, r->integer, sizeof head);
  if (head.layout != LAYOUT)
    return complain(frame, XLA_FFI_Error_Code_INTERNAL,
                    "jaxchem: the tables have another layout than this kernel reads; it was built "
                    "from other sources, restart Python");
  integers(r, sizeof head / sizeof(int32_t));
  int64_t mode = head.mode, alone = head.alone, threads = head.threads, programs = head.programs;
  Settings settings = {*r->number++, head.land, head.negative};
  Method method = read_method(r);
  Network net = read_network(r);
  Program program;
  Linear at_stage, at_start;
  if (programs) program = read_program(r);
  int linear = programs && mode != PLAIN;
  if (linear) at_stage = read_linear(r, &program, (int)mode);
  if (linear) at_start = read_linear(r, &program, (int)mode);
  if (net.orders > MAX_FACTORS || method.stages > MAX_STAGES ||
      head.rows != (alone ? BLOCK_ROWS : 1) ||
      r->integer != (const int32_t *)data(frame, TABLES) + extent(frame, TABLES, 0) ||
      r->number != (const double *)data(frame, NUMBERS) + extent(frame, NUMBERS, 0))
    return complain(frame, XLA_FFI_Error_Code_INTERNAL,
                    "jaxchem: tables that this kernel does not take");

  atomic_long next = 0, heard;
  Job job = {.net = &net, .method = &method, .program = programs ? &program : NULL,
             .at_stage = linear ? &at_stage : NULL, .at_start = linear ? &at_start : NULL,
             .settings = settings, .cells = extent(frame, Y0, 0), .times = extent(frame, TS, 1),
             .each_k = each(frame, K), .each_ts = each(frame, TS), .each_rtol = each(frame, RTOL),
             .each_atol = each(frame, ATOL), .each_step = each(frame, FIRST_STEP),
             .each_parameter = each(frame, PARAMETERS), .y0 = data(frame, Y0), .k = data(frame, K),
             .ts = data(frame, TS), .t0 = data(frame, T0), .rtol = data(frame, RTOL),
             .atol = data(frame, ATOL), .first_step = data(frame, FIRST_STEP),
             .parameters = data(frame, PARAMETERS), .ys = result(frame, YS),
             .end_state = result(frame, END_STATE), .end_time = result(frame, END_TIME),
             .end_step = result(frame, END_STEP), .status = result(frame, STATUS), .next = &next,
             .heard = &heard};
  int64_t directions = 0;
  if (mode == FORWARD) {
    directions = job.tangents = extent(frame, DY0, 1);
    job.each_dk = each(frame, DK);
    job.dy0 = data(frame, DY0);
    job.dk = data(frame, DK);
    job.each_dparameter = each(frame, DPARAMETERS);
    job.dparameters = data(frame, DPARAMETERS);
    job.dys = result(frame, DYS);
  } else if (mode == REVERSE) {
    directions = job.cotangents = extent(frame, COTANGENT, 1);
    job.cotangent = data(frame, COTANGENT);
    job.pulled_y0 = result(frame, PULLED_Y0);
    job.pulled_k = result(frame, PULLED_K);
    job.pulled_parameters = result(frame, PULLED_PARAMETERS);
  }
  void *(*march)(void *) = !alone ? march_many : directions > 1 && !linear ? march_directions : march_one;
  int64_t most = alone ? job.cells : (job.cells + LANES - 1) / LANES;
  if (threads > most) threads = most;
  if (threads < 1) threads = 1;
  watch_interrupts(&heard);
  pthread_t *others = calloc(threads, sizeof(pthread_t));
  int64_t started = 0;
  for (; others && started < threads - 1; started++)
    if (pthread_create(&others[started], NULL, march, &job)) break;
  void *failed = march(&job);
  for (int64_t i = 0; i < started; i++) {
    void *outcome;
    pthread_join(others[i], &outcome);
    if (outcome) failed = outcome;
  }
  free(others);
  unwatch_interrupts(&heard);
  if (atomic_load(&heard) == INTERRUPTED)
    return complain(frame, XLA_FFI_Error_Code_CANCELLED, "jaxchem: interrupted");
  return failed ? complain(frame, XLA_FFI_Error_Code_RESOURCE_EXHAUSTED, "jaxchem: out of memory")
                : NULL;
}
