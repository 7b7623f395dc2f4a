/* The tables of a network (jaxchem/solvers/layout.py writes them), the same for every build.
 *
 * Unknowns are the states (species, then further ones) and the pools. They have places in the order
 * of elimination: blanks up to a whole number of blocks, the unknowns, and at the end a place that
 * takes what nobody wants (`spare`, always zero) and the number one, so that no sum needs a branch. */
#ifndef JAXCHEM_NETWORK
#define JAXCHEM_NETWORK
#include <stdint.h>

#define MAX_STAGES 8
#define MAX_FACTORS 8

typedef struct {
  int32_t runs;
  const int32_t *run, *length; /* [runs + 1] groups of eight rows, [runs] their length */
  const int32_t *target, *index;
  const double *coefficient;
} Sums;

typedef struct {
  int64_t states, pools, width, blocks, offset, one;
  const int32_t *place;                       /* [states] */
  const int32_t *pool_place;                  /* [pools] */
  const int32_t *pool_start, *pool_member;    /* places of the members of each */
  const double *pool_weight;                  /* of each of them */
  /* reactions in the order of their number of factors; those of n stand from by_factors[n - 1] on */
  int64_t reactions, orders;
  const int32_t *by_factors, *factor, *reaction;
  /* k times all factors but one, by the number of those left */
  int64_t partials;
  const int32_t *by_others, *partial_reaction, *other;
  Sums change;                                /* fluxes -> tendencies */
  Sums pull;                                  /* cotangents of tendencies -> of fluxes */
  Sums entry, more;                           /* [k, partials] -> entries of -J, and what long ones lack */
  /* the matrix in blocks: what its entries are besides, and where */
  int64_t fill, constants;
  const int32_t *constant_at, *state_diagonal;
  const double *constant;
  /* its elimination, pivot by pivot */
  int64_t uppers;
  const int32_t *diagonal, *lower_blocks, *upper_entries, *owns_lower, *owns_upper;
  const int32_t *upper_at, *lower_from, *lower_to, *target;
  const int32_t *upper_from, *upper_to, *upper_row;
  /* its substitutions, by blocks of rows */
  int64_t lower_outside, upper_outside;
  const int32_t *lower_pairs, *lower_pivot, *upper_pairs, *upper_pivot;
} Network;

typedef struct {
  int64_t stages, curves;
  double order, gamma;
  double a[MAX_STAGES][MAX_STAGES], c[MAX_STAGES][MAX_STAGES], curve[4][MAX_STAGES];
  double node[MAX_STAGES], time[MAX_STAGES];
} Method;

#endif
