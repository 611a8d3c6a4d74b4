/* postfix: the control command: init start start-fg stop reload status check
 * flush.  Reference: man/postfix.1. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include <posthorn/clock.h>
#include <posthorn/error.h>
#include "core/cmd/cmd.h"
#include "core/cmd/layout.h"
#include "core/cmd/postfix.h"

#define STOP_MS   40000
#define RELOAD_MS 10000

static int usage(void)
{
    fprintf(stderr, "usage: postfix [-c CONFIG_DIR] [-v] start | start-fg | stop | abort | reload | status | check | flush |\n"
                    "                                       set-permissions\n"
                    "       postfix init [-p PORT] DIR [name=value ...]\n");
    return 2;
}

static void load(struct postfix *p, const char *dir)
{
    p->conf = ph_cmd_conf(p->scope, dir);
    char real[PATH_MAX];

    p->dir = ph_cstr_dup(p->scope, ph_cstr(realpath(ph_conf_choose_dir(dir), real) ? real : ph_conf_choose_dir(dir)));
    if (ph_conf_get(p->conf, p->scope, "queue_directory", &p->queue_directory) != PH_FOUND ||
        ph_conf_get(p->conf, p->scope, "daemon_directory", &p->daemon_directory) != PH_FOUND)
        ph_cmd_fatal("queue_directory or daemon_directory: no value");
}

/* The lock tells whether a master lives; the file's text alone does not. */
pid_t postfix_master_pid(const struct postfix *p, unsigned *generation)
{
    struct flock lk = { .l_type = F_WRLCK, .l_whence = SEEK_SET };
    const char *path = ph_str_printf(p->scope, "%.*s/pid/master.pid", PH_FMT(p->queue_directory)).p;
    char text[128] = "";
    int fd = open(path, O_RDWR | O_CLOEXEC), pid = 0;
    unsigned number = 0;

    if (fd < 0 && errno == EACCES)
        ph_cmd_fatal("%s: %s", path, strerror(errno));
    if (fd < 0)
        return 0;
    if (fcntl(fd, F_OFD_GETLK, &lk) == 0 && lk.l_type != F_UNLCK && pread(fd, text, sizeof text - 1, 0) > 0)
        sscanf(text, "%d generation %u", &pid, &number);
    close(fd);
    if (generation)
        *generation = number;
    return pid;
}

static const char *master_path(const struct postfix *p)
{
    return ph_str_printf(p->scope, "%.*s/master", PH_FMT(p->daemon_directory)).p;
}

/* Run the master with one option and wait: its exit status. */
static int run_master(const struct postfix *p, const char *option)
{
    int status;
    pid_t pid = fork();

    if (pid == 0) {
        execl(master_path(p), "master", "-c", p->dir, option, (char *)NULL);
        fprintf(stderr, "postfix: fatal: %s: %s\n", master_path(p), strerror(errno));
        _exit(127);
    }
    if (pid < 0 || waitpid(pid, &status, 0) != pid)
        ph_cmd_fatal("start %s: %s", master_path(p), strerror(errno));
    return WIFEXITED(status) ? WEXITSTATUS(status) : 1;
}

static void wait_some(void)
{
    poll(NULL, 0, 20);
}

static void prepare(struct postfix *p)
{
    struct layout l;

    if (postfix_master_pid(p, NULL))
        ph_cmd_fatal("the Posthorn mail system is already running");
    if (layout_open(&l, p->scope, p->conf, "") < 0 || layout_make(&l) < 0)
        ph_cmd_fatal("%s", ph_error());
}

static int do_start(struct postfix *p)
{
    prepare(p);
    int rc = run_master(p, "-w");

    if (rc == 0)
        printf("postfix: started, pid %d\n", (int)postfix_master_pid(p, NULL));
    return rc;
}

static int do_start_fg(struct postfix *p)
{
    prepare(p);
    execl(master_path(p), "master", "-c", p->dir, (char *)NULL);
    ph_cmd_fatal("%s: %s", master_path(p), strerror(errno));
}

static int send_signal(pid_t pid, int signo)
{
    return kill(pid, signo) == 0 ? 0 : (ph_cmd_warn("signal to pid %d: %s", (int)pid, strerror(errno)), 1);
}

static int do_stop(struct postfix *p)
{
    pid_t pid = postfix_master_pid(p, NULL);

    if (!pid) {
        fprintf(stderr, "postfix: the Posthorn mail system is not running\n");
        return 1;
    }
    if (send_signal(pid, SIGTERM))
        return 1;
    for (int64_t end = ph_in_ms(STOP_MS); postfix_master_pid(p, NULL) == pid; wait_some())
        if (ph_now_ms() > end) {
            ph_cmd_warn("the master (pid %d) did not end within %d s", (int)pid, STOP_MS / 1000);
            return 1;
        }
    return 0;
}

/* A configuration with an error is refused here already, with its place; the
 * master checks again, because the file may have changed since. */
static int do_reload(struct postfix *p)
{
    unsigned before, now;
    pid_t pid = postfix_master_pid(p, &before);

    if (!pid) {
        fprintf(stderr, "postfix: the Posthorn mail system is not running\n");
        return 1;
    }
    if (run_master(p, "-k") != 0) {
        fprintf(stderr, "postfix: not reloaded: the running system goes on as it was\n");
        return 1;
    }
    if (send_signal(pid, SIGHUP))
        return 1;
    for (int64_t end = ph_in_ms(RELOAD_MS); ; wait_some()) {
        if (postfix_master_pid(p, &now) != pid) {
            ph_cmd_warn("the master ended while it reloaded: see the log");
            return 1;
        }
        if (now != before)
            return 0;
        if (ph_now_ms() > end) {
            ph_cmd_warn("no answer to the reload within %d s: see the log", RELOAD_MS / 1000);
            return 1;
        }
    }
}

static int do_status(struct postfix *p)
{
    pid_t pid = postfix_master_pid(p, NULL);

    if (pid)
        printf("postfix: the Posthorn mail system is running: PID: %d\n", (int)pid);
    else
        printf("postfix: the Posthorn mail system is not running\n");
    return pid ? 0 : 1;
}

static int do_check(struct postfix *p)
{
    int rc = run_master(p, "-k");

    return postfix_check(p) || rc ? 1 : 0;
}

static int do_flush(struct postfix *p)
{
    const char *path = ph_str_printf(p->scope, "%.*s/postqueue", PH_FMT(ph_conf_value(p->conf, p->scope, "command_directory"))).p;

    execl(path, "postqueue", "-c", p->dir, "-f", (char *)NULL);
    ph_cmd_fatal("%s: %s", path, strerror(errno));
}

static const struct { const char *name; int (*run)(struct postfix *p); } actions[] = {
    { "start", do_start }, { "start-fg", do_start_fg }, { "stop", do_stop }, { "abort", do_stop }, { "reload", do_reload },
    { "status", do_status }, { "check", do_check }, { "flush", do_flush },
    { "set-permissions", postfix_set_permissions },
};

static const char *const planned[] = { "upgrade-configuration", "logrotate", "tls", "post-install" };

static int run_action(struct postfix *p, const char *dir, const char *name)
{
    for (size_t i = 0; i < sizeof planned / sizeof *planned; i++)
        if (strcmp(planned[i], name) == 0)
            ph_cmd_fatal("\"%s\" is not built yet", name);
    for (size_t i = 0; i < sizeof actions / sizeof *actions; i++)
        if (strcmp(actions[i].name, name) == 0) {
            load(p, dir);
            return actions[i].run(p);
        }
    fprintf(stderr, "postfix: unknown command \"%s\"\n", name);
    return usage();
}

int main(int argc, char **argv)
{
    struct postfix p = { .scope = ph_scope_new(NULL) };
    const char *dir = NULL;
    int c;

    ph_cmd_start(argv[0]);
    while ((c = getopt(argc, argv, "+c:v")) != -1) {
        if (c == 'c')
            dir = optarg;
        else if (c != 'v')
            return usage();
    }
    if (optind >= argc)
        return usage();
    if (strcmp(argv[optind], "init") == 0)
        c = postfix_init(p.scope, argc - optind, argv + optind);
    else
        c = optind + 1 != argc ? usage() : run_action(&p, dir, argv[optind]);
    ph_scope_free(p.scope);
    return c;
}
