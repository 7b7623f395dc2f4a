/* Ctrl-C ends the calls that are running.
 *
 * Python's own handler leaves a note, and raises KeyboardInterrupt when Python next runs, which is
 * after the call. So while calls run, SIGINT is counted before that handler has it, and threads look
 * at the count between steps. Where the handler in Python is not the one that raises
 * KeyboardInterrupt, the user wants something else, and calls go on. */
#ifndef JAXCHEM_INTERRUPT
#define JAXCHEM_INTERRUPT
#include <stdatomic.h>

enum { INTERRUPTED = -1 };

/* `heard` is the count that a call has heeded, or INTERRUPTED, which it must end with an error */
void watch_interrupts(atomic_long *heard);
void unwatch_interrupts(const atomic_long *heard);
int interrupted(atomic_long *heard);

#endif
