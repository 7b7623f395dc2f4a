/* How many doubles a vector register of this processor holds, and how many rows of a column of
 * L + U stand together in a block of one cell (native.py asks for both, its tables follow them; tables
 * that are compiled in for any processor are of one kind, and set BLOCK_ROWS before). */
#if defined(__AVX512F__)
#define LANES 8
#elif defined(__AVX__)
#define LANES 4
#else /* SSE2, NEON */
#define LANES 2
#endif
#ifndef BLOCK_ROWS
#if LANES > 2
#define BLOCK_ROWS 4
#else
#define BLOCK_ROWS 2
#endif
#endif
