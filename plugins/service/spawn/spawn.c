/* service/spawn: runs a command for each client, its connection as standard
 * input, output and error.  Reference: spawn(8). */
#include <fcntl.h>
#include <string.h>
#include <posthorn/error.h>
#include <posthorn/log.h>
#include <posthorn/service.h>
#include <posthorn/spawn.h>

struct spawn_service {
    struct ph_identity who;
    const char *const *argv, *const *env;
    const char *directory;
    int64_t time_limit_s;
};

static int find_user(struct ph_service *v, struct spawn_service *self, const char *text)
{
    int rc = ph_identity_parse(v->scope, ph_cstr(text), &self->who);

    if (rc == PH_NONE)
        return ph_fail(PH_CONF, "user=%s: no such user or group", text);
    if (rc >= 0)
        rc = ph_identity_check(&self->who);
    return rc < 0 ? ph_wrap(rc, "user=%s", text) : 0;
}

/* argv=COMMAND and the arguments behind it. */
static int take_argv(struct ph_service *v, struct spawn_service *self, const char *first, const char *const *rest)
{
    size_t n = 0;

    while (rest[n])
        n++;
    const char **argv = ph_alloc_array(v->scope, n + 2, sizeof *argv);
    argv[0] = first;
    memcpy(argv + 1, rest, n * sizeof *argv);
    self->argv = argv;
    return *first ? 0 : ph_fail(PH_CONF, "argv= names no command");
}

/* user=NAME[:GROUP] argv=COMMAND ARGUMENTS, in any case. */
static int parse_args(struct ph_service *v, struct spawn_service *self)
{
    int rc = 0;

    for (const char *const *a = v->args; rc == 0 && *a && !self->argv; a++) {
        ph_str word = ph_cstr(*a);

        if (ph_str_starts_nocase(word, PH_STR("user=")))
            rc = find_user(v, self, *a + 5);
        else if (ph_str_starts_nocase(word, PH_STR("argv=")))
            rc = take_argv(v, self, *a + 5, a + 1);
        else
            rc = ph_fail(PH_CONF, "unknown attribute \"%s\"; known are user= and argv=", *a);
    }
    if (rc < 0)
        return rc;
    if (!self->who.size)
        return ph_fail(PH_CONF, "user= is missing: whose rights the command has");
    return self->argv ? 0 : ph_fail(PH_CONF, "argv= is missing: the command to run");
}

static int find_time_limit(struct ph_service *v, struct spawn_service *self)
{
    PH_SCOPED(s, v->scope);
    const char *name = ph_str_printf(s, "%s_time_limit", v->name).p;
    int rc = ph_conf_get_time(v->conf, name, 's', &self->time_limit_s);

    if (rc == PH_NONE)
        rc = ph_conf_get_time(v->conf, name = "command_time_limit", 's', &self->time_limit_s);
    if (rc >= 0 && self->time_limit_s < 1)
        return ph_fail(PH_CONF, "%s must be at least one second", name);
    return rc < 0 ? rc : 0;
}

static int limit_spawner(const struct spawn_service *self)
{
    struct ph_spawn_limits l = { .size = sizeof l, .commands = 1, .uid = self->who.uid, .gid = self->who.gid, .command = self->argv[0] };

    return ph_spawn_limit(&l);
}

static int spawn_open(struct ph_service *v)
{
    struct spawn_service *self = ph_new(v->scope, struct spawn_service);
    int rc;

    if ((rc = parse_args(v, self)) < 0 || (rc = find_time_limit(v, self)) < 0 || (rc = limit_spawner(self)) < 0)
        return ph_wrap(rc, "service %s", v->name);
    self->env = ph_command_environment(v->conf, v->scope);
    self->directory = ph_conf_value(v->conf, v->scope, "queue_directory").p;
    v->self = self;
    return 0;
}

static void report(const struct spawn_service *self, const struct ph_command_result *r)
{
    if (r->timed_out)
        ph_log_warn("command %s: time limit of %lld seconds exceeded", self->argv[0], (long long)self->time_limit_s);
    else if (r->signal)
        ph_log_warn("command %s killed by signal %d", self->argv[0], r->signal);
    else if (r->status)
        ph_log_warn("command %s exit status %d", self->argv[0], r->status);
}

static int spawn_serve(struct ph_service *v, struct ph_scope *session, struct ph_stream *io, const struct ph_peer *peer PH_UNUSED)
{
    const struct spawn_service *self = v->self;
    int fd = ph_stream_fileno(io), flags = fd < 0 ? -1 : fcntl(fd, F_GETFL);
    struct ph_command_result r = { .size = sizeof r };
    struct ph_command *c;

    if (flags < 0)
        return ph_fail(PH_CONF, "a command needs a socket: the service cannot be placed inline");
    /* The command expects reads that wait; nothing is read here. */
    fcntl(fd, F_SETFL, flags & ~O_NONBLOCK);
    struct ph_command_spec spec = {
        .size = sizeof spec, .identity = &self->who, .argv = self->argv, .env = self->env, .directory = self->directory,
        .time_limit_ms = self->time_limit_s * 1000, .stdin_fd = fd, .stdout_fd = fd,
    };
    int rc = ph_command_start(session, &spec, &c);

    if (rc >= 0)
        rc = ph_command_wait(c, &r);
    if (rc == PH_CANCEL)
        return rc;
    if (rc < 0)
        ph_log_warn("command %s: %s", self->argv[0], ph_error());
    else
        report(self, &r);
    return 0;
}

PH_PLUGIN_SERVICE(spawn,
    PH_IS(.summary = "a command for each client", .exec = PH_COROUTINE, .concurrency = PH_MANY_CALLS),
    .needs = "spawn from-network",       /* a policy server is asked by receivers */
    .open = spawn_open,
    .serve = spawn_serve);
