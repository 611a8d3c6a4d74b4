/* client: services by name.  See posthorn/client.h and client.h. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include <posthorn/error.h>
#include <posthorn/log.h>
#include <posthorn/map.h>
#include <posthorn/net.h>
#include "core/base/list.h"
#include "core/ipc/client.h"

#define POOL_MAX 16u               /* idle connections kept per service */
#define AGE_MAX_MS 30000           /* a service that was replaced by a reload is left after this */
#define STREAM_BYTES 16384u

struct inline_service {
    const char *name;
    struct ph_group *group;
    int (*serve)(void *arg, struct ph_scope *session, struct ph_stream *io);
    void *arg;
};

struct pool {
    struct ph_list idle;
    unsigned n;
};

struct conn {
    struct ph_list node;
    struct ph_scope *scope;
    struct ph_stream *io;
    int64_t born;
};

/* One per process: services are looked up by name anywhere in it. */
static struct {
    struct ph_scope *scope;
    char directory[1024];
    const char *places;
    int64_t timeout_ms;
    struct ph_map *inlines, *pools;
} client = { .places = "private public" };

static void init(void)
{
    if (client.scope)
        return;
    client.scope = ph_scope_new(NULL);
    client.inlines = ph_map_new(client.scope);
    client.pools = ph_map_new(client.scope);
    client.timeout_ms = 3600 * 1000;
}

void ph_client_setup(ph_str queue_directory, int64_t timeout_ms)
{
    init();
    snprintf(client.directory, sizeof client.directory, "%.*s", PH_FMT(queue_directory));
    client.timeout_ms = timeout_ms;
}

int64_t ph_client_timeout_ms(void)
{
    init();
    return client.timeout_ms;
}

void ph_client_places(const char *places)
{
    client.places = places;
}

void ph_client_inline(const char *name, struct ph_group *g,
                      int (*serve)(void *arg, struct ph_scope *session, struct ph_stream *io), void *arg)
{
    init();
    struct inline_service *i = ph_new(client.scope, struct inline_service);

    *i = (struct inline_service){ ph_cstr_dup(client.scope, ph_cstr(name)), g, serve, arg };
    ph_map_set(client.inlines, ph_cstr(name), i);
}

struct inline_call {
    struct inline_service *service;
    struct ph_scope *scope;
    struct ph_stream *io;
};

static void serve_inline(void *arg)
{
    struct inline_call *c = arg;
    struct inline_service *i = c->service;

    ph_deadline_set(PH_FOREVER);
    ph_log_service(i->name);
    int rc = i->serve(i->arg, c->scope, c->io);
    if (rc == PH_PERM || rc == PH_CONF)
        ph_log_warn("inline session ended: %s", ph_error());
    else if (rc < 0 && rc != PH_CANCEL && rc != PH_EOF)
        ph_debug(1, "inline session ended: %s", ph_error());
    ph_scope_free(c->scope);       /* holds c itself */
}

static int dial_inline(struct ph_scope *s, struct inline_service *i, struct ph_stream **io)
{
    struct ph_scope *theirs = ph_scope_new(NULL);
    struct inline_call *c = ph_new(theirs, struct inline_call);

    *c = (struct inline_call){ .service = i, .scope = theirs };
    ph_stream_pair(s, theirs, STREAM_BYTES, io, &c->io);
    int rc = ph_spawn(i->group, i->name, serve_inline, c);
    if (rc < 0)
        ph_scope_free(theirs);
    return rc;
}

static int dial_socket(struct ph_scope *s, const char *name, struct ph_stream **io)
{
    ph_str places = ph_cstr(client.places), place;
    int64_t deadline = ph_in_ms(client.timeout_ms);
    char path[1200];
    int rc = PH_TEMP;

    if (!client.directory[0] || strchr(name, '/'))
        return ph_fail(PH_CONF, "service \"%s\" cannot be reached from here", name);
    while ((place = ph_str_word(&places)).n) {
        snprintf(path, sizeof path, "%s/%.*s/%s", client.directory, PH_FMT(place), name);
        rc = ph_dial_unix(s, path, deadline, io);
        /* Not there: it may be in the other directory. */
        if (rc >= 0 || access(path, F_OK) == 0)
            return rc;
    }
    return ph_wrap(rc, "service %s", name);
}

int ph_service_dial(struct ph_scope *s, const char *name, struct ph_stream **io)
{
    struct inline_service *i;

    init();
    i = ph_map_get(client.inlines, ph_cstr(name));
    return i ? dial_inline(s, i, io) : dial_socket(s, name, io);
}

static struct pool *pool_of(const char *name)
{
    struct pool *p = ph_map_get(client.pools, ph_cstr(name));

    if (!p) {
        p = ph_new(client.scope, struct pool);
        ph_list_init(&p->idle);
        ph_map_set(client.pools, ph_cstr(name), p);
    }
    return p;
}

static void conn_free(struct conn *c)
{
    ph_scope_free(c->scope);
}

/* An idle connection that still stands, or NULL.  The newest first. */
static struct conn *take_idle(struct pool *p)
{
    while (!ph_list_is_empty(&p->idle)) {
        struct conn *c = ph_list_of(p->idle.prev, struct conn, node);

        ph_list_remove(&c->node);
        p->n--;
        if (!ph_stream_is_stale(c->io) && ph_now_ms() - c->born < AGE_MAX_MS)
            return c;
        conn_free(c);
    }
    return NULL;
}

static int dial_conn(const char *name, struct conn **out)
{
    struct ph_scope *s = ph_scope_new(NULL);
    struct conn *c = ph_new(s, struct conn);

    c->scope = s;
    c->born = ph_now_ms();
    ph_list_init(&c->node);
    int rc = ph_service_dial(s, name, &c->io);
    if (rc < 0) {
        ph_scope_free(s);
        return rc;
    }
    *out = c;
    return 0;
}

static int exchange(struct conn *c, struct ph_scope *s, const struct ph_frame *request, struct ph_frame **reply)
{
    ph_stream_deadline(c->io, ph_in_ms(client.timeout_ms));
    int rc = ph_frame_send(c->io, request);

    if (rc == 0)
        rc = ph_stream_flush(c->io);
    if (rc == 0)
        rc = ph_frame_recv(c->io, s, 0, reply);
    ph_stream_deadline(c->io, PH_FOREVER);
    /* What a broken service says is no verdict about the mail. */
    if (rc < 0 && rc != PH_CANCEL && rc != PH_TIMEOUT)
        return ph_wrap(PH_TEMP, "no answer");
    return rc < 0 ? rc : 0;
}

static void give_back(struct pool *p, struct conn *c)
{
    if (p->n >= POOL_MAX) {
        conn_free(c);
        return;
    }
    ph_list_push(&p->idle, &c->node);
    p->n++;
}

int ph_service_call(struct ph_scope *s, const char *name, const struct ph_frame *request, struct ph_frame **reply)
{
    init();
    struct pool *p = pool_of(name);
    struct conn *c = take_idle(p);
    int reused = c != NULL, rc = c ? 0 : dial_conn(name, &c);

    if (rc == 0)
        rc = exchange(c, s, request, reply);
    else
        c = NULL;
    /* A pooled connection may have ended just now: once more on a fresh one. */
    if (reused && rc < 0 && rc != PH_CANCEL && rc != PH_TIMEOUT) {
        conn_free(c);
        c = NULL;
        if ((rc = dial_conn(name, &c)) == 0)
            rc = exchange(c, s, request, reply);
        else
            c = NULL;
    }
    if (rc == 0) {
        give_back(p, c);
        return 0;
    }
    if (c)
        conn_free(c);
    return ph_wrap(rc, "service %s", name);
}

void ph_client_forget(void)
{
    size_t at = 0;
    ph_str key;
    void *value;

    while (client.pools && ph_map_next(client.pools, &at, &key, &value)) {
        struct conn *c;

        while ((c = take_idle(value)))
            conn_free(c);
    }
}
