/* postfix_names: what postconf has to say of the names in main.cf and master.yaml
 * (misspelt, without effect, going away), said at check, start and reload. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include "core/cmd/cmd.h"
#include "core/cmd/postfix.h"

#define WARNING "postconf: warning: "

/* Becomes postconf, its words on fd. */
static PH_NORETURN void run_postconf(struct postfix *p, int fd)
{
    const char *path = ph_str_printf(p->scope, "%.*s/postconf", PH_FMT(ph_conf_value(p->conf, p->scope, "command_directory"))).p;
    char *argv[] = { "postconf", "-c", ph_cstr_dup(p->scope, ph_cstr(p->dir)), "-n", NULL };
    int null = open("/dev/null", O_WRONLY);

    if (null >= 0 && dup2(null, 1) >= 0 && dup2(fd, 2) >= 0)
        execv(path, argv);
    _exit(127);
}

/* Only warnings: what is fatal the master has said, with its place. */
static void pass_on(FILE *in)
{
    char *line = NULL;
    size_t room = 0;
    ssize_t n;

    while ((n = getline(&line, &room, in)) > 0) {
        ph_str text = ph_str_trim((ph_str){ line, (size_t)n });

        if (ph_str_starts(text, PH_STR(WARNING)))
            ph_cmd_warn("%.*s", PH_FMT(ph_str_from(text, strlen(WARNING))));
    }
    free(line);
}

void postfix_check_names(struct postfix *p)
{
    int fd[2], status;

    if (pipe2(fd, O_CLOEXEC) < 0)
        return;
    pid_t pid = fork();
    if (pid == 0)
        run_postconf(p, fd[1]);
    close(fd[1]);
    FILE *in = pid > 0 ? fdopen(fd[0], "r") : NULL;

    if (in) {
        pass_on(in);
        fclose(in);
    } else
        close(fd[0]);
    while (pid > 0 && waitpid(pid, &status, 0) < 0 && errno == EINTR)
        ;
}
