#include "lanes.h"
#define CELLS LANES
#define MARCH march_many
#include "march.h"
