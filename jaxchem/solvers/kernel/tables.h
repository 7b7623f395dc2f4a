/* The tables of a call as kernel and hosts read them: jaxchem/solvers/layout.py, program.py and
 * native.py write them in the order in which they are read here. */
#ifndef JAXCHEM_TABLES
#define JAXCHEM_TABLES
#include <string.h>

#include "job.h"
#include "lanes.h"

enum { PLAIN = 0, FORWARD = 1, REVERSE = 2 };

/* of the tables that are read here; native.py has the same number */
enum { LAYOUT = 1 };

/* the first integers of the tables; native.py has the same names in the same order */
typedef struct {
  int32_t layout, mode, alone, threads, rows, programs, land, negative;
} Head;

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

/* what the tables of a call hold; `program` and the others are there where `head` says so */
typedef struct {
  Head head;
  Settings settings;
  Method method;
  Network net;
  Program program;
  Linear at_stage, at_start;
  int linear;
} Tables;

/* reads tables of these lengths; returns NULL, or what is wrong with them */
static const char *read_tables(Tables *t, const int32_t *integer, int64_t many_integers,
                               const double *number, int64_t many_numbers) {
  Reader reader = {integer, number}, *r = &reader;
  memcpy(&t->head, r->integer, sizeof t->head);
  const Head *head = &t->head;
  if (head->layout != LAYOUT)
    return "jaxchem: the tables have another layout than this kernel reads; it was built "
           "from other sources, restart Python";
  integers(r, sizeof *head / sizeof(int32_t));
  t->settings = (Settings){*r->number++, head->land, head->negative};
  t->method = read_method(r);
  t->net = read_network(r);
  if (head->programs) t->program = read_program(r);
  t->linear = head->programs && head->mode != PLAIN;
  if (t->linear) t->at_stage = read_linear(r, &t->program, head->mode);
  if (t->linear) t->at_start = read_linear(r, &t->program, head->mode);
  if (t->net.orders > MAX_FACTORS || t->method.stages > MAX_STAGES ||
      head->rows != (head->alone ? BLOCK_ROWS : 1) || r->integer != integer + many_integers ||
      r->number != number + many_numbers)
    return "jaxchem: tables that this kernel does not take";
  return NULL;
}

#endif
