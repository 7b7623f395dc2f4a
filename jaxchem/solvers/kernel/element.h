/* The numbers that the kernel computes with.
 *
 * One source serves three builds (one.c, many.c, directions.c), which differ in two types:
 *
 *   el   what belongs to a cell: a double (one cell), or a vector of CELLS cells;
 *   dir  what belongs to a direction of a cell (tangents, cotangents): a double (one direction of
 *        one cell), a vector of one direction of each of CELLS cells, or a vector of LANES
 *        directions of one cell.
 *
 * An `el` times a `dir` is a `dir` in all three. L + U are kept in blocks of ROWS rows of a column:
 * of one cell, a block fills a register; of many cells, each entry does.
 */
#include <math.h>
#include <stdint.h>
#include <string.h>

#include "fused.h"
#include "lanes.h"

#ifndef DIRECTIONS
#define DIRECTIONS 1 /* directions of one cell in a `dir` */
#endif

#define UNROLL _Pragma("GCC unroll 8")

#if CELLS == 1
typedef double el;
typedef int64_t mask;
#define ROWS BLOCK_ROWS
typedef double block __attribute__((vector_size(8 * ROWS), may_alias));
typedef int64_t block_mask __attribute__((vector_size(8 * ROWS), may_alias));
#define SPREAD(x) ((x) - (block){0}) /* 0 + x would not be x for -0 and costs an addition */
#define AT(v, l) ((&(v))[l])
#define IF(condition) (-(mask)(condition))
INLINE el splat(double x) { return x; }
INLINE el pick(mask m, el a, el b) { return m ? a : b; }
INLINE el as_el(mask m) { el x; memcpy(&x, &m, sizeof x); return x; }
INLINE mask as_mask(el x) { mask m; memcpy(&m, &x, sizeof m); return m; }
INLINE el size_of(el a) { return fabs(a); }
#else
typedef double el __attribute__((vector_size(8 * CELLS)));
typedef int64_t mask __attribute__((vector_size(8 * CELLS)));
#define ROWS 1
typedef el block;
#define SPREAD(x) (x)
#define AT(v, l) ((v)[l])
#define IF(condition) (condition)
INLINE el splat(double x) { return x - (el){}; }
INLINE el pick(mask m, el a, el b) { return (el)((m & (mask)a) | (~m & (mask)b)); }
INLINE el as_el(mask m) { return (el)m; }
INLINE mask as_mask(el x) { return (mask)x; }
INLINE el size_of(el a) { return (el)((mask)a & INT64_MAX); }
#endif

INLINE el larger(el a, el b) { return pick(IF(a > b), a, b); }

#if DIRECTIONS == 1
typedef el dir;
#define DIR_AT(v, l, q) AT(v, l)
#define DIR_PICK(m, a, b) pick(m, a, b)
#else
typedef double dir __attribute__((vector_size(8 * DIRECTIONS)));
#define DIR_AT(v, l, q) ((v)[(q) % DIRECTIONS])
#define DIR_PICK(m, a, b) ((m) ? (a) : (b))
#endif

/* entry `id` of an array that is kept in blocks */
#define BLOCK(p, id) (*(block *)((p) + ROWS * (int64_t)(id)))
