/* $title; see ${name}.h. Written by jaxchem $version. */
#ifndef _POSIX_C_SOURCE
#define _POSIX_C_SOURCE 200112L
#endif
#include "${name}.h"

$head
#ifdef __GNUC__
#pragma GCC diagnostic ignored "-Wunused-function"
#endif
/* how cells are integrated: the source of jaxchem's kernel, for one cell and for many */
#define BLOCK_ROWS $rows /* as in the tables */
$kernel
/* the tables of the network and of the method */
$tables
/* the rate coefficients */
$programs
const char *const ${name}_species_names[] = {$species_strings};
const char *const ${name}_condition_names[] = {$condition_strings};
const char *const ${name}_condition_units[] = {$unit_strings};
const char ${name}_concentration_unit[] = $concentration_string, ${name}_time_unit[] = $time_string;

int ${name}_rates(int64_t cells, const double *conditions, double *k) {
  char *work = malloc($work + 64);
  if (!work) return -1;
  char *aligned = work + (64 - (uintptr_t)work % 64) % 64;
  for (int64_t n = 0; n < cells; n++)
    rates_1(aligned, conditions + n * $conditions, k + n * $rates);
  free(work);
  return 0;
}

int64_t ${name}_solve(int64_t cells, double dt, const double *k, double *y, double rtol,
                      const double *atol, int32_t *status) {
  enum { S = $species, R = $reactions };
  if (!(dt >= 0 && dt < INFINITY)) return -1;
  static const double nothing[R + 1];
  /* a cell's own rows fill the registers, or as many cells do; its result is the same */
  int alone = cells == 1 || 2 * cells < LANES;
  Tables tables;
  const char *wrong =
      alone ? read_tables(&tables, integers_one, sizeof integers_one / sizeof(int32_t), numbers_one,
                          sizeof numbers_one / sizeof(double))
            : read_tables(&tables, integers_many, sizeof integers_many / sizeof(int32_t),
                          numbers_many, sizeof numbers_many / sizeof(double));
  double *ys = malloc(sizeof(double) * ((2 * S + 3) * cells + 1));
  int32_t *told = malloc(sizeof(int32_t) * (3 * cells + 1));
  int64_t failed = -1;
  if (!wrong && ys && told) {
    double *end = ys + S * cells, *time = end + S * cells, *step = time + cells, *start = step + cells;
    for (int64_t n = 0; n < cells; n++) start[n] = 0;
    atomic_long next = 0, heard = 0;
    Job job = {.net = &tables.net, .method = &tables.method,
               .program = tables.head.programs ? &tables.program : NULL, .settings = tables.settings,
               .cells = cells, .times = 1, .each_k = tables.head.programs ? 0 : $rates,
               .each_parameter = $rates, .y0 = y, .k = tables.head.programs ? nothing : k,
               .parameters = k, .ts = &dt, .t0 = start, .rtol = &rtol, .atol = atol,
               .first_step = nothing, .ys = ys, .end_state = end, .end_time = time, .end_step = step,
               .status = told, .next = &next, .heard = &heard};
    if (!(alone ? march_one : march_many)(&job)) {
      failed = 0;
      for (int64_t n = 0; n < cells; n++) {
        if (status) status[n] = told[3 * n];
        if (told[3 * n]) failed++;
        else memcpy(y + n * S, ys + n * S, sizeof(double) * S);
      }
    }
  }
  free(ys);
  free(told);
  return failed;
}

#ifdef ${NAME}_SELF_TEST
/* compares what this file gives with what jaxchem gave when it was written */
#include <stdio.h>

$test
int main(void) {
  enum { CELLS = sizeof test_dt / sizeof(double), S = $species, K = $rates };
  enum { MANY = LANES + 1 }; /* so many are integrated side by side, and one by itself */
  static double k[CELLS * K + 1], y[CELLS * S], ks[MANY * K + 1], ys[MANY * S];
  double worst_k = 0, worst_y = 0;
  int wrong = 0;
  int64_t failed = 0;
  memcpy(y, test_y0, sizeof y);
  wrong |= ${name}_rates(CELLS, test_conditions, k) != 0;
  for (int i = 0; i < CELLS * K; i++) {
    double off = fabs(k[i] - test_k[i]) / (fabs(test_k[i]) + 1e-290);
    if (!(off <= worst_k)) worst_k = off;
  }
  for (int n = 0; n < CELLS; n++)
    failed += ${name}_solve(1, test_dt[n], k + n * K, y + n * S, $rtol, test_atol, NULL);
  for (int n = 0; n < CELLS; n++) {
    for (int m = 0; m < MANY; m++) {
      memcpy(ks + m * K, k + n * K, sizeof(double) * K);
      memcpy(ys + m * S, test_y0 + n * S, sizeof(double) * S);
    }
    failed += ${name}_solve(MANY, test_dt[n], ks, ys, $rtol, test_atol, NULL);
    for (int i = 0; i < MANY * S; i++) {
      double off = fabs(ys[i] - test_y[n * S + i % S]);
      off /= fabs(test_y[n * S + i % S]) + test_atol[i % S] / $rtol;
      if (!(off <= worst_y)) worst_y = off;
    }
  }
  for (int i = 0; i < CELLS * S; i++) {
    double off = fabs(y[i] - test_y[i]) / (fabs(test_y[i]) + test_atol[i % S] / $rtol);
    if (!(off <= worst_y)) worst_y = off;
  }
  int good = !wrong && !failed && worst_k <= 1e-11 && worst_y <= 1e-9;
  printf("%s: rates off by %.1e, concentrations by %.1e, %s\n", "$name", worst_k, worst_y,
         good ? "passed" : "FAILED");
  return !good;
}
#endif
