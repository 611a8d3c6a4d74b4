/* worker: the program.  All of it is in libposthorn (core/worker/main.c). */
#include "core/worker/worker.h"

int main(int argc, char **argv)
{
    return ph_worker_main(argc, argv);
}
