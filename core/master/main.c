/* main: the master program.
 *   master [-c CONFIG_DIR] [-v]    in place, as a daemon: a session of its own, nothing on 0 to 2
 *   master -w                      in the background; ends when it runs, or says why not
 *   master -s | -d                 in the foreground, descriptors kept (start-fg)
 *   master -i                      the same as PID 1 (of a container)
 *   master -e SECONDS              ends by itself after that time
 *   master -k                      read and check both configuration files, and end
 *   master -t                      exit 0 when no master runs on this configuration, 1 when one does */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>
#include <posthorn/error.h>
#include <posthorn/log.h>
#include "core/master/master.h"
#include "core/run/log.h"

struct options { const char *dir; int background, foreground, init, test, check, verbose; int64_t exit_s; };

static int usage(void)
{
    fprintf(stderr, "usage: master [-c CONFIG_DIR] [-d | -i | -s | -w | -t | -k] [-e SECONDS] [-v]\n");
    return 2;
}

static int parse(struct options *o, int argc, char **argv)
{
    uint64_t seconds;
    int c;

    while ((c = getopt(argc, argv, "c:de:iswtkv")) != -1)
        switch (c) {
        case 'c': o->dir = optarg; break;
        case 'w': o->background = 1; break;
        case 'd': case 's': o->foreground = 1; break;
        case 'i': o->init = 1; break;
        case 'e':
            if (!ph_str_u64(ph_cstr(optarg), &seconds) || seconds > INT32_MAX)
                return 0;
            o->exit_s = (int64_t)seconds;
            break;
        case 't': o->test = 1; break;
        case 'k': o->check = 1; break;
        case 'v': o->verbose++; break;
        default: return 0;
        }
    return optind == argc && o->background + o->test + o->check + (o->init || o->foreground) <= 1;
}

void master_write_pid(struct master *m)
{
    char text[96];
    int n = snprintf(text, sizeof text, "%32d\ngeneration %u refused %u\n", (int)getpid(), m->generation, m->refused);

    if (pwrite(m->lock_fd, text, (size_t)n, 0) != n || ftruncate(m->lock_fd, n) < 0)
        ph_log_warn("cannot write pid/master.pid");
}

/* The data directory has one master too, also when two queues share it. */
static int lock_data(struct master *m)
{
    struct flock lk = { .l_type = F_WRLCK, .l_whence = SEEK_SET };
    char path[1200], text[64];
    int n = snprintf(text, sizeof text, "%32d\n", (int)getpid()), rc;

    snprintf(path, sizeof path, "%.*s/master.lock", PH_FMT(m->config->data_directory));
    if ((rc = master_be_owner(m->config, 1)) < 0)
        return rc;
    int fd = open(path, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600), err = errno;
    master_be_owner(m->config, 0);
    if (fd < 0)
        return ph_fail_errno(PH_TEMP, err, "open lock file %s", path);
    if (fcntl(fd, F_OFD_SETLK, &lk) < 0)
        return ph_fail(PH_TEMP, "open lock file %s: unable to set exclusive lock: another mail system uses this data_directory", path);
    if (pwrite(fd, text, (size_t)n, 0) != n || ftruncate(fd, n) < 0)
        return ph_fail_errno(PH_TEMP, errno, "write %s", path);
    return 0;                      /* open, and so locked, as long as we live */
}

/* One master per queue.  The lock goes with the process; the pid in the file is
 * for people and for `postfix stop`. */
static int lock(struct master *m, int only_test)
{
    struct flock lk = { .l_type = F_WRLCK, .l_whence = SEEK_SET };
    char path[1200];

    snprintf(path, sizeof path, "%.*s/pid/master.pid", PH_FMT(m->config->queue_directory));
    m->lock_fd = open(path, O_RDWR | O_CLOEXEC | (only_test ? 0 : O_CREAT), 0600);
    if (m->lock_fd < 0 && only_test && errno == ENOENT)
        return 0;
    if (m->lock_fd < 0)
        return ph_fail_errno(PH_TEMP, errno, "open %s", path);
    if (fcntl(m->lock_fd, F_OFD_SETLK, &lk) < 0)
        return ph_fail(PH_TEMP, "open lock file %s: unable to set exclusive lock: the mail system is already running", path);
    if (only_test)
        return 0;
    master_write_pid(m);
    return lock_data(m);
}

int master_open_log(struct master *m)
{
    PH_SCOPED(s, NULL);
    struct ph_log_options o = { .service = "master", .verbosity = m->verbose };

    int rc = ph_conf_log_file(m->config->conf, s, &o.file, &o.mode);

    if (rc < 0)
        return rc;
    o.syslog_name = ph_cstr_dup(s, ph_conf_value(m->config->conf, s, "syslog_name"));
    o.host = ph_cstr_dup(s, ph_conf_value(m->config->conf, s, "myhostname"));
    return ph_log_open(&o);
}

/* Sessions need descriptors. */
static void raise_limits(void)
{
    struct rlimit r;

    if (getrlimit(RLIMIT_NOFILE, &r) == 0 && r.rlim_cur < r.rlim_max) {
        r.rlim_cur = r.rlim_max;
        setrlimit(RLIMIT_NOFILE, &r);
    }
}

static int run(void *arg)
{
    struct master *m = arg;
    ph_str version = ph_conf_value(m->config->conf, m->config->scope, "mail_version");
    int rc;

    m->changed = ph_cond_new(m->scope);
    if (m->exit_s > 0)
        master_end_after(m);
    ph_log_join_loop();
    if ((rc = master_apply(m, m->config)) < 0)
        return rc;
    ph_log("daemon started -- version %.*s, configuration %s", PH_FMT(version), m->config_dir);
    config_tell_programs(m->config);
    return master_run(m);
}

static int serve(struct master *m, const struct options *o)
{
    int rc;

    if ((rc = master_config_read(m->config_dir, &m->config)) < 0 || o->check)
        return rc;
    m->worker_path = ph_str_printf(m->scope, "%.*s/worker", PH_FMT(m->config->daemon_directory)).p;
    if (access(m->worker_path, X_OK) < 0)
        return ph_fail_errno(PH_CONF, errno, "%s", m->worker_path);
    if ((rc = lock(m, o->test)) < 0 || o->test)
        return rc;
    if ((rc = master_open_log(m)) < 0)
        return rc;
    if (chdir(ph_cstr_dup(m->scope, m->config->queue_directory)) < 0)
        return ph_fail_errno(PH_CONF, errno, "queue_directory");
    raise_limits();
    return ph_run_main(run, m);
}

/* The foreground half of -w: until the other says how it went. */
static int wait_started(int fd)
{
    struct pollfd p = { .fd = fd, .events = POLLIN };
    char word = 0;
    int rc;

    while ((rc = poll(&p, 1, 100000)) < 0 && errno == EINTR)
        ;
    if (rc == 1 && read(fd, &word, 1) == 1 && word == 'R')
        return 0;
    if (word == 'F')
        fprintf(stderr, "postfix/master: the queue manager did not start: see the log\n");
    return 1;
}

/* Descriptors 0 to 2 to /dev/null.  What 2 was is kept by m until we know that
 * all is well, and from the workers: who reads our caller's pipe to its end must
 * not wait for as long as the system runs. */
static void detach(struct master *m)
{
    int fd = open("/dev/null", O_RDWR);

    setsid();
    m->complaint_fd = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 10);
    if (fd >= 0) {
        dup2(fd, 0);
        dup2(fd, 1);
        dup2(fd, 2);
        if (fd > 2)
            close(fd);
    }
}

static int go_background(struct master *m)
{
    int p[2];

    if (pipe2(p, O_CLOEXEC) < 0)
        return -1;
    pid_t pid = fork();
    if (pid < 0)
        return -1;
    if (pid > 0) {
        close(p[1]);
        _exit(wait_started(p[0]));
    }
    close(p[0]);
    m->ready_fd = p[1];
    detach(m);
    return 0;
}

int main(int argc, char **argv)
{
    struct options o = { 0 };
    static struct master master = { .ready_fd = -1, .lock_fd = -1, .complaint_fd = STDERR_FILENO };
    struct master *m = &master;

    if (!parse(&o, argc, argv))
        return usage();
    if (o.init && getpid() != 1) {
        fprintf(stderr, "postfix/master: fatal: -i is for process 1 of a container\n");
        return 1;
    }
    umask(077);
    /* Who waits for the end of a pipe of his must not wait for us. */
    close_range(STDERR_FILENO + 1, ~0u, 0);
    signal(SIGPIPE, SIG_IGN);
    m->scope = ph_scope_new(NULL);
    char *real = realpath(ph_conf_choose_dir(o.dir), NULL);
    m->config_dir = real ? real : ph_conf_choose_dir(o.dir);
    m->verbose = o.verbose;
    m->exit_s = o.exit_s;
    m->is_init = getpid() == 1;
    ph_list_init(&m->services);
    if (o.background && go_background(m) < 0) {
        perror("postfix/master");
        return 1;
    }
    if (!o.background && !o.foreground && !o.init && !o.test && !o.check)
        detach(m);
    int rc = serve(m, &o);
    if (rc < 0 && !o.test) {
        dprintf(m->complaint_fd, "postfix/master: fatal: %s\n", ph_error());
        ph_log_error("fatal: %s", ph_error());
        ph_log_flush();
    }
    _exit(rc < 0 ? 1 : 0);
}
