#include "lanes.h"
#define CELLS 1
#define DIRECTIONS LANES
#define MARCH march_directions
#include "march.h"
