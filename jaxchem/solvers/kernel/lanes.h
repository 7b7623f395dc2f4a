/* How many doubles a vector register of this processor holds, and how many rows of a column of
 * L + U stand together in a block of one cell (native.py asks for both, its tables follow them). */
#if defined(__AVX512F__)
#define LANES 8
#define BLOCK_ROWS 4
#elif defined(__AVX__)
#define LANES 4
#define BLOCK_ROWS 4
#else /* SSE2, NEON */
#define LANES 2
#define BLOCK_ROWS 2
#endif
