/* postfix set-permissions [name=value ...]: gives directories, programs and
 * configuration the owners and modes of layout.c; what is missing is made.
 * Nothing is done silently: each change is a line on stdout.  Settings are put
 * into main.cf first.  With DESTDIR in the environment it works on an
 * installation below that directory, with the accounts of this machine. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include <posthorn/error.h>
#include "core/cmd/cmd.h"
#include "core/cmd/layout.h"
#include "core/cmd/postfix.h"

void postfix_edit_configuration(struct postfix *p)
{
    if (!p->argc)
        return;
    const char *path = ph_str_printf(p->scope, "%.*s/postconf", PH_FMT(ph_conf_value(p->conf, p->scope, "command_directory"))).p;
    char **argv = ph_alloc_array(p->scope, (size_t)p->argc + 5, sizeof *argv);
    char *head[] = { "postconf", "-c", ph_cstr_dup(p->scope, ph_cstr(p->dir)), "-e" };
    int status;

    memcpy(argv, head, sizeof head);
    memcpy(argv + 4, p->argv, (size_t)p->argc * sizeof *argv);
    pid_t pid = fork();
    if (pid == 0) {
        execv(path, argv);
        ph_cmd_fatal("%s: %s", path, strerror(errno));
    }
    if (pid < 0 || waitpid(pid, &status, 0) != pid || status != 0)
        ph_cmd_fatal("main.cf was not changed");
    p->conf = ph_cmd_conf(p->scope, p->dir);
}

int postfix_set_permissions(struct postfix *p)
{
    const char *destdir = getenv("DESTDIR");
    struct layout l;

    if (geteuid() != 0)
        ph_cmd_fatal("set-permissions: only root can give files to other accounts");
    postfix_edit_configuration(p);
    if (layout_open(&l, p->scope, p->conf, destdir ? destdir : "") < 0)
        ph_cmd_fatal("%s", ph_error());
    for (uint32_t i = 0; i < l.accounts.note_count; i++)
        ph_cmd_warn("%s", l.accounts.note[i]);
    int rc = layout_repair(&l);

    return layout_repair_files(&l) < 0 || rc < 0 ? 1 : 0;
}
