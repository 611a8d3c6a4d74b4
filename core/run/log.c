/* log: lines, gathered and sent in batches.  See posthorn/log.h and log.h. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <syslog.h>
#include <time.h>
#include <unistd.h>
#include <posthorn/buf.h>
#include <posthorn/clock.h>
#include <posthorn/error.h>
#include "core/run/context.h"
#include "core/run/log.h"
#include "core/run/loop.h"
#include "core/run/why.h"

#define LINE_MAX_BYTES 2000u
#define GATHER_MAX (512u << 10)
#define LOOK_AGAIN_MS 1000         /* for a syslogd that is not there */
#define RETRY_MS 100               /* for a sink that is full */

/* One per process: the loop's thread alone uses it (pool threads do not log). */
static struct {
    int fd;                        /* file, stdout, stderr, or the syslog socket; -1 none */
    int is_syslog, is_pipe, own_fd;
    char name[128], service[64], host[64], program[64], before[64];   /* before: of a command that opened no log */
    int verbosity;
    pid_t pid;                     /* asked once: each line shows it */
    struct ph_buf out;             /* lines; for syslog each ends in NUL, not LF */
    uint64_t dropped, said;        /* said: the count in a line that has not left yet */
    char socket[108];              /* of syslogd */
    int64_t look_at;
    struct ph_turn_hook hook;
    struct ph_timer retry;         /* makes a turn, so that the hook runs */
    time_t stamp_second;           /* the second that stamp shows */
    char stamp[32];
} sink = { .fd = -1 };

static void in_child(void)
{
    sink.pid = getpid();
}

static void learn_pid(void)
{
    if (!sink.pid)
        pthread_atfork(NULL, NULL, in_child);
    sink.pid = getpid();
}

static void copy(char *to, size_t size, const char *from)
{
    snprintf(to, size, "%s", from ? from : "");
}

static int open_syslog(void)
{
    struct sockaddr_un sa = { .sun_family = AF_UNIX };
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

    memcpy(sa.sun_path, sink.socket, sizeof sa.sun_path);

    /* Without a syslogd lines are counted as dropped; a later one may be there. */
    if (fd >= 0 && connect(fd, (const struct sockaddr *)&sa, sizeof sa) < 0) {
        close(fd);
        fd = -1;
    }
    return fd;
}

static int open_file(const struct ph_log_options *o, int *own)
{
    *own = 0;
    if (strcmp(o->file, "/dev/stdout") == 0)
        return 1;
    if (strcmp(o->file, "/dev/stderr") == 0)
        return 2;
    *own = 1;
    int flags = O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOFOLLOW;
    int fd = open(o->file, flags | O_EXCL, 0600);

    /* Ours is the first: the mode is what was asked for, whatever the umask. */
    if (fd >= 0 && o->mode && fchmod(fd, (mode_t)o->mode) == 0)
        return fd;
    return fd >= 0 || errno != EEXIST ? fd : open(o->file, flags, 0600);
}

int ph_log_open(const struct ph_log_options *o)
{
    int is_syslog = !o->file || !o->file[0], own = 1;

    if (is_syslog)
        copy(sink.socket, sizeof sink.socket, o->syslog_socket ? o->syslog_socket : "/dev/log");
    int fd = is_syslog ? open_syslog() : open_file(o, &own);

    if (fd < 0 && !is_syslog)
        return ph_fail_errno(PH_TEMP, errno, "open log file %s", o->file);
    learn_pid();
    ph_log_flush();
    if (sink.own_fd && sink.fd >= 0)
        close(sink.fd);
    sink.fd = fd;
    sink.own_fd = own;
    sink.is_syslog = is_syslog;
    sink.is_pipe = !is_syslog && !own;
    sink.verbosity = o->verbosity;
    copy(sink.name, sizeof sink.name, o->syslog_name && o->syslog_name[0] ? o->syslog_name : "postfix");
    copy(sink.service, sizeof sink.service, o->service);
    copy(sink.program, sizeof sink.program, o->program);
    copy(sink.host, sizeof sink.host, o->host && o->host[0] ? o->host : "amnesiac");
    sink.host[strcspn(sink.host, ".")] = 0;
    return 0;
}

void ph_log_adopt_fd(int fd)
{
    ph_log_flush();
    if (sink.is_syslog || !sink.own_fd) {
        close(fd);
        return;
    }
    close(sink.fd);
    sink.fd = fd;
}

int ph_log_fd(void) { return sink.is_syslog ? -1 : sink.fd; }
void ph_log_verbosity(int level) { sink.verbosity = level; }

const char *ph_log_service(const char *name)
{
    struct ph_context *c = ph_context();
    const char *old = c->log_service;

    c->log_service = name;
    return old;
}

/* A terminal or pipe that is full must not stop us. */
static int takes_more(void)
{
    struct pollfd p = { .fd = sink.fd, .events = POLLOUT };

    return !sink.is_pipe || (poll(&p, 1, 0) == 1 && p.revents & POLLOUT);
}

/* What is gathered cannot leave: count its lines and begin anew. */
static void drop_gathered(void)
{
    char end = sink.is_syslog ? 0 : '\n';

    for (size_t i = 0; i < sink.out.n; i++)
        sink.dropped += sink.out.p[i] == end;
    if (sink.said)
        sink.dropped += sink.said - 1;
    sink.said = 0;
    ph_buf_reset(&sink.out);
}

static void flush_file(void)
{
    while (sink.out.n && takes_more()) {
        /* A pipe takes PIPE_BUF bytes whole when it says that it takes any. */
        size_t n = sink.is_pipe && sink.out.n > 4096 ? 4096 : sink.out.n;
        ssize_t done = write(sink.fd, sink.out.p, n);

        if (done < 0 && errno == EINTR)
            continue;
        if (done < 0 && errno == EAGAIN)
            return;
        if (done <= 0) {
            drop_gathered();       /* disk full: the next lines have their chance */
            return;
        }
        ph_buf_shift(&sink.out, (size_t)done);
    }
}

/* 1 when there is a syslogd to send to; it is looked for once in a while. */
static int has_syslogd(void)
{
    if (sink.fd >= 0)
        return 1;
    if (ph_now_ms() < sink.look_at)
        return 0;
    if ((sink.fd = open_syslog()) >= 0)
        return 1;
    sink.look_at = ph_in_ms(LOOK_AGAIN_MS);
    return 0;
}

/* One datagram: 1 it is gone (or too long ever to go), 0 later, -1 syslogd left. */
static int send_line(size_t n)
{
    if (send(sink.fd, sink.out.p, n, MSG_NOSIGNAL) >= 0 || errno == EMSGSIZE)
        return 1;
    if (errno == EAGAIN || errno == ENOBUFS || errno == EINTR)
        return 0;
    close(sink.fd);
    sink.fd = -1;
    return -1;
}

static void flush_syslog(void)
{
    int reopened = 0;

    while (sink.out.n) {
        size_t n = strlen(sink.out.p);

        if (!has_syslogd()) {
            drop_gathered();
            return;
        }
        int rc = send_line(n);
        if (rc == 0)
            return;                /* it is slow: keep them */
        if (rc > 0)
            ph_buf_shift(&sink.out, n + 1);
        else if (reopened++)
            sink.look_at = ph_in_ms(LOOK_AGAIN_MS);
    }
}

void ph_log_flush(void)
{
    if (sink.out.n == 0)
        return;
    if (sink.is_syslog)
        flush_syslog();
    else if (sink.fd >= 0)
        flush_file();
    if (sink.out.n == 0)
        sink.said = 0;
}

static void no_work(struct ph_timer *t PH_UNUSED)
{
}

static void at_turn_end(void *arg PH_UNUSED)
{
    ph_log_flush();
    if (sink.out.n && !sink.retry.index)
        ph_timer_set(&sink.retry, ph_in_ms(RETRY_MS));
}

/* The loop takes its hooks out when it ends. */
static int is_joined(void)
{
    return ph_loop_here() && sink.hook.node.next && sink.hook.node.next != &sink.hook.node;
}

void ph_log_join_loop(void)
{
    if (is_joined())
        return;
    sink.hook.fn = at_turn_end;
    sink.retry.fn = no_work;
    sink.retry.index = 0;
    ph_turn_hook_add(&sink.hook);
}

static void put_stamp(struct ph_buf *b)
{
    time_t now = (time_t)(ph_wall_us() / 1000000);
    struct tm tm;

    if (now != sink.stamp_second) {
        strftime(sink.stamp, sizeof sink.stamp, "%b %e %H:%M:%S", localtime_r(&now, &tm));
        sink.stamp_second = now;
    }
    ph_buf_puts(b, sink.stamp);
}

static void put_line(const char *service, int priority, const char *severity, const char *text, size_t n)
{
    size_t before = sink.out.n;

    if (!sink.out.p)
        ph_buf_init(&sink.out, NULL, GATHER_MAX);
    sink.out.full = 0;
    if (sink.is_syslog) {
        ph_buf_printf(&sink.out, "<%d>", LOG_MAIL | priority);
        put_stamp(&sink.out);
        ph_buf_putc(&sink.out, ' ');
    } else {
        put_stamp(&sink.out);
        ph_buf_printf(&sink.out, " %s ", sink.host);
    }
    ph_buf_printf(&sink.out, "%s%s%s[%d]: ", sink.name, service[0] ? "/" : "", service, (int)sink.pid);
    ph_buf_puts(&sink.out, severity);
    ph_buf_put(&sink.out, text, n);
    ph_buf_putc(&sink.out, sink.is_syslog ? 0 : '\n');
    if (sink.out.full) {
        ph_buf_truncate(&sink.out, before);
        sink.dropped++;
    }
}

/* Say how many lines were lost once there is room to say it. */
static void say_dropped(const char *service)
{
    char text[80];
    uint64_t n = sink.dropped;

    if (n == 0 || sink.said || sink.out.n > GATHER_MAX / 2)
        return;
    sink.dropped = 0;
    sink.said = n;
    int len = snprintf(text, sizeof text, "%llu log lines were dropped: the log did not take them", (unsigned long long)n);
    put_line(service, LOG_WARNING, "warning: ", text, (size_t)len);
}

void ph_log_program(const char *name)
{
    if (sink.fd < 0 && !sink.is_syslog)
        copy(sink.before, sizeof sink.before, name);
}

static void emit(const char *service, int priority, const char *severity, char *text, size_t n)
{
    ph_make_shown(text, n);        /* control bytes would let a peer write log lines of its own */
    if (sink.program[0])
        fprintf(stderr, "%s: %s%.*s\n", sink.program, severity, (int)n, text);
    if (sink.fd < 0 && !sink.is_syslog) {
        if (!sink.program[0])      /* nothing was opened yet */
            fprintf(stderr, "%s%s%s%.*s\n", sink.before, sink.before[0] ? ": " : "", severity, (int)n, text);
        return;
    }
    say_dropped(service);
    put_line(service, priority, severity, text, n);
    if (!is_joined())
        ph_log_flush();
}

/* Who asks why hears what is logged; before a log is open nobody else needs to. */
static int is_told(const char *severity, const char *text, size_t n)
{
    struct ph_why_step step = { .size = sizeof step, .kind = PH_WHY_LOG, .value = { text, n }, .remark = ph_cstr(severity) };

    ph_why_put(&step);
    return sink.fd < 0 && !sink.is_syslog;
}

static void vlog(int priority, const char *severity, const char *fmt, va_list ap)
{
    const char *service = ph_context()->log_service;
    char text[LINE_MAX_BYTES + 1] PH_UNFILLED;
    int n = ph_vformat(text, sizeof text, fmt, ap);
    size_t len = n < 0 ? 0 : (size_t)n < sizeof text ? (size_t)n : sizeof text - 1;

    if (n < 0 || (ph_why_is_on() && is_told(severity, text, len)))
        return;
    emit(service ? service : sink.service, priority, severity, text, len);
}

void ph_log(const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    vlog(LOG_INFO, "", fmt, ap);
    va_end(ap);
}

void ph_log_warn(const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    vlog(LOG_WARNING, "warning: ", fmt, ap);
    va_end(ap);
}

void ph_log_error(const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    vlog(LOG_ERR, "error: ", fmt, ap);
    va_end(ap);
}

void ph_debug(int level, const char *fmt, ...)
{
    va_list ap;

    if (sink.verbosity + ph_context()->verbosity < level)
        return;
    va_start(ap, fmt);
    vlog(LOG_INFO, "", fmt, ap);
    va_end(ap);
}

void ph_log_for(const char *service, const char *text)
{
    const char *old = ph_log_service(service);

    ph_log("%s", text);
    ph_log_service(old);
}
