/* attr: what master.yaml and main.cf say of one pipe service. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <posthorn/error.h>
#include <posthorn/log.h>
#include "pipe.h"

#define EOL_MAX  64u

const struct ph_param pipe_rows[PIPE_ROWS] = {
    PH_P_TIME(struct pipe_params, command_time_limit, "command_time_limit", "1000s", "s", 1, 0,
              "How long a command may run when TRANSPORT_time_limit says nothing else."),
    PH_P_STR(struct pipe_params, delimiters, "recipient_delimiter", "", "Characters that separate user and extension."),
    PH_P_STR(struct pipe_params, status_filter, "pipe_delivery_status_filter", "$default_delivery_status_filter",
             "Tables that replace \"X.Y.Z text\" of an outcome."),
};

/* ---- service arguments ---- */

static int parse_flags(const char *text, uint32_t *flags)
{
    static const struct { char c; uint32_t flag; } known[] = {
        { 'B', PIPE_BLANK }, { 'D', PIPE_DELIVERED }, { 'F', PIPE_FROM }, { 'O', PIPE_ORIGINAL }, { 'R', PIPE_RETURN },
        { 'X', PIPE_FINAL }, { 'h', PIPE_LOW_DOMAIN }, { 'u', PIPE_LOW_LOCAL }, { 'q', PIPE_QUOTE }, { '.', PIPE_DOT }, { '>', PIPE_GREATER },
    };

    for (; *text; text++) {
        size_t i = 0;

        while (i < sizeof known / sizeof *known && known[i].c != *text)
            i++;
        if (i == sizeof known / sizeof *known)
            return ph_fail(PH_CONF, "flags=: unknown flag '%c'; known are BDFORXhqu.>", *text);
        *flags |= known[i].flag;
    }
    return 0;
}

/* One escape behind a backslash: its byte, or -1; *p is left behind it. */
static int escape(const char **p)
{
    static const char names[] = "abfnrtv\\", bytes[] = "\a\b\f\n\r\t\v\\";
    const char *at = *p, *found = *at ? strchr(names, *at) : NULL;
    int n = 0;

    if (found) {
        *p = at + 1;
        return bytes[found - names];
    }
    while (at < *p + 3 && *at >= '0' && *at <= '7')
        n = n * 8 + (*at++ - '0');
    if (at == *p || n > 255)
        return -1;
    *p = at;
    return n;
}

static int parse_eol(struct ph_scope *s, const char *text, ph_str *out)
{
    char *mem = ph_alloc(s, strlen(text) + 1);
    size_t n = 0;

    while (*text) {
        int c = (unsigned char)*text++;

        if (c == '\\' && (c = escape(&text)) < 0)
            return ph_fail(PH_CONF, "eol=: unknown escape; known are \\a \\b \\f \\n \\r \\t \\v \\\\ \\nnn");
        mem[n++] = (char)c;
    }
    if (n > EOL_MAX)
        return ph_fail(PH_CONF, "eol=: longer than %u bytes", EOL_MAX);
    *out = (ph_str){ mem, n };
    return 0;
}

static int parse_path(const char *name, const char *text, const char **out)
{
    if (text[0] != '/')
        return ph_fail(PH_CONF, "%s=: \"%s\" is no absolute path", name, text);
    *out = text;
    return 0;
}

static int parse_one(struct ph_scope *s, const char *name, const char *value, struct pipe_attr *a)
{
    ph_str n = ph_cstr(name);

    if (ph_str_eq_nocase(n, PH_STR("flags")))
        return parse_flags(value, &a->flags);
    if (ph_str_eq_nocase(n, PH_STR("directory")))
        return parse_path("directory", value, &a->directory);
    if (ph_str_eq_nocase(n, PH_STR("chroot")))
        return parse_path("chroot", value, &a->chroot);
    if (ph_str_eq_nocase(n, PH_STR("eol")))
        return parse_eol(s, value, &a->eol);
    if (ph_str_eq_nocase(n, PH_STR("null_sender"))) {
        a->null_sender = ph_cstr(value);
        return 0;
    }
    if (ph_str_eq_nocase(n, PH_STR("user"))) {
        a->user = ph_cstr(value);
        return 0;
    }
    if (ph_str_eq_nocase(n, PH_STR("size"))) {
        a->has_size = 1;
        return ph_str_u64(ph_cstr(value), &a->size) ? 0 : ph_fail(PH_CONF, "size=: \"%s\" is no number", value);
    }
    return ph_fail(PH_CONF, "unknown attribute \"%s=\"; known are flags user directory chroot eol null_sender size argv", name);
}

/* argv=COMMAND and everything behind it. */
static int take_argv(struct ph_scope *s, const char *first, const char *const *rest, struct pipe_attr *a)
{
    uint32_t n = 0;

    while (rest[n])
        n++;
    const char **v = ph_alloc_array(s, n + 2u, sizeof *v);
    v[0] = first;
    for (uint32_t i = 0; i < n; i++)
        v[i + 1] = rest[i];
    a->argv = v;
    a->argc = n + 1;
    return *first ? 0 : ph_fail(PH_CONF, "argv= names no command");
}

int pipe_attr_parse(struct ph_scope *s, const char *const *args, struct pipe_attr *a)
{
    int rc = 0;

    *a = (struct pipe_attr){ .eol = PH_STR("\n"), .null_sender = PH_STR("MAILER-DAEMON") };
    for (; rc == 0 && *args && !a->argv; args++) {
        const char *eq = strchr(*args, '=');
        ph_str name = { *args, eq ? (size_t)(eq - *args) : 0 };

        if (!eq)
            return ph_fail(PH_CONF, "\"%s\" is no attribute=value", *args);
        if (ph_str_eq_nocase(name, PH_STR("argv")))
            rc = take_argv(s, eq + 1, args + 1, a);
        else
            rc = parse_one(s, ph_cstr_dup(s, name), eq + 1, a);
    }
    if (rc < 0)
        return rc;
    if (!a->argv)
        return ph_fail(PH_CONF, "argv= is missing: the command to run");
    return a->user.n ? 0 : ph_fail(PH_CONF, "user= is missing: whose rights the command has");
}

/* ---- opening ---- */

/* A parameter of this transport's name, or the common one: PH_FOUND, negative. */
static int own_parameter(struct ph_transport *t, struct ph_scope *s, const char *suffix, const char *common, ph_str *value)
{
    int rc = ph_conf_get(t->conf, s, ph_str_printf(s, "%s_%s", t->service, suffix).p, value);

    return rc == PH_NONE ? ph_conf_get(t->conf, s, common, value) : rc;
}

/* One copy for each recipient: headers that speak of one must not be shared. */
static int check_limit(struct ph_transport *t, const struct pipe_attr *a)
{
    PH_SCOPED(s, t->scope);
    ph_str limit;
    int rc;

    if (!(a->flags & (PIPE_DELIVERED | PIPE_ORIGINAL)))
        return 0;
    if ((rc = own_parameter(t, s, "destination_recipient_limit", "default_destination_recipient_limit", &limit)) < 0)
        return rc;
    if (rc == PH_FOUND && ph_str_eq(limit, PH_STR("1")))
        return 0;
    return ph_fail(PH_CONF, "flags %s: set %s_destination_recipient_limit = 1",
                   a->flags & PIPE_DELIVERED ? "D" : "O", t->service);
}

static int find_user(struct ph_transport *t, struct pipe_agent *self)
{
    int rc = ph_identity_parse(t->scope, self->attr.user, &self->who);

    if (rc < 0)
        return ph_wrap(rc, "user=%.*s", PH_FMT(self->attr.user));
    if (rc == PH_NONE)
        return ph_fail(PH_CONF, "user=%.*s: no such user or group", PH_FMT(self->attr.user));
    rc = ph_identity_check(&self->who);
    return rc < 0 ? ph_wrap(rc, "user=%.*s", PH_FMT(self->attr.user)) : 0;
}

static int find_time_limit(struct ph_transport *t, struct pipe_agent *self)
{
    PH_SCOPED(s, t->scope);
    const char *name = ph_str_printf(s, "%s_time_limit", t->service).p;
    int rc = ph_conf_get_time(t->conf, name, 's', &self->time_limit_s);

    if (rc == PH_NONE)
        self->time_limit_s = self->p.command_time_limit;
    if (rc >= 0 && self->time_limit_s < 1)
        return ph_fail(PH_CONF, "%s must be at least one second", name);
    return rc < 0 ? rc : 0;
}

/* The spawner need not believe us more than that. */
static int limit_spawner(const struct pipe_agent *self)
{
    const char *command = self->attr.argv[0];
    struct ph_spawn_limits l = { .size = sizeof l, .commands = 1, .uid = self->who.uid, .gid = self->who.gid,
                                 .command = strchr(command, '$') ? NULL : command };

    return ph_spawn_limit(&l);
}

int pipe_open(struct ph_transport *t)
{
    struct pipe_agent *self = ph_new(t->scope, struct pipe_agent);
    int rc;

    if ((rc = ph_params_load(t->conf, t->scope, pipe_rows, PIPE_ROWS, sizeof *pipe_rows, &self->p)) < 0)
        return rc;
    self->p.queue_directory = ph_conf_value(t->conf, t->scope, "queue_directory");
    if ((rc = pipe_attr_parse(t->scope, t->args, &self->attr)) < 0 || (rc = find_user(t, self)) < 0 ||
        (rc = limit_spawner(self)) < 0 || (rc = check_limit(t, &self->attr)) < 0 || (rc = find_time_limit(t, self)) < 0 ||
        (rc = ph_maps_open(t->conf, t->scope, "pipe_delivery_status_filter", self->p.status_filter, 0, &self->filter)) < 0)
        return ph_wrap(rc, "service %s", t->service);
    self->env = ph_command_environment(t->conf, t->scope);
    t->self = self;
    return 0;
}
