/* service: one service of master.yaml: a row per key, and what must hold
 * between the keys. */
#include <string.h>
#include "core/conf/internal.h"
#include "core/conf/service.h"

#define COUNT_MAX    1000000       /* processes, sessions, max_use */
#define SECONDS_MAX  (366LL * 86400)

/* A key of a service and the member it fills. */
struct field {
    const char *name;
    int (*read)(const struct ph_master_reading *r, const struct ph_yaml *n, struct ph_service_def *d, void *member);
    size_t offset;
};

static int is_word(const struct ph_yaml *n, const char *word)
{
    return n->kind == PH_YAML_SCALAR && !n->quoted && ph_str_eq(n->text, ph_cstr(word));
}

/* Names become file names, process names and log tags. */
static int valid_name(ph_str name, const char *extra)
{
    if (name.n == 0 || name.n > 100 || name.p[0] == '.' || name.p[0] == '-')
        return 0;
    for (size_t i = 0; i < name.n; i++)
        if (!ph_is_alnum(name.p[i]) && !strchr(extra, name.p[i]))
            return 0;
    return 1;
}

static int read_name(const struct ph_master_reading *r PH_UNUSED, const struct ph_yaml *n, struct ph_service_def *d, void *member)
{
    int rc = ph_yaml_text(n, member);

    d->place_in_file = n->place;
    /* That of an inet service may be "host:port", as in master.cf: check_service looks at it again. */
    if (rc == 0 && !valid_name(n->text, "_-.:[]"))
        return ph_yaml_fail(n->place, "bad service name \"%.*s\": letters, digits, _ - and . make a name", PH_FMT(n->text));
    return rc;
}

/* A file below daemon_directory of old; we never run it. */
static int read_program(const struct ph_master_reading *r PH_UNUSED, const struct ph_yaml *n, struct ph_service_def *d, void *member)
{
    int rc = ph_yaml_text(n, member);

    if (rc < 0)
        return rc;
    if (d->kind)
        return ph_yaml_fail(n->key_place, "only one of plugin, builtin, transport and program can be given");
    for (size_t i = 0; i < n->text.n; i++)
        if (ph_is_space(n->text.p[i]) || !n->text.p[i])
            return ph_yaml_fail(n->place, "a program's name has no blanks");
    d->kind = PH_DEF_PROGRAM;
    return n->text.n ? 0 : ph_yaml_fail(n->place, "the program has no name");
}

/* plugin:, builtin: and transport: exclude each other. */
static int read_code(const struct ph_master_reading *r PH_UNUSED, const struct ph_yaml *n, struct ph_service_def *d, void *member)
{
    int rc = ph_yaml_text(n, member);

    if (rc < 0)
        return rc;
    if (d->kind)
        return ph_yaml_fail(n->key_place, "only one of plugin, builtin, transport and program can be given");
    if (!valid_name(n->text, "_"))
        return ph_yaml_fail(n->place, "bad %.*s name \"%.*s\"", PH_FMT(n->key), PH_FMT(n->text));
    d->kind = ph_str_eq(n->key, PH_STR("plugin")) ? PH_DEF_PLUGIN
            : ph_str_eq(n->key, PH_STR("builtin")) ? PH_DEF_BUILTIN : PH_DEF_TRANSPORT;
    return 0;
}

static int read_bool(const struct ph_master_reading *r PH_UNUSED, const struct ph_yaml *n, struct ph_service_def *d PH_UNUSED, void *member)
{
    if (is_word(n, "default"))
        return 0;
    return ph_yaml_bool(n, member);
}

static int read_number(const struct ph_yaml *n, int64_t max, int64_t *value)
{
    ph_str text;
    int64_t number;
    int rc = ph_yaml_text(n, &text);

    if (rc < 0)
        return rc;
    if (!ph_str_i64(text, &number))
        return ph_yaml_fail(n->place, "%.*s must be a number, \"default\" or \"unlimited\", not \"%.*s\"", PH_FMT(n->key),
                            PH_FMT(text));
    if (number < 0)
        return ph_yaml_fail(n->place, "%.*s must not be negative", PH_FMT(n->key));
    if (number == 0)
        return ph_yaml_fail(n->place, "%.*s must be at least 1 (no limit is written \"unlimited\")", PH_FMT(n->key));
    if (number > max)
        return ph_yaml_fail(n->place, "%.*s must not exceed %lld", PH_FMT(n->key), (long long)max);
    *value = number;
    return 0;
}

static int read_count64(const struct ph_master_reading *r PH_UNUSED, const struct ph_yaml *n, struct ph_service_def *d PH_UNUSED, void *member)
{
    int64_t *value = member;

    if (is_word(n, "default"))
        return 0;
    if (is_word(n, "unlimited")) {
        *value = PH_DEF_UNLIMITED;
        return 0;
    }
    return read_number(n, COUNT_MAX, value);
}

static int read_count(const struct ph_master_reading *r, const struct ph_yaml *n, struct ph_service_def *d, void *member)
{
    int64_t value = PH_DEF_DEFAULT;
    int rc = read_count64(r, n, d, &value);

    if (rc == 0)
        *(int32_t *)member = (int32_t)value;
    return rc;
}

static int read_seconds(const struct ph_yaml *n, ph_str text, int64_t least, int64_t *value)
{
    int64_t seconds;

    if (!ph_value_time(text, 's', &seconds))
        return ph_yaml_fail(n->place, "%.*s must be a time like 30s, 5m or 1h, not \"%.*s\"", PH_FMT(n->key),
                            PH_FMT(text));
    if (seconds < least || seconds > SECONDS_MAX)
        return ph_yaml_fail(n->place, "%.*s is out of range", PH_FMT(n->key));
    *value = seconds;
    return 0;
}

static int read_time(const struct ph_master_reading *r PH_UNUSED, const struct ph_yaml *n, struct ph_service_def *d PH_UNUSED, void *member)
{
    ph_str text;
    int rc;

    if (is_word(n, "default"))
        return 0;
    if ((rc = ph_yaml_text(n, &text)) < 0)
        return rc;
    return read_seconds(n, text, 0, member);
}

static int wakeup_members(const struct ph_yaml *n, struct ph_service_def *d, int64_t *seconds)
{
    int rc = 0;

    for (const struct ph_yaml *i = n->first; rc == 0 && i; i = i->next) {
        ph_str text;

        if (ph_str_eq(i->key, PH_STR("on_demand")))
            rc = ph_yaml_bool(i, &d->wakeup_on_demand);
        else if (!ph_str_eq(i->key, PH_STR("every")))
            rc = ph_yaml_fail(i->key_place, "unknown key \"%.*s\" (every, on_demand)", PH_FMT(i->key));
        else if ((rc = ph_yaml_text(i, &text)) == 0)
            rc = read_seconds(i, text, 1, seconds);
    }
    if (rc == 0 && !ph_yaml_member(n, "every"))
        return ph_yaml_fail(n->place, "wakeup lacks the key \"every\"");
    return rc;
}

/* none, default, 300s, 300s?, none?, default? (with ?: only when it was used), {every: 300s, on_demand: true} */
static int read_wakeup(const struct ph_master_reading *r PH_UNUSED, const struct ph_yaml *n, struct ph_service_def *d, void *member)
{
    int64_t *seconds = member;
    ph_str text;
    int rc;

    if (n->kind == PH_YAML_MAPPING)
        return wakeup_members(n, d, seconds);
    if ((rc = ph_yaml_text(n, &text)) < 0 || is_word(n, "default"))
        return rc;
    if (is_word(n, "none") || is_word(n, "never")) {
        *seconds = PH_DEF_UNLIMITED;
        return 0;
    }
    if (ph_str_ends(text, PH_STR("?"))) {
        d->wakeup_on_demand = 1;
        text.n--;
    }
    if (ph_str_eq(text, PH_STR("default")))
        return 0;
    if (ph_str_eq(text, PH_STR("none"))) {
        *seconds = PH_DEF_UNLIMITED;
        return 0;
    }
    return read_seconds(n, text, 1, seconds);
}

static int read_place(const struct ph_master_reading *r PH_UNUSED, const struct ph_yaml *n, struct ph_service_def *d PH_UNUSED, void *member)
{
    int32_t *place = member;
    ph_str text;
    int rc = ph_yaml_text(n, &text);

    if (rc < 0 || is_word(n, "default"))
        return rc;
    if (ph_str_eq(text, PH_STR("inline")))
        *place = PH_PLACE_INLINE;
    else if (ph_str_eq(text, PH_STR("process")))
        *place = PH_PLACE_PROCESS;
    else
        return ph_yaml_fail(n->place, "place must be inline or process, not \"%.*s\"", PH_FMT(text));
    return 0;
}

static int inet_endpoint(const struct ph_yaml *n, ph_str text, struct ph_listen_def *l)
{
    ptrdiff_t colon = ph_str_rfind(text, ':');

    l->kind = PH_LISTEN_INET;
    l->host = ph_str_first(text, colon < 0 ? 0 : (size_t)colon);
    l->port = colon < 0 ? text : ph_str_from(text, (size_t)colon + 1);
    if (l->host.n >= 2 && l->host.p[0] == '[' && l->host.p[l->host.n - 1] == ']')
        l->host = (ph_str){ l->host.p + 1, l->host.n - 2 };
    else if (ph_str_find(l->host, ':') >= 0)
        return ph_yaml_fail(n->place, "an IPv6 address needs brackets: inet:[%.*s]:%.*s", PH_FMT(l->host), PH_FMT(l->port));
    if (!valid_name(l->port, "-_"))
        return ph_yaml_fail(n->place, "bad port \"%.*s\" in \"%.*s\"", PH_FMT(l->port), PH_FMT(n->text));
    uint64_t port;

    if (ph_str_u64(l->port, &port) && (port == 0 || port > 65535))
        return ph_yaml_fail(n->place, "port %.*s is out of range", PH_FMT(l->port));
    return 0;
}

static const struct { const char *name; uint32_t kind; } old_types[] = {
    { "unix-dgram", PH_LISTEN_DGRAM }, { "fifo", PH_LISTEN_FIFO }, { "pass", PH_LISTEN_PASS },
};

/* "unix", "unix:NAME", "inet:HOST:PORT", "inet::PORT"; $name is main.cf's. */
static int read_endpoint(const struct ph_master_reading *r, const struct ph_yaml *n, struct ph_listen_def *l)
{
    ph_str text = n->text;
    int rc;

    l->place = n->place;
    if (r->conf && (rc = ph_conf_expand(r->conf, r->scope, text, &text)) < 0) {
        PH_SCOPED(step, NULL);
        ph_str why = ph_str_dup(step, ph_cstr(ph_error()));

        return ph_yaml_fail(n->place, "%.*s", PH_FMT(why));
    }
    if (ph_str_starts(text, PH_STR("inet:")))
        return inet_endpoint(n, ph_str_from(text, 5), l);
    for (size_t i = 0; i < sizeof old_types / sizeof *old_types; i++)
        if (ph_str_eq(text, ph_cstr(old_types[i].name))) {
            l->kind = old_types[i].kind;
            return 0;
        }
    l->kind = PH_LISTEN_UNIX;
    if (ph_str_eq(text, PH_STR("unix")))
        return 0;
    if (!ph_str_starts(text, PH_STR("unix:")))
        return ph_yaml_fail(n->place, "listen must be unix, unix:NAME, inet:HOST:PORT or inet::PORT, not \"%.*s\"",
                            PH_FMT(text));
    l->name = ph_str_from(text, 5);
    if (!valid_name(l->name, "_-."))
        return ph_yaml_fail(n->place, "bad socket name \"%.*s\"", PH_FMT(l->name));
    return 0;
}

static int read_listen(const struct ph_master_reading *r, const struct ph_yaml *n, struct ph_service_def *d, void *member)
{
    const struct ph_yaml *item = n->kind == PH_YAML_SEQUENCE ? n->first : n;
    size_t count = n->kind == PH_YAML_SEQUENCE ? n->count : 1;
    struct ph_listen_def *list = ph_alloc_array(r->scope, count + 1, sizeof *list);
    int rc;

    for (size_t i = 0; i < count; i++, item = item->next) {
        if (item->kind != PH_YAML_SCALAR)
            return ph_yaml_fail(item->place, "listen must be text or a list of texts, not %s", ph_yaml_kind(item));
        if ((rc = read_endpoint(r, item, &list[i])) < 0)
            return rc;
    }
    *(const struct ph_listen_def **)member = list;
    d->listen_count = (uint32_t)count;
    return 0;
}

static int read_filters(const struct ph_master_reading *r, const struct ph_yaml *n, struct ph_service_def *d, void *member)
{
    return ph_yaml_texts(r->scope, n, member, &d->filters_count);
}

static int read_comment(const struct ph_master_reading *r PH_UNUSED, const struct ph_yaml *n, struct ph_service_def *d PH_UNUSED, void *member)
{
    return ph_yaml_text(n, member);
}

#define FIELD(key, fn, member) { key, fn, offsetof(struct ph_service_def, member) }
static const struct field fields[] = {
    FIELD("name", read_name, name),
    FIELD("plugin", read_code, code),
    FIELD("builtin", read_code, code),
    FIELD("transport", read_code, code),
    FIELD("program", read_program, code),
    FIELD("listen", read_listen, listen),
    FIELD("private", read_bool, private_),
    FIELD("processes", read_count, processes),
    FIELD("sessions", read_count, sessions),
    FIELD("place", read_place, place),
    FIELD("wakeup", read_wakeup, wakeup_s),
    FIELD("settings", ph_service_read_settings, settings),
    FIELD("args", ph_service_read_args, args),
    FIELD("raw_arguments", ph_service_read_raw, raw),
    FIELD("enabled", read_bool, enabled),
    FIELD("unprivileged", read_bool, unprivileged),
    FIELD("chroot", read_bool, chroot),
    FIELD("sandbox", read_bool, sandbox),
    FIELD("filters", read_filters, filters),
    FIELD("max_idle", read_time, max_idle_s),
    FIELD("max_use", read_count64, max_use),
    FIELD("throttle", read_time, throttle_s),
    FIELD("comment", read_comment, comment),
};
#define FIELD_COUNT (sizeof fields / sizeof *fields)

static int unknown_field(const struct ph_yaml *n)
{
    const char *names[FIELD_COUNT];

    for (size_t i = 0; i < FIELD_COUNT; i++)
        names[i] = fields[i].name;
    return ph_yaml_unknown_key(n, names, FIELD_COUNT);
}

static int read_field(const struct ph_master_reading *r, const struct ph_yaml *n, struct ph_service_def *d)
{
    for (size_t i = 0; i < FIELD_COUNT; i++)
        if (ph_str_eq(n->key, ph_cstr(fields[i].name)))
            return fields[i].read(r, n, d, (char *)d + fields[i].offset);
    return unknown_field(n);
}

int ph_service_has_listener(const struct ph_service_def *d, uint32_t kind)
{
    for (uint32_t i = 0; i < d->listen_count; i++)
        if (d->listen[i].kind == kind)
            return 1;
    return 0;
}

int64_t ph_service_wakeup_s(const struct ph_service_def *d)
{
    if (d->wakeup_s != PH_DEF_DEFAULT)
        return d->wakeup_s;
    /* Logs of messages that are gone: nobody else looks for them. */
    return d->kind == PH_DEF_PLUGIN && ph_str_eq(d->code, PH_STR("bounce")) && ph_str_eq(d->name, d->code) ? 3600 : 0;
}

const char *ph_service_def_type(const struct ph_service_def *d)
{
    for (size_t i = 0; i < sizeof old_types / sizeof *old_types; i++)
        if (ph_service_has_listener(d, old_types[i].kind))
            return old_types[i].name;
    return ph_service_has_listener(d, PH_LISTEN_INET) ? "inet" : "unix";
}

/* Names of other services become files. */
static int check_endpoint(const struct ph_yaml *n, const struct ph_service_def *d)
{
    const struct ph_yaml *name = ph_yaml_member(n, "name");
    int inet = ph_service_has_listener(d, PH_LISTEN_INET) && !ph_service_has_listener(d, PH_LISTEN_UNIX);

    if (!inet && !valid_name(d->name, "_-."))
        return ph_yaml_fail(name->place, "bad service name \"%.*s\": only that of an inet service can be host:port", PH_FMT(d->name));
    for (uint32_t i = 0; i < d->listen_count; i++)
        if (d->listen[i].kind >= PH_LISTEN_DGRAM && d->kind != PH_DEF_PROGRAM)
            return ph_yaml_fail(d->listen[i].place, "service %.*s: listeners of type %s are not in this release yet", PH_FMT(d->name),
                                ph_service_def_type(d));
    return 0;
}

/* What must hold between the keys of one service. */
static int check_service(const struct ph_yaml *n, const struct ph_service_def *d)
{
    const struct ph_yaml *private_ = ph_yaml_member(n, "private"), *place = ph_yaml_member(n, "place"), *raw = ph_yaml_member(n, "raw_arguments");

    if (d->name.n == 0)
        return ph_yaml_fail(n->place, "the service lacks a name");
    if (!d->kind)
        return ph_yaml_fail(n->place, "service %.*s lacks plugin, builtin or transport", PH_FMT(d->name));
    if (check_endpoint(n, d) < 0)
        return PH_CONF;
    if (raw && (ph_yaml_member(n, "settings") || ph_yaml_member(n, "args")))
        return ph_yaml_fail(raw->key_place, "service %.*s: raw_arguments excludes settings and args", PH_FMT(d->name));
    if (d->private_ == 1 && ph_service_has_listener(d, PH_LISTEN_INET))
        return ph_yaml_fail(private_->place, "service %.*s: an inet listener cannot be private", PH_FMT(d->name));
    if (d->place == PH_PLACE_INLINE && ph_service_has_listener(d, PH_LISTEN_INET))
        return ph_yaml_fail(place->place, "service %.*s: an inet service cannot be placed inline", PH_FMT(d->name));
    if (d->place == PH_PLACE_INLINE && d->kind == PH_DEF_BUILTIN)
        return ph_yaml_fail(place->place, "service %.*s: a builtin cannot be placed inline", PH_FMT(d->name));
    return 0;
}

int ph_service_read(const struct ph_master_reading *r, const struct ph_yaml *n, struct ph_service_def *d)
{
    int rc = 0;

    *d = (struct ph_service_def){
        .enabled = 1, .private_ = PH_DEF_DEFAULT, .unprivileged = PH_DEF_DEFAULT, .chroot = PH_DEF_DEFAULT,
        .sandbox = PH_DEF_DEFAULT, .place = PH_DEF_DEFAULT, .processes = PH_DEF_DEFAULT, .sessions = PH_DEF_DEFAULT,
        .max_use = PH_DEF_DEFAULT, .wakeup_s = PH_DEF_DEFAULT, .max_idle_s = PH_DEF_DEFAULT,
        .throttle_s = PH_DEF_DEFAULT, .place_in_file = n->place,
    };
    if (n->kind != PH_YAML_MAPPING)
        return ph_yaml_fail(n->place, "a service must be a mapping, not %s", ph_yaml_kind(n));
    for (const struct ph_yaml *i = n->first; rc == 0 && i; i = i->next)
        rc = read_field(r, i, d);
    if (rc < 0)
        return rc;
    d->listed = d->enabled;
    if (d->kind == PH_DEF_PROGRAM)
        d->enabled = 0;
    /* "unix" alone is the socket of the service's own name. */
    for (uint32_t i = 0; i < d->listen_count; i++)
        if (d->listen[i].kind == PH_LISTEN_UNIX && d->listen[i].name.n == 0)
            ((struct ph_listen_def *)(uintptr_t)d->listen)[i].name = d->name;
    return check_service(n, d);
}
