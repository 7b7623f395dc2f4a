/* Rosenbrock integration of many cells of one network, called through XLA's foreign functions.
 *
 * Networks, elimination, method and rates come as tables (tables.h), so this is compiled once for all
 * networks. This file alone knows XLA and threads; jaxchem/hosts writes the others into programs of
 * C. kernel.c -> march.h (cells, control) -> derivative.h -> method.h (a step) -> chemistry.h; Ctrl-C is
 * heard in interrupt.c. */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "interrupt.h"
#include "tables.h"
#include "xla/ffi/api/c_api.h"

/* integrates cells until none is left or Ctrl-C is pressed; returns NULL, or something else where
 * memory ran out */
void *march_one(void *job);        /* one at a time, one direction of each */
void *march_many(void *job);       /* LANES at a time, one direction of each */
void *march_directions(void *job); /* one at a time, LANES directions of it together */

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
  Tables tables;
  const char *wrong = read_tables(&tables, data(frame, TABLES), extent(frame, TABLES, 0),
                                  data(frame, NUMBERS), extent(frame, NUMBERS, 0));
  if (wrong) return complain(frame, XLA_FFI_Error_Code_INTERNAL, wrong);
  int64_t mode = tables.head.mode, alone = tables.head.alone, threads = tables.head.threads;
  int linear = tables.linear;

  atomic_long next = 0, heard;
  Job job = {.net = &tables.net, .method = &tables.method,
             .program = tables.head.programs ? &tables.program : NULL,
             .at_stage = linear ? &tables.at_stage : NULL,
             .at_start = linear ? &tables.at_start : NULL, .settings = tables.settings,
             .cells = extent(frame, Y0, 0), .times = extent(frame, TS, 1),
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
