/* tables: see tables.h. */
#include <posthorn/clock.h>
#include <posthorn/error.h>
#include <posthorn/task.h>
#include "core/plugin/internal.h"
#include "core/plugin/registry.h"
#include "core/plugin/tables.h"
#include "core/run/loop.h"
#include "core/run/why.h"

/* At most 200 bytes of a key in a message. */
#define KEY_FMT(k) PH_FMT(ph_str_first((k), 200))
#define LOOK_MS 1000               /* between two looks at the file of a table */

/* What stands around the table that the plugin sees. */
struct handle {
    struct ph_table table;         /* first: callers hold its address */
    struct ph_scope *scope;        /* of the handle; the table's own is inside */
    ph_str text;                   /* "type:name" as it was written */
    const char *what;              /* the parameter that names it, or NULL */
    const char *broken;            /* why it cannot be asked, or NULL */
    int may_recover, said_stale;
    int64_t next_look_ms;
};

static struct handle *handle_of(struct ph_table *t)
{
    return (struct handle *)(void *)t;
}

/* What this process is (tables.h). */
static struct {
    enum { A_COMMAND, A_CLIENT, THE_POOL } role;
    const char *reader, *writer;
} here;

void ph_tables_by_pool(const char *reader, const char *writer)
{
    here.role = A_CLIENT;
    here.reader = reader;
    here.writer = writer;
}

void ph_tables_here(void)
{
    here.role = THE_POOL;
}

int ph_table_is_pattern(struct ph_table *t)
{
    if (ph_remote_is(t))
        ph_remote_learn(t);
    return (t->is & PH_TABLE_PATTERN) != 0;
}

int ph_table_type_blocks(ph_str type)
{
    return ph_plugin_exec(PH_KIND_TABLE, type) == PH_BLOCKING ? PH_FOUND : PH_NONE;
}

/* proxy:type:name is that table, read in another process. */
static ph_str without_proxy(ph_str text)
{
    while (ph_str_starts(text, PH_STR("proxy:")))
        text = ph_str_from(text, 6);
    return text;
}

static int split(struct ph_conf *c, struct ph_scope *s, ph_str text, ph_str *type, ph_str *name)
{
    text = without_proxy(text);
    ptrdiff_t colon = ph_str_find(text, ':');

    if (colon >= 0 && text.p[0] != '/') {
        *type = ph_str_first(text, (size_t)colon);
        *name = ph_str_from(text, (size_t)colon + 1);
    } else {
        int rc = c ? ph_conf_get(c, s, "default_database_type", type) : PH_NONE;

        if (rc != PH_FOUND)
            return rc < 0 ? rc : ph_fail(PH_CONF, "\"%.*s\": a table is written type:name", PH_FMT(text));
        *name = text;
    }
    if (type->n && name->n)
        return 0;
    return ph_fail(PH_CONF, "open dictionary: expecting \"type:name\" form instead of \"%.*s:%.*s\"", PH_FMT(*type), PH_FMT(*name));
}

/* One call of the plugin, on the large stack unless it waits by our calls. */
enum op { OP_OPEN, OP_LOOKUP, OP_UPDATE, OP_REMOVE, OP_NEXT, OP_COMMIT, OP_CHANGED };

struct call {
    struct ph_table *t;
    enum op op;
    int32_t first;
    ph_str key, val;
    struct ph_scope *out;
};

static int make_call(void *arg)
{
    struct call *c = arg;
    const struct ph_table_plugin *ops = c->t->ops;

    switch (c->op) {
    case OP_OPEN: return ops->open(c->t, c->t->name);
    case OP_LOOKUP: return ops->lookup(c->t, c->key, c->out, &c->val);
    case OP_UPDATE: return ops->update ? ops->update(c->t, c->key, c->val) : ph_fail(PH_CONF, "update operation is not supported");
    case OP_REMOVE: return ops->remove ? ops->remove(c->t, c->key) : ph_fail(PH_CONF, "delete operation is not supported");
    case OP_NEXT: return ops->sequence ? ops->sequence(c->t, c->first, c->out, &c->key, &c->val) : ph_fail(PH_CONF, "sequence operation is not supported");
    case OP_COMMIT: return ops->commit ? ops->commit(c->t) : 0;
    case OP_CHANGED: return ops->changed(c->t);
    }
    return ph_fail(PH_TEMP, "no such call");
}

static int call(struct call *c)
{
    return c->t->ops->plugin.exec == PH_COROUTINE ? make_call(c) : ph_foreign(make_call, c);
}

/* Who writes proxy: means another process, but not where an answer gives rights: then
 * the table is this process's own matter, and only what may block is asked for. */
static int is_proxied(const struct handle *h, uint32_t flags)
{
    return ph_str_starts(h->text, PH_STR("proxy:")) && !(flags & PH_TABLE_SECURE);
}

/* Which service has the table: *service, NULL: it is opened here.  0, PH_CONF. */
static int choose(const struct handle *h, ph_str type, uint32_t flags, const char **service)
{
    int writes = (flags & (PH_TABLE_CREATE | PH_TABLE_WRITE)) != 0, proxied = is_proxied(h, flags);
    int blocks = ph_table_type_blocks(type) == PH_FOUND;

    *service = NULL;
    if (ph_plugin_exists(PH_KIND_TABLE, type) != PH_FOUND)
        return ph_plugin_missing(PH_KIND_TABLE, type);
    if (proxied && writes && (here.role != A_CLIENT || flags & PH_TABLE_CREATE))
        return ph_fail(PH_CONF, "can't create maps via the proxy service");
    if (here.role != A_CLIENT || !(proxied || blocks))
        return 0;
    *service = writes ? here.writer : here.reader;
    if (*service || !blocks)
        return 0;
    return ph_fail(PH_CONF, "table type \"%.*s\" may block, so that a service reads it through proxymap(8), which master.yaml does not declare: "
                   "postfix upgrade-configuration adds it", PH_FMT(type));
}

/* May a table of that plugin be opened in this process, so? */
static int check_plugin(const struct ph_table_plugin *ops, ph_str type, uint32_t flags)
{
    if (!ops->open || !ops->lookup)
        return ph_fail(PH_CONF, "table type \"%.*s\" cannot be opened", PH_FMT(type));
    if (ops->plugin.exec == PH_BLOCKING && ph_in_task() && here.role != THE_POOL)
        return ph_fail(PH_CONF, "table type \"%.*s\" may block, and its manifest does not say so (exec:): make the manifest anew", PH_FMT(type));
    if (ops->plugin.exec == PH_COROUTINE && ph_in_foreign())
        return ph_fail(PH_CONF, "table type \"%.*s\" waits for others: a table that may block cannot stand on it", PH_FMT(type));
    if (flags & PH_TABLE_SECURE && ops->is & PH_TABLE_INSECURE)
        return ph_fail(PH_CONF, "table type \"%.*s\" must not be used where an answer gives rights", PH_FMT(type));
    if (flags & (PH_TABLE_CREATE | PH_TABLE_WRITE) && !ops->update)
        return ph_fail(PH_CONF, "unsupported dictionary type: %.*s does not support bulk-mode creation.", PH_FMT(type));
    return 0;
}

/* Open the table with the plugin: 0, or negative. */
static int open_here(struct ph_table *t)
{
    const struct ph_plugin *desc;
    struct call open = { .t = t, .op = OP_OPEN };
    int rc = ph_plugin_find(PH_KIND_TABLE, t->type, &desc);

    if (rc < 0)
        return rc;
    t->ops = (const struct ph_table_plugin *)(const void *)desc;
    t->is = t->ops->is;
    if ((rc = check_plugin(t->ops, t->type, t->flags)) < 0)
        return rc;
    rc = call(&open);
    return rc < 0 ? ph_wrap(rc, "%.*s:%.*s", PH_FMT(t->type), PH_FMT(t->name)) : 0;
}

/* Open the table in a scope of its own within the handle's. */
static int open_handle(struct handle *h, uint32_t flags, struct ph_conf *c)
{
    const char *service;
    ph_str type, name;
    int rc = split(c, h->scope, h->text, &type, &name);

    if (rc < 0 || (rc = choose(h, type, flags, &service)) < 0)
        return rc;
    struct ph_scope *s = ph_scope_new(h->scope);
    struct ph_table *t = ph_new(s, struct ph_table);       /* where a plugin that keeps it finds it */

    *t = (struct ph_table){ .scope = s, .type = ph_str_dup(s, type), .name = ph_str_dup(s, name), .flags = flags, .conf = c };
    if (service)
        ph_remote_open(t, service, is_proxied(h, flags));
    else if ((rc = open_here(t)) < 0) {
        ph_scope_free(s);
        return rc;
    }
    ph_scope_free(h->table.scope); /* the one before, when this is a reopening */
    h->table = *t;
    return 0;
}

/* smtputf8_enable = no: bytes are bytes. */
static uint32_t with_bytes(struct ph_conf *c, uint32_t flags)
{
    int utf8 = 1;

    return c && ph_conf_get_bool(c, "smtputf8_enable", &utf8) >= 0 && !utf8 ? flags | PH_TABLE_ANY_BYTES : flags;
}

static struct handle *new_handle(struct ph_scope *s, ph_str text, struct ph_conf *c, uint32_t flags)
{
    struct ph_scope *own = ph_scope_new(s);
    struct handle *h = ph_new(own, struct handle);

    h->scope = own;
    h->text = ph_str_dup(own, text);
    h->next_look_ms = ph_now_ms() + LOOK_MS;
    h->table.conf = c;
    h->table.flags = with_bytes(c, flags);
    h->table.name = h->text;
    return h;
}

int ph_table_open(struct ph_conf *c, struct ph_scope *s, ph_str text, uint32_t flags, struct ph_table **out)
{
    struct handle *h = new_handle(s, text, c, flags);
    int rc = open_handle(h, h->table.flags, c);

    if (rc < 0) {
        ph_scope_free(h->scope);
        return rc;
    }
    *out = &h->table;
    return 0;
}

int ph_table_inner(struct ph_table *t, ph_str text, struct ph_table **inner)
{
    text = ph_str_trim(text);
    if (text.n == 0 || text.p[0] == '{' || ph_str_find(text, ':') < 1)
        return ph_fail(PH_CONF, "open dictionary: expecting \"type:name\" form instead of \"%.*s\"", PH_FMT(text));
    return ph_table_open(t->conf, t->scope, text, t->flags, inner);
}

struct ph_table *ph_table_open_soft(struct ph_conf *c, struct ph_scope *s, const char *what, ph_str text, uint32_t flags)
{
    struct handle *h = new_handle(s, text, c, flags);
    int rc = open_handle(h, h->table.flags, c);

    h->what = ph_cstr_dup(h->scope, ph_cstr(what));
    if (rc < 0) {
        h->broken = ph_cstr_dup(h->scope, ph_cstr(ph_error()));
        h->may_recover = rc != PH_CONF;
        ph_log_error("%s: %s", what, h->broken);
    }
    return &h->table;
}

/* The table was rebuilt, or could not be opened before: open it (again).  While
 * that fails the old one serves: its contents are whole. */
static void look_again(struct handle *h)
{
    struct call changed = { .t = &h->table, .op = OP_CHANGED };
    int64_t now = ph_now_ms();

    if (now < h->next_look_ms)
        return;
    h->next_look_ms = now + LOOK_MS;
    if (h->broken ? !h->may_recover : !h->table.ops->changed || h->table.ops->plugin.exec == PH_COROUTINE || call(&changed) != PH_FOUND)
        return;
    int was_broken = h->broken != NULL, rc = open_handle(h, h->table.flags, h->table.conf);
    if (rc < 0 && !was_broken && !h->said_stale)
        ph_log_warn("table has changed, and its new contents cannot be used yet: %s", ph_error());
    h->said_stale = rc < 0;
    if (rc < 0)
        return;
    h->broken = NULL;
    ph_log("table %.*s %s", PH_FMT(h->text), was_broken ? "can be used now" : "has changed: read again");
}

static ph_str folded(const struct ph_table *t, struct ph_scope *out, ph_str key)
{
    return t->is & (PH_TABLE_PATTERN | PH_TABLE_NOFOLD) ? key : ph_table_key(t, out, key);
}

static int ask(struct handle *h, ph_str key, struct ph_scope *out, ph_str *val)
{
    struct ph_table *t = &h->table;

    look_again(h);
    if (h->broken)
        return ph_fail(PH_TEMP, "table %.*s: lookup of \"%.*s\": %s", PH_FMT(h->text), KEY_FMT(key), h->broken);
    if (!ph_table_takes_key(t, key))
        return PH_NONE;
    struct call c = { .t = t, .op = OP_LOOKUP, .key = folded(t, out, key), .out = out };
    int rc = call(&c);

    if (rc == PH_FOUND && (rc = ph_table_takes_value(t, key, c.val)) == PH_FOUND)
        *val = c.val;              /* whoever has a default in it keeps that */
    else if (rc >= 0 && rc != PH_NONE)
        rc = ph_fail(PH_TEMP, "the plugin answered %d", rc);
    return rc < 0 ? ph_wrap(rc, "table %.*s:%.*s: lookup of \"%.*s\"", PH_FMT(t->type), PH_FMT(t->name), KEY_FMT(key)) : rc;
}

/* Somebody wants to know what is asked. */
static int ask_aloud(struct ph_why_sink *why, struct handle *h, ph_str key, struct ph_scope *out, ph_str *val)
{
    struct table_question q = { .t = &h->table, .what = h->what, .table = h->text };

    why->depth++;
    why->file = why->index = NULL;
    q.answer = ask(h, key, out, val);
    why->depth--;
    q.key = folded(&h->table, out, key);
    q.value = q.answer == PH_FOUND ? *val : PH_STR("");
    ph_why_asked(why, &q);
    return q.answer;
}

int ph_table_lookup(struct ph_table *t, ph_str key, struct ph_scope *out, ph_str *val)
{
    struct ph_why_sink *why = ph_why_here();

    return why ? ask_aloud(why, handle_of(t), key, out, val) : ask(handle_of(t), key, out, val);
}

static int named(struct ph_table *t, int rc)
{
    return rc < 0 ? ph_wrap(rc, "table %.*s:%.*s", PH_FMT(t->type), PH_FMT(t->name)) : rc;
}

int ph_table_update(struct ph_table *t, ph_str key, ph_str val)
{
    struct call c = { .t = t, .op = OP_UPDATE, .key = key, .val = val };

    return named(t, call(&c));
}

int ph_table_remove(struct ph_table *t, ph_str key)
{
    struct call c = { .t = t, .op = OP_REMOVE, .key = key };

    return named(t, call(&c));
}

int ph_table_next(struct ph_table *t, int first, struct ph_scope *out, ph_str *key, ph_str *val)
{
    struct call c = { .t = t, .op = OP_NEXT, .first = first, .out = out };
    int rc = call(&c);

    if (rc == PH_FOUND) {
        *key = c.key;
        *val = c.val;
    }
    return named(t, rc);
}

int ph_table_commit(struct ph_table *t)
{
    struct call c = { .t = t, .op = OP_COMMIT };

    return named(t, call(&c));
}
