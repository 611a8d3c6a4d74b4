/* t/fuzz/world.h: what the targets of whole services share: a loop on simulated
 * time, the plugins that are linked in, the services that they talk to, and a
 * queue that remembers what was committed.  Stands in for the registry, for
 * <posthorn/client.h> and <posthorn/intake.h>; all else is the product's. */
#ifndef T_FUZZ_WORLD_H
#define T_FUZZ_WORLD_H

#include <posthorn/service.h>
#include "fuzz.h"

/* One of the services that run here, inline. */
struct world_service {
    const struct ph_service_plugin *ops;
    struct ph_service v;
};

/* Open a service under a configuration, lines of main.cf.  Both live for ever. */
struct world_service *world_open(const struct ph_service_plugin *ops, const char *main_cf);
/* Who is dialled from now on under the names of the plugins. */
void world_set(struct world_service *const *list, size_t n);

/* fn(arg) as the first task of a loop at simulated time 1000 s; messages are kept on
 * s.  Afterwards no task is left, or the property is broken. */
void world_run(struct ph_scope *s, void (*fn)(void *), void *arg);
/* Inside: serve one client as the worker does; *io is its end on s. */
void world_serve(struct ph_scope *s, const struct world_service *w, const struct ph_peer *peer, size_t buffer, struct ph_stream **io);
/* 1 while a session that world_serve began lives. */
int world_is_serving(void);
/* Everybody else goes on until all wait; a millisecond passes.  Yields. */
void world_settle(void) PH_YIELDS;

/* What was committed since world_run began. */
struct world_message {
    ph_str sender, rcpts, attrs, content;   /* recipients and attributes as in a message file */
    uint32_t rcpt_count, hold;
};
extern struct world {
    struct world_message message[64];
    unsigned committed;            /* all; the first 64 are kept */
    unsigned begun;
    size_t message_max;            /* bytes; more is PH_PERM */
    unsigned fail_begin, fail_commit; /* this one (1 is the first) fails; 0: none */
    int ended;                     /* what the last session of world_serve that ended answered */
} world;

/* A choice of n from the input, by a digit where it is one. */
unsigned world_choice(ph_str *in, unsigned n);

/* Bytes of heap in use; 0 where the build does not count them. */
size_t world_heap(void);

#endif
