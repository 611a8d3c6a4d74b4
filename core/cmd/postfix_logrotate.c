/* postfix logrotate: the log file gets a name with its date, the system opens a
 * new one, the old one is compressed.  Old files are never removed here. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include <posthorn/clock.h>
#include "core/cmd/cmd.h"
#include "core/cmd/postfix.h"

#define WRITERS_MS 10000
#define WORDS_MAX  32                   /* of the compressor's command line */

static const char *value(struct postfix *p, const char *name)
{
    const char *text = ph_cstr_dup(p->scope, ph_conf_value(p->conf, p->scope, name));

    if (!text[0])
        ph_cmd_fatal("logrotate: %s is empty", name);
    return text;
}

/* FILE.SUFFIX of this moment; it must not exist. */
static const char *new_name(struct postfix *p, const char *file)
{
    time_t now = time(NULL);
    char suffix[200];
    struct stat st;
    struct tm tm;

    if (!localtime_r(&now, &tm) || strftime(suffix, sizeof suffix, value(p, "maillog_file_rotate_suffix"), &tm) == 0 ||
        strchr(suffix, '/'))
        ph_cmd_fatal("logrotate: maillog_file_rotate_suffix is no suffix of a file name");
    const char *path = ph_str_printf(p->scope, "%s.%s", file, suffix).p;

    if (lstat(path, &st) == 0)
        ph_cmd_fatal("logrotate: %s exists", path);
    return path;
}

/* The compressor's words and the file; no shell.  Its own name must be absolute
 * or found in the usual places. */
static void compress(struct postfix *p, const char *file)
{
    const char *argv[WORDS_MAX + 2] = { NULL };
    ph_str words = ph_cstr(value(p, "maillog_file_compressor")), word;
    int status = 0, n = 0;
    pid_t pid;

    while ((word = ph_str_word(&words)).n && n < WORDS_MAX)
        argv[n++] = ph_cstr_dup(p->scope, word);
    argv[n] = file;
    fflush(NULL);
    if ((pid = fork()) == 0) {
        postfix_export(p->scope, p->conf);
        /* execvp promises not to change them. */
        execvp(argv[0], (char *const *)(uintptr_t)argv);
        fprintf(stderr, "%s: %s\n", argv[0], strerror(errno));
        _exit(127);
    }
    while (pid > 0 && waitpid(pid, &status, 0) < 0 && errno == EINTR)
        continue;
    if (pid < 0 || status != 0)
        ph_cmd_fatal("logrotate: \"%s %s\" failed (status %d): the file stays as it is", argv[0], file,
                     WIFEXITED(status) ? WEXITSTATUS(status) : status);
}

/* Until nobody has the file open for writing (who only reads it does no harm),
 * which is when a lease for reading is given: 1, or 0 after a while. */
static int wait_for_writers(const char *file)
{
    int fd = open(file, O_RDONLY | O_NOFOLLOW | O_CLOEXEC), alone = 0;

    signal(SIGIO, SIG_IGN);            /* how the kernel asks for a lease back */
    for (int64_t end = ph_in_ms(WRITERS_MS); fd >= 0 && !alone && ph_now_ms() < end; poll(NULL, 0, alone ? 0 : 20))
        alone = fcntl(fd, F_SETLEASE, F_RDLCK) == 0;
    if (fd >= 0)
        close(fd);
    return alone;
}

int postfix_logrotate(struct postfix *p)
{
    const char *file = value(p, "maillog_file");

    value(p, "maillog_file_compressor");
    if (strncmp(file, "/dev/", 5) == 0)
        ph_cmd_fatal("logrotate: %s is not a file", file);
    const char *old = new_name(p, file);

    if (rename(file, old) < 0)
        ph_cmd_fatal("logrotate: rename %s to %s: %s", file, old, strerror(errno));
    ph_cmd_log_as(p->conf, "postfix-script");      /* we ourselves have it open too */
    if (postfix_master_pid(p, NULL) && postfix_reload(p) != 0)
        ph_cmd_fatal("logrotate: the running system did not open a new file; the old one is %s", old);
    if (!wait_for_writers(old))
        ph_cmd_warn("logrotate: somebody still has %s open: what he writes from now on is lost", old);
    compress(p, old);
    return 0;
}
