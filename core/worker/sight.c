/* sight: the listing of tasks in the log, for SIGUSR1 and, with stacks, SIGUSR2. */
#include <signal.h>
#include <posthorn/buf.h>
#include <posthorn/error.h>
#include <posthorn/log.h>
#include "core/run/loop.h"
#include "core/worker/worker.h"

#define LISTING_MAX   (16u << 20)
#define LINES_AT_ONCE 200          /* then the log is written: its queue has a bound */

struct listing {
    struct ph_scope *scope;
    struct ph_buf text;
};

static void listing_free(struct listing *l)
{
    ph_buf_fini(&l->text);
    ph_scope_free(l->scope);       /* holds l */
}

/* `postfix tasks` waits for the last line. */
static void log_listing(void *arg)
{
    struct listing *l = arg;
    unsigned lines = 0;

    for (ph_str rest = ph_buf_view(&l->text); rest.n;) {
        ph_str line = ph_str_cut(&rest, '\n');

        ph_log("%.*s", PH_FMT(line));
        if (++lines % LINES_AT_ONCE == 0 && ph_yield() < 0)
            break;
    }
    ph_log("tasks: %u%s", lines, l->text.full ? ", more do not fit" : "");
    listing_free(l);
}

static void list_tasks(int signo, void *arg)
{
    struct ph_worker *w = arg;
    struct ph_scope *s = ph_scope_new(NULL);
    struct listing *l = ph_new(s, struct listing);

    l->scope = s;
    ph_buf_init(&l->text, NULL, LISTING_MAX);
    ph_tasks_dump(&l->text, signo == SIGUSR2);
    if (ph_spawn(w->tasks, "listing", log_listing, l) == 0)
        return;
    ph_log_warn("no listing of the tasks: %s", ph_error());
    listing_free(l);
}

void ph_worker_sight(struct ph_worker *w)
{
    ph_sight_start(!ph_needs(w->needs, "one-client"));    /* which is slow to one alone */
    ph_signal_watch(SIGUSR1, list_tasks, w);
    ph_signal_watch(SIGUSR2, list_tasks, w);
}
