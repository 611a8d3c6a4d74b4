/* sendmail: the command that programs submit mail with; also mailq and
 * newaliases.  It has no rights of its own: postdrop stores, postqueue asks.
 *
 * sendmail.c modes, sendmail_options.c the old options, sendmail_deliver.c a
 * message from stdin, sendmail_smtp.c SMTP on stdin (-bs). */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>
#include <posthorn/error.h>
#include "core/cmd/cmd.h"
#include "core/cmd/sendmail.h"

/* Become another command of ours, with its exit status. */
static void become(struct sendmail *m, const char *command, const char *const *args) PH_NORETURN;
static void become(struct sendmail *m, const char *command, const char *const *args)
{
    size_t n = 0;
    ph_str path = ph_str_printf(m->scope, "%.*s/%s", PH_FMT(ph_conf_value(m->conf, m->scope, "command_directory")), command);

    while (args[n])
        n++;
    const char **argv = ph_alloc_array(m->scope, n + 2, sizeof *argv);
    argv[0] = command;
    memcpy(argv + 1, args, (n + 1) * sizeof *args);
    /* execv promises not to change them. */
    execv(path.p, (char *const *)(uintptr_t)argv);
    ph_cmd_fatal("execute %s: %s", path.p, strerror(errno));
}

static void new_aliases(struct sendmail *m) PH_NORETURN;
static void new_aliases(struct sendmail *m)
{
    ph_str list = ph_conf_value(m->conf, m->scope, "alias_database"), item;
    const char **args, *queue = ph_cstr_dup(m->scope, ph_conf_value(m->conf, m->scope, "queue_directory"));
    size_t n = 0;

    if (chdir(queue) < 0)          /* where relative names of tables begin, as for services */
        ph_cmd_fatal("chdir %s: %s", queue, strerror(errno));
    if (m->alias_table)            /* one table, not a list */
        become(m, "postalias", (const char *const[]){ "--", m->alias_table, NULL });
    if (list.n == 0)
        exit(EX_OK);
    args = ph_alloc_array(m->scope, list.n / 2 + 3, sizeof *args);
    args[n++] = "--";              /* what follows are tables, whatever they look like */
    while ((item = ph_str_token(&list, ", \t\r\n")).n)
        args[n++] = ph_cstr_dup(m->scope, item);
    args[n] = NULL;
    become(m, "postalias", args);
}

static void flush_queue(struct sendmail *m) PH_NORETURN;
static void flush_queue(struct sendmail *m)
{
    if (m->queue_site)
        become(m, "postqueue", (const char *const[]){ "-s", m->queue_site, NULL });
    if (m->queue_id)
        become(m, "postqueue", (const char *const[]){ "-i", m->queue_id, NULL });
    become(m, "postqueue", (const char *const[]){ "-f", NULL });
}

int main(int argc, char **argv)
{
    struct sendmail m = { .scope = ph_scope_new(NULL), .mode = 'm', .dots = 1 };
    int rc = 0;

    ph_cmd_start(argv[0]);
    signal(SIGPIPE, SIG_IGN);
    ph_cmd_fatal_status(EX_TEMPFAIL);
    sendmail_options(&m, argc, argv);
    switch (m.mode) {
    case 'p': become(&m, "postqueue", (const char *const[]){ "-p", NULL });
    case 'q': flush_queue(&m);
    case 'i': new_aliases(&m);
    case 'd': become(&m, "postfix", (const char *const[]){ "start", NULL });
    case 's': rc = sendmail_smtp(&m); break;
    case 'h': break;               /* host status, or an interval: we have neither */
    default: rc = sendmail_deliver(&m); break;
    }
    ph_scope_free(m.scope);
    return rc;
}
