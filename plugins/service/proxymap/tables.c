/* tables: each is opened once for all clients that want it with the same flags, and stays. */
#include <signal.h>
#include <string.h>
#include <unistd.h>
#include <posthorn/clock.h>
#include <posthorn/error.h>
#include "proxymap.h"

#define OPEN_MS   60000            /* to open one */
#define RETRY_MS  1000             /* between two attempts to open one */
#define GRACE_S   5                /* beyond what a call may take, before its process ends */

/* A table that is changed here and does not exist yet begins empty. */
static int open_written(struct pool *p, ph_str name, struct ph_table **t)
{
    int rc = ph_table_open(p->conf, p->scope, name, PH_TABLE_WRITE, t);

    if (rc != PH_TEMP)
        return rc;
    PH_SCOPED(s, NULL);
    const char *why = ph_cstr_dup(s, ph_cstr(ph_error()));
    struct ph_table *made;
    rc = ph_table_open(p->conf, s, name, PH_TABLE_WRITE | PH_TABLE_CREATE, &made);
    if (rc == 0 && (rc = ph_table_commit(made)) >= 0)
        return ph_table_open(p->conf, p->scope, name, PH_TABLE_WRITE, t);
    return ph_fail(PH_TEMP, "%s", why);
}

static void entry_open(struct pool *p, struct entry *e)
{
    watch_begin(e, OPEN_MS);
    int rc = p->writes ? open_written(p, e->name, &e->table) : ph_table_open(p->conf, p->scope, e->name, e->flags, &e->table);
    watch_end();

    e->next_try_ms = ph_in_ms(RETRY_MS);
    if (rc < 0) {
        const char *why = ph_error();

        if (!e->why || strcmp(e->why, why) != 0)
            ph_log_error("table %.*s: %s", PH_FMT(e->name), why);
        e->why = ph_cstr_dup(p->scope, ph_cstr(why));
        e->table = NULL;
    } else if (e->why) {
        ph_log("table %.*s can be used now", PH_FMT(e->name));
        e->why = NULL;
    }
    e->rc = rc;
}

struct entry *entry_get(struct pool *p, ph_str name, uint32_t flags)
{
    PH_SCOPED(s, NULL);
    ph_str key = ph_str_printf(s, "%u %.*s", flags, PH_FMT(name));
    struct entry *e = ph_map_get(p->entries, key);

    if (!e) {
        e = ph_new(p->scope, struct entry);
        e->name = ph_str_dup(p->scope, name);
        e->flags = flags;
        e->last_words = ph_str_printf(p->scope, "warning: table %.*s does not come to an end with a look-up: this process ends\n", PH_FMT(ph_str_first(name, 300))).p;
        ph_map_set(p->entries, key, e);
        entry_open(p, e);
    } else if (!e->table && e->rc != PH_CONF && ph_now_ms() >= e->next_try_ms) {
        entry_open(p, e);
    }
    return e;
}

static void open_all(struct pool *p, const struct ph_map *set)
{
    size_t at = 0;
    ph_str name;
    void *value;

    while (ph_map_next(set, &at, &name, &value))
        entry_get(p, name, p->writes ? PH_TABLE_WRITE : PH_TABLE_FOLD);
}

void entries_open(struct pool *p)
{
    open_all(p, p->approved.proxied);
    open_all(p, p->approved.named);
}

/* ---- a process that hangs ---- */

/* In a signal handler there is nothing but the process. */
static const char *volatile last_words = "";

static void on_alarm(int signo PH_UNUSED)
{
    const char *words = last_words;

    (void)!write(STDERR_FILENO, words, strlen(words));      /* the master logs it */
    _exit(0);                      /* no crash: the next one may start at once */
}

int watch_open(void)
{
    struct sigaction act = { .sa_handler = on_alarm };

    return sigaction(SIGALRM, &act, NULL) < 0 ? ph_fail(PH_TEMP, "sigaction") : 0;
}

void watch_begin(const struct entry *e, int64_t ms)
{
    last_words = e->last_words;
    alarm((unsigned)(ms / 1000 + 1 + GRACE_S));
}

void watch_end(void)
{
    alarm(0);
}
