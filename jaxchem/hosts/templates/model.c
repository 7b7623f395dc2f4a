/* $title; see ${name}.h. Written by jaxchem $version. */
#include "${name}.h"

$head
$programs
const char *const ${name}_state_names[] = {$state_strings};
const char *const ${name}_condition_names[] = {$condition_strings};
const char ${name}_concentration_unit[] = $concentration_string, ${name}_time_unit[] = $time_string;
$ranges
enum { S = $states, C = $conditions, T = $times, B = $lanes };

/* cells beside each other, as the program for many takes them; what is missing repeats the last */
static void spread(const double *from, double *to, int size, int many) {
  for (int i = 0; i < size; i++)
    for (int b = 0; b < B; b++) to[i * B + b] = from[(b < many ? b : many - 1) * size + i];
}

int ${name}_predict(int64_t cells, const double *y0, const double *conditions, const double *ts,
                    double *y) {
  char *work = malloc($work + sizeof(double) * B * (S + C + T + T * S) + 64);
  if (!work) return -1;
  char *aligned = work + (64 - (uintptr_t)work % 64) % 64;
  double *starts = (double *)(aligned + $work), *given = starts + B * S;
  double *times = given + B * C, *found = times + B * T;
  for (int i = 0; i < T * B; i++) times[i] = ts[i / B];
  for (int64_t n = 0; n < cells;) {
    int many = cells - n < B ? (int)(cells - n) : B;
    if (many <= B / 4) { /* a few are sooner done one by one */
      predict_1(aligned, y0 + n * S, conditions + n * C, ts, y + n * T * S);
      n++;
      continue;
    }
    spread(y0 + n * S, starts, S, many);
    spread(conditions + n * C, given, C, many);
    predict_many(aligned, starts, given, times, found);
    for (int b = 0; b < many; b++)
      for (int i = 0; i < T * S; i++) y[(n + b) * T * S + i] = found[i * B + b];
    n += many;
  }
  free(work);
  return 0;
}

#ifdef ${NAME}_SELF_TEST
/* compares what this file gives with what jaxchem gave when it was written */
#include <stdio.h>

$test
int main(void) {
  enum { CELLS = $test_cells };
  static double y[CELLS * T * S];
  double worst = 0;
  int wrong = 0;
  for (int i = 0; i < S + C; i++)
    for (int n = 0; n < CELLS; n++) {
      double x = i < S ? test_y0[n * S + i] : test_conditions[n * C + i - S];
      wrong |= x < ${name}_lowest[i] || x > ${name}_highest[i];
    }
  for (int many = 1; many <= CELLS; many += CELLS - 1) {
    wrong |= ${name}_predict(many, test_y0, test_conditions, test_ts, y) != 0;
    for (int i = 0; i < many * T * S; i++) {
      double off = fabs(y[i] - test_y[i]) / (fabs(test_y[i]) + test_scale);
      if (!(off <= worst)) worst = off;
    }
  }
  int good = !wrong && worst <= $tolerance;
  printf("%s: states off by %.1e, %s\n", "$name", worst, good ? "passed" : "FAILED");
  return !good;
}
#endif
