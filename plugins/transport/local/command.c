/* command: "|command" and mailbox_command: run with the recipient's rights. */
#include <stdlib.h>
#include <string.h>
#include <posthorn/address.h>
#include <posthorn/error.h>
#include <posthorn/log.h>
#include "local.h"
#include "macro.h"
#include "plugins/transport/common/exit.h"

#define OUTPUT_MAX 4096u
#define ENV_MAX    64u
#define ARGS_MAX   1000u

/* ---- the command line ---- */

/* Words that only a shell knows. */
static int is_builtin(ph_str word)
{
    static const char *const words[] = {
        ".", ":", "[", "alias", "bg", "break", "case", "cd", "command", "continue", "do", "done", "elif", "else", "esac", "eval", "exec",
        "exit", "export", "fc", "fg", "fi", "for", "getopts", "hash", "if", "jobs", "login", "logout", "read", "readonly", "return", "set",
        "shift", "source", "test", "then", "times", "trap", "type", "ulimit", "umask", "unalias", "unset", "until", "wait", "while",
    };

    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (ph_str_eq(word, ph_cstr(words[i])))
            return 1;
    return 0;
}

static int needs_shell(ph_str command)
{
    ph_str rest = command, word = ph_str_word(&rest);

    for (size_t i = 0; i < command.n; i++)
        if (!ph_is_alnum(command.p[i]) && ph_str_find(PH_STR(" \t-_+./:,@%^"), command.p[i]) < 0 && !(command.p[i] == '=' && i > word.n))
            return 1;
    return is_builtin(word);
}

static const char **split(struct ph_scope *s, ph_str words, size_t room, size_t *n)
{
    const char **argv = ph_alloc_array(s, ARGS_MAX + room + 1, sizeof *argv);

    for (ph_str w; *n < ARGS_MAX && (w = ph_str_word(&words)).n; )
        argv[(*n)++] = ph_cstr_dup(s, w);
    return argv;
}

/* The shell when one is configured, or when the command needs one. */
static const char *const *arguments(struct local_job *j, ph_str command)
{
    ph_str shell = j->agent->p.shell;
    size_t n = 0;
    const char **argv;

    if (shell.n == 0 && !needs_shell(command))
        return split(j->scope, command, 0, &n);
    argv = split(j->scope, shell.n ? shell : PH_STR("/bin/sh -c"), 1, &n);
    argv[n] = ph_cstr_dup(j->scope, command);
    return argv;
}

/* ---- the environment ---- */

struct environment {
    struct local_job *j;
    const char *v[ENV_MAX + 1];
    size_t n;
};

static void put(struct environment *e, const char *name, ph_str value)
{
    if (e->n < ENV_MAX)
        e->v[e->n++] = ph_str_printf(e->j->scope, "%s=%.*s", name, PH_FMT(local_macro_clean(e->j->scope, value, e->j->agent->p.command_filter))).p;
}

static void put_known(struct environment *e, const char *name, ph_str value)
{
    if (value.n)
        put(e, name, value);
}

static void put_client(struct environment *e)
{
    const struct ph_message *m = e->j->d->message;
    /* Mail made here has no client. */
    ph_str address = ph_str_eq(m->client_address, PH_STR("unix")) ? PH_STR("") : m->client_address;

    put_known(e, "CLIENT_ADDRESS", address);
    put_known(e, "CLIENT_HELO", m->client_helo);
    put_known(e, "CLIENT_HOSTNAME", m->client_name);
    put_known(e, "CLIENT_PROTOCOL", m->client_protocol);
    put_known(e, "SASL_METHOD", m->sasl_method);
    put_known(e, "SASL_SENDER", m->sasl_sender);
    put_known(e, "SASL_USERNAME", m->sasl_username);
    put_known(e, "ENVID", m->envelope_id);
}

static const char *const *environment(struct local_job *j, const struct local_step *s, const struct local_user *u)
{
    struct environment *e = ph_new(j->scope, struct environment);
    ph_str local, domain;

    e->j = j;
    for (const char *const *common = j->agent->environment; *common && e->n < ENV_MAX; common++)
        e->v[e->n++] = *common;
    ph_address_split(s->address, &local, &domain);
    if (u) {
        put(e, "HOME", u->home);
        put(e, "SHELL", u->shell.n ? u->shell : PH_STR("/bin/sh"));
    }
    put(e, "USER", u ? u->name : s->user);
    put(e, "LOGNAME", u ? u->name : s->user);
    put(e, "LOCAL", s->local);
    put(e, "EXTENSION", s->ext);
    put(e, "DOMAIN", domain);
    put(e, "RECIPIENT", s->address);
    put(e, "ORIGINAL_RECIPIENT", j->rcpt->original.n ? j->rcpt->original : j->rcpt->address);
    put(e, "SENDER", s->sender.n ? s->sender : PH_STR("MAILER-DAEMON"));
    put_client(e);
    return e->v;
}

/* ---- running it ---- */

static int put_input(void *arg, const char *p, size_t n)
{
    return ph_command_write(arg, p, n);
}

/* 0 and *r; a command that does not read all is no failure. */
static int run(struct local_job *j, const struct local_step *s, const struct ph_command_spec *spec, struct ph_command_result *r)
{
    PH_SCOPED(step, j->scope);
    int mine = (j->agent->delivered_in & LOCAL_IN_COMMAND) != 0;
    const struct ph_recipient *rcpt = j->rcpt;
    ph_str original = j->agent->p.original ? (rcpt->original.n ? rcpt->original : rcpt->address) : PH_STR("");
    ph_str prefix = mailbox_prefix(step, s->sender, original, mine ? j->delivered_to : PH_STR(""), 1);
    struct ph_command *c;
    int rc = ph_command_start(step, spec, &c);

    if (rc < 0)
        return rc;
    rc = mailbox_copy_to(j->d->message, prefix, 0, put_input, c);
    if (rc < 0 && rc != PH_EOF)
        return rc;                 /* the end of the scope kills it: it has not seen the whole message */
    if ((rc = ph_command_wait(c, r)) == 0)
        r->output = ph_str_dup(j->scope, r->output);
    return rc;
}

static int directory(struct local_job *j, const struct local_step *s, const struct local_user *u, const char **out)
{
    ph_str dir;
    int rc;

    *out = j->agent->p.queue_directory.p;
    if (j->agent->p.directory.n == 0)
        return 0;
    if ((rc = local_expand(j, s, u, j->agent->p.directory, j->agent->p.directory_filter, &dir)) < 0)
        return ph_wrap(rc, "command_execution_directory");
    *out = ph_cstr_dup(j->scope, dir);
    return 0;
}

static int execute(struct local_job *j, const struct local_step *s, ph_str command, struct ph_command_result *r)
{
    const struct local_user *u = s->rights->user;
    struct ph_command_spec spec = {
        .size = sizeof spec, .identity = &s->rights->id, .argv = arguments(j, command), .env = environment(j, s, u),
        .time_limit_ms = j->agent->p.time_limit * 1000, .output_max = OUTPUT_MAX,
    };
    int rc = directory(j, s, u, &spec.directory);

    return rc < 0 ? rc : run(j, s, &spec, r);
}

int local_do_command(struct local_job *j, struct local_step *s, ph_str command)
{
    struct ph_command_result r = { .size = sizeof r };
    struct ph_outcome o = { .size = sizeof o };

    if (s->kind == PH_ALIAS_COMMAND && !(j->agent->commands_by & s->by)) {
        local_bounced(j, s, "5.7.1", "mail to command is restricted");
        return 0;
    }
    if (!s->rights) {
        local_misconfigured(j, s, "nobody's rights to run a command with");
        return 0;
    }
    if (local_is_duplicate(j, "command %u %.*s %.*s", s->rights->id.uid, PH_FMT(s->local), PH_FMT(command)))
        return 0;
    if (j->d->probe) {
        local_sent(j, s, "delivers to command: %.*s", PH_FMT(command));
        return 0;
    }
    int rc = execute(j, s, command, &r);
    if (rc == PH_CANCEL)
        return rc;
    if (rc < 0) {
        ph_log_warn("%.*s: command \"%.*s\": %s", PH_FMT(s->address), PH_FMT(command), ph_error());
        local_deferred(j, s, rc == PH_CONF ? "4.3.5" : "4.3.0", rc == PH_CONF ? "mail system configuration error" : "temporary failure");
        return 0;
    }
    transport_exit(j->scope, &r, command, &o);
    if (o.status == PH_RCPT_SENT)
        o.text = ph_str_printf(j->scope, "delivered to command: %.*s", PH_FMT(command));
    local_report(j, s, &o);
    return 0;
}
