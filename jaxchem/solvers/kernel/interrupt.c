#include "interrupt.h"

#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <time.h>

/* of Python; native.py sets them */
void *(*jaxchem_handler)(int);       /* of a signal */
void *jaxchem_raises;                /* the one of KeyboardInterrupt */
void *(*jaxchem_tracer)(void);       /* what sys.settrace has set */
void *jaxchem_none;
uintptr_t jaxchem_main;              /* the main thread */
int (*jaxchem_lock)(void);           /* PyGILState_Ensure */
void (*jaxchem_unlock)(int);         /* PyGILState_Release */
void (*jaxchem_trace)(int (*)(void *, void *, int, void *), void *); /* PyEval_SetTrace */
int (*jaxchem_check)(void);          /* PyErr_CheckSignals */

static atomic_long count;
static atomic_flag passing = ATOMIC_FLAG_INIT;
static pthread_mutex_t guard = PTHREAD_MUTEX_INITIALIZER;
static int calls;               /* that are running */
static struct sigaction before; /* whose turn is after ours */

static void hear(int number, siginfo_t *information, void *context) {
  atomic_fetch_add(&count, 1);
  if (atomic_flag_test_and_set(&passing)) return; /* whoever is next calls us again */
  if (before.sa_flags & SA_SIGINFO) before.sa_sigaction(number, information, context);
  else before.sa_handler(number);
  atomic_flag_clear(&passing);
}

static int ours(const struct sigaction *action) {
  return (action->sa_flags & SA_SIGINFO) && action->sa_sigaction == hear;
}

void watch_interrupts(atomic_long *heard) {
  struct sigaction now, mine;
  pthread_mutex_lock(&guard);
  /* whatever stands there now comes after; signals that are ignored, or end the process, do so */
  if (!sigaction(SIGINT, NULL, &now) && !ours(&now) &&
      ((now.sa_flags & SA_SIGINFO) || (now.sa_handler != SIG_DFL && now.sa_handler != SIG_IGN))) {
    before = mine = now;
    mine.sa_flags |= SA_SIGINFO;
    mine.sa_sigaction = hear;
    sigaction(SIGINT, &mine, NULL);
  }
  calls++;
  pthread_mutex_unlock(&guard);
  atomic_store(heard, atomic_load(&count));
}

int interrupted(atomic_long *heard) {
  long now = atomic_load_explicit(&count, memory_order_relaxed);
  long last = atomic_load_explicit(heard, memory_order_relaxed);
  if (now == last) return 0;
  if (last != INTERRUPTED) {
    int raises = jaxchem_handler && jaxchem_handler(SIGINT) == jaxchem_raises;
    atomic_compare_exchange_strong(heard, &last, raises ? INTERRUPTED : now);
  }
  return atomic_load(heard) == INTERRUPTED;
}

/* a trace function: what it raises takes the place of the exception that it is told of */
static int raise_instead(void *self, void *frame, int event, void *argument) {
  (void)self, (void)frame, (void)event, (void)argument;
  jaxchem_trace(NULL, NULL);
  return jaxchem_check();
}

/* Has our error come out as KeyboardInterrupt. Python does not look at signals while it passes an
 * exception on; where another thread waits for the call, JAX does, every 200 ms (jaxlib/util.cc). */
static void give_way(void) {
  if ((uintptr_t)pthread_self() != jaxchem_main) {
    nanosleep(&(struct timespec){.tv_nsec = 300000000}, NULL);
    return;
  }
  int state = jaxchem_lock();
  if (jaxchem_tracer() == jaxchem_none) jaxchem_trace(raise_instead, NULL); /* no debugger's */
  jaxchem_unlock(state);
}

void unwatch_interrupts(const atomic_long *heard) {
  struct sigaction now;
  pthread_mutex_lock(&guard);
  /* a handler that somebody has set meanwhile stays */
  if (--calls == 0 && !sigaction(SIGINT, NULL, &now) && ours(&now)) sigaction(SIGINT, &before, NULL);
  pthread_mutex_unlock(&guard);
  if (atomic_load(heard) == INTERRUPTED) give_way();
}
