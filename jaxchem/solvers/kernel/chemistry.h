/* Mass action and its elimination on vectors of cells: tables in, fluxes, tendencies, L and U out. */
#include <stdint.h>
#include <string.h>

#define LANES 8
#define MAX_STAGES 8
#define MAX_SLOTS 8
typedef double vec __attribute__((vector_size(LANES * 8)));
typedef int64_t mask __attribute__((vector_size(LANES * 8)));

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

/* the factors of reaction j as indices into the state followed by the pools */
static inline int64_t factor_indices(const Network *n, int64_t j, int32_t *index) {
  int64_t count = 0;
  for (int64_t s = 0; s < n->slots; s++) {
    int32_t i = n->reactants[j * n->slots + s];
    if (i < n->species) index[count++] = i;
  }
  if (n->pools && n->pool_of[j] < n->pools) index[count++] = (int32_t)n->species + n->pool_of[j];
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

/* x = (L U)^-T right, both in the network's order; `z` is scratch */
static void substitute_transposed(const Network *n, const vec *lu, const vec *inverse,
                                  const vec *right, vec *z, vec *x) {
  for (int64_t i = 0; i < n->species; i++) z[i] = right[n->order[i]];
  for (int64_t i = 0; i < n->species; i++) {
    z[i] *= inverse[i];
    for (int32_t e = n->upper_start[i]; e < n->upper_start[i + 1]; e++)
      z[n->upper_column[e]] -= lu[n->upper_slot[e]] * z[i];
  }
  for (int64_t i = n->species - 1; i >= 0; i--) {
    for (int32_t e = n->lower_start[i]; e < n->lower_start[i + 1]; e++)
      z[n->lower_column[e]] -= lu[n->lower_slot[e]] * z[i];
    x[n->order[i]] = z[i];
  }
}
