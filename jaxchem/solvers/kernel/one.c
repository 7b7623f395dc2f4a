#define CELLS 1
#define MARCH march_one
#include "march.h"
