/* t/proxymap/service.c: a service that uses tables as it is told to:
 * {do (lookup, update, remove, first, next), table, flags, key, value} -> {rc, key, value, text, ms}.
 * A table is opened once. */
#include <posthorn/frame.h>
#include <posthorn/map.h>
#include <posthorn/service.h>
#include <posthorn/table.h>

static int32_t asks_open(struct ph_service *v)
{
    v->self = ph_map_new(v->scope);
    return 0;
}

static int find(struct ph_service *v, ph_str name, uint64_t flags, struct ph_table **t)
{
    PH_SCOPED(s, v->scope);
    ph_str key = ph_str_printf(s, "%llu %.*s", (unsigned long long)flags, PH_FMT(name));

    if ((*t = ph_map_get(v->self, key)))
        return 0;
    int rc = ph_table_open(v->conf, v->scope, name, (uint32_t)flags, t);
    if (rc == 0)
        ph_map_set(v->self, key, *t);
    return rc;
}

static int act(struct ph_table *t, struct ph_scope *s, const struct ph_frame *in, ph_str *key, ph_str *val)
{
    ph_str what = ph_frame_value(in, "do");

    *key = ph_frame_value(in, "key");
    if (ph_str_eq(what, PH_STR("lookup")))
        return ph_table_lookup(t, *key, s, val);
    if (ph_str_eq(what, PH_STR("update")))
        return ph_table_update(t, *key, ph_frame_value(in, "value"));
    if (ph_str_eq(what, PH_STR("remove")))
        return ph_table_remove(t, *key);
    return ph_table_next(t, ph_str_eq(what, PH_STR("first")), s, key, val);
}

static void answer(struct ph_service *v, struct ph_scope *s, const struct ph_frame *in, struct ph_frame *out)
{
    ph_str key = PH_STR(""), val = PH_STR("");
    struct ph_table *t;
    uint64_t flags = 0;
    int64_t begun = ph_wall_us();

    ph_frame_get_u64(in, "flags", &flags);
    int rc = find(v, ph_frame_value(in, "table"), flags, &t);
    if (rc == 0)
        rc = act(t, s, in, &key, &val);
    ph_frame_i64(out, "rc", rc);
    ph_frame_str(out, "key", key);
    ph_frame_str(out, "value", val);
    ph_frame_str(out, "text", ph_str_dup(s, ph_cstr(rc < 0 ? ph_error() : "")));
    ph_frame_i64(out, "ms", (ph_wall_us() - begun) / 1000);
}

static int32_t asks_serve(struct ph_service *v, struct ph_scope *session, struct ph_stream *io, const struct ph_peer *peer PH_UNUSED)
{
    int rc = 0;

    while (rc >= 0) {
        PH_SCOPED(s, session);
        struct ph_frame *in, *out = ph_frame_new(s);

        if ((rc = ph_frame_recv(io, s, 0, &in)) < 0)
            break;
        answer(v, s, in, out);
        if ((rc = ph_frame_send(io, out)) >= 0)
            rc = ph_stream_flush(io);
    }
    return rc == PH_EOF ? 0 : rc;
}

PH_PLUGIN_SERVICE(asks,
    PH_IS(.summary = "uses tables as it is told to", .exec = PH_COROUTINE, .concurrency = PH_MANY_CALLS),
    .needs = "",
    .open = asks_open,
    .serve = asks_serve);
