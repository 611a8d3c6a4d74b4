/* postfix: the control command.  What it says goes to standard error and into
 * the log, under the name that scripts know: postfix/postfix-script.  Reference:
 * man/postfix.1. */
#include <dirent.h>
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
#define TELL_MS   1000                 /* between two lines that say we wait */
#define RELOAD_MS 10000

static void usage(void) PH_NORETURN;
static void usage(void)
{
    ph_cmd_fatal("usage: postfix [-c config_dir] [-Dv] command");
}

static void load(struct postfix *p, const char *dir)
{
    p->conf = ph_cmd_conf(p->scope, dir);
    char real[PATH_MAX];

    p->dir = ph_cstr_dup(p->scope, ph_cstr(realpath(ph_conf_choose_dir(dir), real) ? real : ph_conf_choose_dir(dir)));
    if (ph_conf_get(p->conf, p->scope, "queue_directory", &p->queue_directory) != PH_FOUND ||
        ph_conf_get(p->conf, p->scope, "daemon_directory", &p->daemon_directory) != PH_FOUND)
        ph_cmd_fatal("queue_directory or daemon_directory: no value");
    ph_cmd_log_as(p->conf, "postfix-script");
}

/* Root; or who owns the queue, in an instance that an ordinary user runs. */
static void check_caller(struct postfix *p)
{
    struct stat st;

    if (getuid() != geteuid())
        ph_cmd_fatal("the postfix command must not run as a set-uid process");
    if (geteuid() == 0 || (stat(ph_cstr_dup(p->scope, p->queue_directory), &st) == 0 && st.st_uid == geteuid()))
        return;
    ph_cmd_info("error: to submit mail, use the Postfix sendmail command");
    ph_cmd_fatal("the postfix command is reserved for the superuser");
}

/* Without these nothing works, so nothing is tried; set-permissions makes the queue. */
static void check_directories(struct postfix *p, const char *command)
{
    static const char *const names[] = { "command_directory", "daemon_directory", "queue_directory" };
    size_t n = sizeof names / sizeof *names - (strcmp(command, "set-permissions") == 0);
    struct stat st;

    for (size_t i = 0; i < n; i++) {
        const char *path = ph_cstr_dup(p->scope, ph_conf_value(p->conf, p->scope, names[i]));

        if (stat(path, &st) < 0 || !S_ISDIR(st.st_mode))
            ph_cmd_fatal("no Postfix %s %s!", names[i], path);
    }
}

/* The lock tells whether a master lives; the file's text alone does not. */
pid_t postfix_master_pid(const struct postfix *p, struct master_state *state)
{
    struct flock lk = { .l_type = F_WRLCK, .l_whence = SEEK_SET };
    const char *path = ph_str_printf(p->scope, "%.*s/pid/master.pid", PH_FMT(p->queue_directory)).p;
    char text[128] = "";
    int fd = open(path, O_RDWR | O_CLOEXEC), pid = 0;
    struct master_state is = { 0, 0 };

    if (fd < 0 && errno == EACCES)
        ph_cmd_fatal("%s: %s", path, strerror(errno));
    if (fd < 0)
        return 0;
    if (fcntl(fd, F_OFD_GETLK, &lk) == 0 && lk.l_type != F_UNLCK && pread(fd, text, sizeof text - 1, 0) > 0)
        sscanf(text, "%d generation %u refused %u", &pid, &is.generation, &is.refused);
    close(fd);
    if (state)
        *state = is;
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
        ph_cmd_fatal("%s: %s", master_path(p), strerror(errno));
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
        ph_cmd_fatal("the Postfix mail system is already running");
    if (layout_open(&l, p->scope, p->conf, "") < 0 || layout_make(&l) < 0)
        ph_cmd_fatal("%s", ph_error());
}

/* The mail system was ended in order a moment ago: nothing needs a look. */
static int starts_quickly(const struct postfix *p)
{
    return unlink(ph_str_printf(p->scope, "%.*s/quick-start", PH_FMT(p->queue_directory)).p) == 0;
}

/* What recovery or delivery put aside waits for somebody to look at it. */
static void tell_damaged(struct postfix *p)
{
    DIR *d = opendir(ph_str_printf(p->scope, "%.*s/corrupt", PH_FMT(p->queue_directory)).p);
    const struct dirent *e;

    while (d && (e = readdir(d)) != NULL)
        if (e->d_name[0] != '.')
            ph_cmd_warn("damaged message: corrupt/%s", e->d_name);
    if (d)
        closedir(d);
}

static void look_over(struct postfix *p)
{
    prepare(p);
    postfix_check_quietly();
    if (!starts_quickly(p) && postfix_check(p) != 0)
        ph_cmd_fatal("Postfix integrity check failed!");
    tell_damaged(p);
    postfix_check_names(p);
    ph_cmd_info("starting the Postfix mail system");
}

static int do_start(struct postfix *p)
{
    look_over(p);
    if (run_master(p, "-w") != 0)
        ph_cmd_fatal("mail system startup failed");
    return 0;
}

static int do_start_fg(struct postfix *p)
{
    if (ph_conf_value(p->conf, p->scope, "multi_instance_directories").n)
        ph_cmd_fatal("start-fg does not support multi_instance_directories");
    look_over(p);
    execl(master_path(p), "master", "-c", p->dir, getpid() == 1 ? "-i" : "-s", (char *)NULL);
    ph_cmd_fatal("%s: %s", master_path(p), strerror(errno));
}

static int send_signal(pid_t pid, int signo)
{
    return kill(pid, signo) == 0 ? 0 : (ph_cmd_warn("signal to pid %d: %s", (int)pid, strerror(errno)), 1);
}

static pid_t running(struct postfix *p)
{
    pid_t pid = postfix_master_pid(p, NULL);

    if (!pid)
        ph_cmd_fatal("the Postfix mail system is not running");
    return pid;
}

static int do_stop(struct postfix *p)
{
    pid_t pid = running(p);
    int64_t end = ph_in_ms(STOP_MS), tell = ph_in_ms(TELL_MS);

    ph_cmd_info("stopping the Postfix mail system");
    if (send_signal(pid, SIGTERM))
        return 1;
    for (; postfix_master_pid(p, NULL) == pid; wait_some())
        if (ph_now_ms() > end) {
            /* Workers end when their master is gone; no message is lost by that. */
            ph_cmd_warn("stopping the Postfix mail system with force");
            return send_signal(pid, SIGKILL);
        } else if (ph_now_ms() > tell) {
            ph_cmd_info("waiting for the Postfix mail system to terminate");
            tell = ph_in_ms(TELL_MS);
        }
    return 0;
}

static int do_abort(struct postfix *p)
{
    pid_t pid = running(p);

    ph_cmd_info("aborting the Postfix mail system");
    return send_signal(pid, SIGTERM);
}

/* The workers finish what they have. */
static int do_drain(struct postfix *p)
{
    pid_t pid = running(p);

    ph_cmd_info("stopping the Postfix mail system");
    return send_signal(pid, SIGKILL);
}

static int do_quick_stop(struct postfix *p)
{
    int rc = do_stop(p), fd;

    if (rc == 0 && (fd = open(ph_str_printf(p->scope, "%.*s/quick-start", PH_FMT(p->queue_directory)).p,
                              O_WRONLY | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600)) >= 0)
        close(fd);
    return rc;
}

/* A configuration with an error is refused here already, with its place; the
 * master checks again, because the file may have changed since. */
static int do_reload(struct postfix *p)
{
    running(p);
    if (run_master(p, "-k") != 0) {
        ph_cmd_warn("not reloaded: the running system goes on as it was");
        return 1;
    }
    postfix_check_names(p);
    ph_cmd_info("refreshing the Postfix mail system");
    return postfix_reload(p);
}

int postfix_reload(struct postfix *p)
{
    struct master_state before, now;
    pid_t pid = postfix_master_pid(p, &before);

    if (send_signal(pid, SIGHUP))
        return 1;
    for (int64_t end = ph_in_ms(RELOAD_MS); ; wait_some()) {
        if (postfix_master_pid(p, &now) != pid) {
            ph_cmd_warn("the master ended while it reloaded: see the log");
            return 1;
        }
        if (now.generation != before.generation)
            return 0;
        if (now.refused != before.refused) {
            ph_cmd_warn("not reloaded: the running system goes on as it was: see the log");
            return 1;
        }
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
        ph_cmd_info("the Postfix mail system is running: PID: %d", (int)pid);
    else
        ph_cmd_info("the Postfix mail system is not running");
    return pid ? 0 : 1;
}

static int do_check(struct postfix *p)
{
    int rc = run_master(p, "-k");

    tell_damaged(p);
    if (rc == 0)
        postfix_check_names(p);
    return postfix_check(p) || rc ? 1 : 0;
}

static int do_flush(struct postfix *p)
{
    const char *path = ph_str_printf(p->scope, "%.*s/postqueue", PH_FMT(ph_conf_value(p->conf, p->scope, "command_directory"))).p;

    execl(path, "postqueue", "-c", p->dir, "-f", (char *)NULL);
    ph_cmd_fatal("%s: %s", path, strerror(errno));
}

/* Old start scripts print these. */
static int do_start_msg(struct postfix *p PH_UNUSED)
{
    return puts("Start postfix") < 0;
}

static int do_stop_msg(struct postfix *p PH_UNUSED)
{
    return puts("Stop postfix") < 0;
}

static const struct { const char *name; int (*run)(struct postfix *p); } actions[] = {
    { "start", do_start }, { "start-fg", do_start_fg }, { "stop", do_stop }, { "abort", do_abort }, { "reload", do_reload },
    { "status", do_status }, { "check", do_check }, { "flush", do_flush },
    { "set-permissions", postfix_set_permissions }, { "upgrade-configuration", postfix_upgrade_configuration },
    { "drain", do_drain }, { "quick-stop", do_quick_stop }, { "logrotate", postfix_logrotate }, { "tasks", postfix_tasks },
    { "start_msg", do_start_msg }, { "stop_msg", do_stop_msg },
};

static const char *const planned[] = { "tls", "non-bdb", "post-install" };

/* These take arguments; the others do not. */
static int takes_arguments(const char *name)
{
    return strcmp(name, "tasks") == 0 || strcmp(name, "set-permissions") == 0 || strcmp(name, "upgrade-configuration") == 0;
}

/* Any program, with our environment and in the queue directory. */
static void run_program(struct postfix *p, const char *path) PH_NORETURN;
static void run_program(struct postfix *p, const char *path)
{
    umask(022);
    postfix_export(p->scope, p->conf);
    if (chdir(ph_cstr_dup(p->scope, p->queue_directory)) < 0)
        ph_cmd_fatal("chdir %.*s: %s", PH_FMT(p->queue_directory), strerror(errno));
    execv(path, p->argv - 1);
    ph_cmd_fatal("%s: %s", path, strerror(errno));
}

static int run_action(struct postfix *p, const char *dir, const char *name)
{
    load(p, dir);
    check_caller(p);
    if (!dir && !getenv("MAIL_CONFIG"))
        postfix_instances(p->scope, p->conf, p->argv - 1);
    check_directories(p, name);
    if (name[0] == '/')
        run_program(p, name);
    for (size_t i = 0; i < sizeof planned / sizeof *planned; i++)
        if (strcmp(planned[i], name) == 0)
            ph_cmd_fatal("\"%s\" is not built yet", name);
    for (size_t i = 0; i < sizeof actions / sizeof *actions; i++)
        if (strcmp(actions[i].name, name) == 0) {
            if (p->argc && !takes_arguments(name))
                ph_cmd_fatal("usage: postfix %s (no arguments)", name);
            signal(SIGHUP, SIG_IGN);   /* the terminal that we were started on may close */
            return actions[i].run(p);
        }
    ph_cmd_fatal("unknown command: '%s'. Usage: postfix start (or stop, reload, abort, flush, check, status, "
                 "set-permissions, upgrade-configuration, logrotate, tasks)", name);
}

int main(int argc, char **argv)
{
    struct postfix p = { .scope = ph_scope_new(NULL) };
    const char *dir = NULL;
    int c;

    ph_cmd_start(argv[0]);
    while ((c = getopt(argc, argv, "+c:Dv")) != -1)
        switch (c) {
        case 'c': dir = optarg; break;
        case 'D': setenv("MAIL_DEBUG", "", 1); break;
        case 'v': setenv("MAIL_VERBOSE", "", 1); break;
        default: usage();
        }
    if (dir && dir[0] != '/')
        ph_cmd_fatal("-c requires absolute pathname");
    if (optind >= argc)
        usage();
    p.argc = argc - optind - 1;
    p.argv = argv + optind + 1;
    if (strcmp(argv[optind], "init") == 0)
        c = postfix_init(p.scope, argc - optind, argv + optind);
    else
        c = run_action(&p, dir, argv[optind]);
    ph_scope_free(p.scope);
    return c;
}
