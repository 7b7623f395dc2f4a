/* What a call asks for: cells, tables, and where the results go. */
#ifndef JAXCHEM_JOB
#define JAXCHEM_JOB
#include <stdatomic.h>

#include "network.h"

enum { SUCCESS = 0, TOO_MANY_STEPS = 1, STEP_TOO_SMALL = 2, NOT_FINITE = 3 };

enum { ALLOW = 0, REJECT = 1, PROJECT = 2 }; /* what becomes of negative concentrations */

/* instructions for tape.h: once a cell, then in two parts */
typedef struct {
  int64_t slots, constants, length[3];
  const int32_t *code[3];
  const double *constant, *table;
} Tape;

enum { ONCE, FIRST, SECOND };

/* Rates that are not constant and tendencies that are not mass action. Slots hold constants first,
 * and the tables say which slot is what. FIRST makes coefficients and tendencies, SECOND what else
 * a step wants to know at its start. */
typedef struct {
  Tape tape;
  int64_t parameters, time_slot, state_slot, parameter_slot;
  int64_t reads, steady, varying, adds, entries;
  const int32_t *read;                                      /* the states that anything reads */
  const int32_t *steady_at, *steady_slot;                   /* coefficients that ONCE gives */
  const int32_t *varying_at, *varying_slot, *varying_slope; /* those of FIRST, and dk/dt */
  const int32_t *add_place, *add_slot, *add_slope;          /* further tendencies, and their d/dt */
  const int32_t *entry_at, *entry_slot;                     /* what they add to the Jacobian */
  int64_t timed, stateful;                                  /* change with time; with the state */
} Program;

/* Coefficients and tendencies differentiated, at a stage or at the start of a step, of which the
 * latter takes a direction (tau, u) too: FIRST makes the changes of the varying coefficients along
 * it. SECOND, forward, makes changes from those of state and parameters; transposed, cotangents of
 * state and parameters from those of coefficients and tendencies. First slots of the inputs: */
typedef struct {
  Tape tape;
  int64_t time_slot, state_slot, parameter_slot, tau_slot, along_slot;
  int64_t state_change, parameter_change;                   /* forward */
  int64_t rate_pull, along_pull, add_pull;                  /* transposed */
  int64_t states, parameters;                               /* how many cotangents are not zero */
  const int32_t *along;                                     /* [varying] slots of FIRST */
  const int32_t *rate, *along_change, *add;                 /* forward: slots [varying] twice, [adds] */
  const int32_t *state, *state_from, *parameter, *parameter_from; /* transposed: number, slot */
} Linear;

typedef struct {
  double max_steps;
  int land, negative;
} Settings;

typedef struct {
  const Network *net;
  const Method *method;
  const Program *program;                           /* NULL: constant coefficients */
  const Linear *at_stage, *at_start;                /* their derivatives, where directions are asked */
  Settings settings;
  int64_t cells, times;
  /* strides by cell, 0 where all share one row */
  int64_t each_k, each_ts, each_rtol, each_atol, each_step, each_parameter;
  const double *k, *y0, *ts, *t0, *rtol, *atol, *first_step, *parameters;
  double *ys, *end_state, *end_time, *end_step;
  /* forward sensitivities: directions, their row stride in dk by cell, [N, P, S], [N or 1, P, R] */
  int64_t tangents, each_dk, each_dparameter;
  const double *dy0, *dk, *dparameters;
  double *dys;                                      /* [N, P, T, S] */
  /* reverse mode: cotangents [N, P, T, S] of the states, which become [N, P, S] and [N, P, R] */
  int64_t cotangents;
  const double *cotangent;
  double *pulled_y0, *pulled_k, *pulled_parameters;
  int32_t *status;                                  /* [N, 3] result, accepted, rejected */
  atomic_long *next;
  atomic_long *heard;                               /* see interrupt.h */
} Job;

#endif
