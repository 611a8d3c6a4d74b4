#include "sched_world.h"
int main(void) { return done_testing(); }
