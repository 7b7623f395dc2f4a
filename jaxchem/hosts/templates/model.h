/* $title
 *
 * Written by jaxchem $version; concentrations in $concentration, times in $time.
 * $trained
 * $conditions_told
 *
 * Link with -lm; -O3 -march=native makes it fast, and -ffast-math makes it wrong. Functions keep
 * nothing between calls. */
#ifndef ${NAME}_H
#define ${NAME}_H
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

enum { ${NAME}_STATES = $states, ${NAME}_CONDITIONS = $conditions, ${NAME}_TIMES = $times };
extern const char *const ${name}_state_names[$states_room];
extern const char *const ${name}_condition_names[$conditions_room];
extern const char ${name}_concentration_unit[], ${name}_time_unit[];
/* the least and the most of each state and then each condition in training; infinite if unknown */
extern const double ${name}_lowest[$inputs_room], ${name}_highest[$inputs_room];

/* y0 [cells][$states] and conditions [cells][$conditions] -> y [cells][$times][$states], the states at ts [$times]
 * after y0 (which is at time $start of the training). Returns 0, or -1 where there is no memory. */
int ${name}_predict(int64_t cells, const double *y0, const double *conditions, const double *ts,
                    double *y);

#ifdef __cplusplus
}
#endif
#endif
