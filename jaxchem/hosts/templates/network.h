/* $title
 *
 * Written by jaxchem $version; concentrations in $concentration, times in $time.
 * The species and the conditions stand in the order of the names below.
 * $conditions_told
 *
 * Link with -lm. With $flags
 * a box is bit for bit what jaxchem.solve gives, the compiler and processor being those of Python;
 * do not compile with -ffast-math. Functions keep nothing between calls and start no threads: call
 * them from as many threads as you like, each with cells of its own. */
#ifndef ${NAME}_H
#define ${NAME}_H
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

enum { ${NAME}_SPECIES = $species, ${NAME}_RATES = $rates, ${NAME}_CONDITIONS = $conditions };
extern const char *const ${name}_species_names[$species_room];
extern const char *const ${name}_condition_names[$conditions_room];
extern const char *const ${name}_condition_units[$conditions_room];
extern const char ${name}_concentration_unit[], ${name}_time_unit[];

/* what a cell became of */
enum { ${NAME}_SOLVED = 0, ${NAME}_TOO_MANY_STEPS = 1, ${NAME}_STEP_TOO_SMALL = 2, ${NAME}_NOT_FINITE = 3 };

/* conditions [cells][$conditions] -> k [cells][$rates], $rates_told.
 * Returns 0, or -1 where there is no memory. */
int ${name}_rates(int64_t cells, const double *conditions, double *k);

/* y [cells][$species] from what it is to what it is after dt, in place; k of `rates` stays as it is
 * meanwhile. rtol: relative tolerance; atol [$species]: absolute ones. status [cells], which may be
 * NULL: see above; a cell that failed keeps its y. What y holds is not checked: negative
 * concentrations are integrated as they are. Returns how many failed, or -1 where there is no memory
 * or dt is negative or no number. */
int64_t ${name}_solve(int64_t cells, double dt, const double *k, double *y, double rtol,
                      const double *atol, int32_t *status);

#ifdef __cplusplus
}
#endif
#endif
