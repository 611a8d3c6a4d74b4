/* t/unit/log.c: lines in each kind of sink; sinks that are slow, full or gone. */
#include "tap.h"
#include <errno.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>
#include <posthorn/task.h>
#include "core/run/log.h"
#include "core/run/loop.h"

static char dir[] = "/tmp/ph-log-XXXXXX";

static const char *path_of(struct ph_scope *s, const char *name) { return ph_str_printf(s, "%s/%s", dir, name).p; }

static ph_str text_of(struct ph_scope *s, const char *path)
{
    FILE *f = fopen(path, "r");
    char *mem = ph_alloc(s, 1 << 20);
    size_t n = f ? fread(mem, 1, (1 << 20) - 1, f) : 0;

    if (f)
        fclose(f);
    return (ph_str){ mem, n };
}

/* "Mmm dd hh:mm:ss host tag[pid]: text" without stamp and pid: "host tag: text". */
static ph_str bare(struct ph_scope *s, ph_str line)
{
    ph_str rest = ph_str_from(line, 16);
    ph_str head = ph_str_cut(&rest, '[');

    ph_str_cut(&rest, ']');
    return ph_str_printf(s, "%.*s%.*s", PH_FMT(head), PH_FMT(rest));
}

static const struct { const char *in, *want; } texts[] = {
    { "plain", "plain" }, { "a\nb\rc\td\x7f", "a?b?c?d?" }, { "gr\xc3\xbc\xc3\x9f", "gr\xc3\xbc\xc3\x9f" },
    { "bad \xff\xc3", "bad ??" }, { "mixed \xc3\xbc \xff", "mixed \xc3\xbc ?" },
};

static void test_file(struct ph_scope *parent)
{
    PH_SCOPED(s, parent);
    const char *path = path_of(s, "file");
    struct ph_log_options o = { .file = path, .syslog_name = "postfix", .service = "smtpd", .host = "mx.here.example", .mode = 0640 };
    struct stat st;

    is_int(ph_log_open(&o), 0, "open a file");
    ok(stat(path, &st) == 0 && (st.st_mode & 0777) == 0640, "with the mode that was asked for");
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        ph_log("%s", texts[i].in);
    ph_log_warn("w");
    ph_log_error("e");
    ph_debug(1, "not shown");
    ph_log_verbosity(1);
    ph_debug(1, "shown");
    ph_debug(2, "not shown");
    ph_log_verbosity(0);
    const char *old = ph_log_service("cleanup");
    ph_log("inline");
    ph_log_service(old);
    ph_log_for("other", "said for another");
    ph_log("%03000d", 7);
    ph_str rest = text_of(s, path);
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        ph_str line = ph_str_cut(&rest, '\n');

        ok(line.n > 16 && line.p[3] == ' ' && line.p[6] == ' ' && line.p[9] == ':' && line.p[12] == ':', "a stamp stands in front");
        is_bytes(bare(s, line), ph_str_printf(s, "mx postfix/smtpd: %s", texts[i].want).p, "a line, made harmless");
    }
    is_bytes(bare(s, ph_str_cut(&rest, '\n')), "mx postfix/smtpd: warning: w", "a warning");
    is_bytes(bare(s, ph_str_cut(&rest, '\n')), "mx postfix/smtpd: error: e", "an error");
    is_bytes(bare(s, ph_str_cut(&rest, '\n')), "mx postfix/smtpd: shown", "a word for who is curious");
    is_bytes(bare(s, ph_str_cut(&rest, '\n')), "mx postfix/cleanup: inline", "the name of an inline service");
    is_bytes(bare(s, ph_str_cut(&rest, '\n')), "mx postfix/other: said for another", "a line of another process");
    is_int((long long)bare(s, ph_str_cut(&rest, '\n')).n, (long long)strlen("mx postfix/smtpd: ") + 2000, "a long line is cut");
    is_int((long long)rest.n, 0, "and that is all");
    o.file = path_of(s, "no/such/directory");
    is_int(ph_log_open(&o), PH_TEMP, "a file that cannot be opened");
    ph_log("still here");
    ok(ph_str_search(text_of(s, path), PH_STR("still here\n")) > 0, "leaves the sink before");
}

/* Lines of one turn leave together, in order, before the loop sleeps. */
static void test_turns(struct ph_scope *parent)
{
    PH_SCOPED(s, parent);
    const char *path = path_of(s, "turns");
    struct ph_log_options o = { .file = path, .service = "x", .host = "h" };

    ph_log_open(&o);
    ph_log_join_loop();
    for (int i = 0; i < 100; i++)
        ph_log("line %d", i);
    is_int((long long)text_of(s, path).n, 0, "nothing is written within a turn");
    ph_sleep_until(ph_in_ms(1));
    ph_str rest = text_of(s, path);
    int good = 1;
    for (int i = 0; i < 100; i++)
        good &= ph_str_ends(ph_str_cut(&rest, '\n'), ph_str_printf(s, ": line %d", i));
    ok(good && rest.n == 0, "all 100 after it, in order");
}

static int syslogd(const char *path)
{
    struct sockaddr_un sa = { .sun_family = AF_UNIX };
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

    snprintf(sa.sun_path, sizeof sa.sun_path, "%s", path);
    unlink(path);
    if (fd < 0 || bind(fd, (struct sockaddr *)&sa, sizeof sa) < 0)
        exit(1);
    return fd;
}

/* Read what is there; the last line in text.  Returns how many. */
static int drain(int fd, char *text, size_t size)
{
    int count = 0;
    ssize_t n;

    while ((n = recv(fd, text, size - 1, 0)) > 0) {
        text[n] = 0;
        count++;
    }
    return count;
}

static void test_syslog(struct ph_scope *parent)
{
    PH_SCOPED(s, parent);
    const char *path = path_of(s, "log");
    struct ph_log_options o = { .file = "", .syslog_socket = path, .syslog_name = "postfix", .service = "smtpd" };
    char text[4000] = "";
    int fd = syslogd(path), sent = 0, got = 0;

    is_int(ph_log_open(&o), 0, "open syslog");
    ph_log("hello");
    ph_sleep_until(ph_in_ms(1));
    is_int(drain(fd, text, sizeof text), 1, "one datagram a line");
    ok(strncmp(text, "<22>", 4) == 0, "facility mail, severity info");
    is_bytes(bare(s, ph_cstr(text + 4)), "postfix/smtpd: hello", "in the old form, without host");
    ph_log_warn("w");
    ph_sleep_until(ph_in_ms(1));
    drain(fd, text, sizeof text);
    ok(strncmp(text, "<20>", 4) == 0 && strstr(text, ": warning: w"), "severity warning");
    /* A syslogd that does not read: lines wait, and arrive when it reads again. */
    for (; sent < 1000; sent++)
        ph_log("burst %d", sent);
    for (int i = 0; i < 100 && got < sent; i++) {
        ph_sleep_until(ph_in_ms(10));
        got += drain(fd, text, sizeof text);
    }
    is_int(got, sent, "a slow syslogd gets every line");
    ok(strstr(text, "burst 999") != NULL, "the last one last");
    /* Restarted: a new socket in the same place. */
    close(fd);
    fd = syslogd(path);
    ph_log("after restart");
    ph_sleep_until(ph_in_ms(1));
    is_int(drain(fd, text, sizeof text), 1, "a restarted syslogd gets the next line");
    ok(strstr(text, "after restart") != NULL, "which is not lost");
    /* Gone: counted, and told to the next one. */
    close(fd);
    unlink(path);
    for (int i = 0; i < 5; i++) {
        ph_log("lost");
        ph_sleep_until(ph_in_ms(1));
    }
    fd = syslogd(path);
    ph_sleep_until(ph_in_ms(1100));
    ph_log("found");
    ph_sleep_until(ph_in_ms(1));
    struct { char first[4000]; } x;
    ssize_t n = recv(fd, x.first, sizeof x.first - 1, 0);
    x.first[n > 0 ? n : 0] = 0;
    ok(strstr(x.first, "warning: 5 log lines were dropped") != NULL, "what was lost is said");
    is_int(drain(fd, text, sizeof text), 1, "before the next line");
    close(fd);
}

/* A pipe that nobody reads: we go on, and the count is right at the end. */
static void test_full_pipe(struct ph_scope *parent)
{
    PH_SCOPED(s, parent);
    struct ph_log_options o = { .file = "/dev/stderr", .service = "x", .host = "h" };
    int p[2], saved = dup(2), lines = 20000, seen = 0;
    uint64_t dropped = 0;
    char *mem = ph_alloc(s, 4 << 20);
    size_t n = 0;

    if (pipe2(p, O_CLOEXEC) < 0 || dup2(p[1], 2) < 0)
        exit(1);
    close(p[1]);
    fcntl(p[0], F_SETFL, O_NONBLOCK);
    ph_log_open(&o);
    int64_t start = ph_now_ms();
    for (int i = 0; i < lines; i++) {
        ph_log("%0100d", i);
        if (i % 1000 == 0)
            ph_sleep_until(ph_in_ms(1));
    }
    ok(ph_now_ms() - start < 5000, "a full pipe stops nobody");
    for (int quiet = 0, said = 0; quiet < 30; ) {
        ssize_t got = read(p[0], mem + n, (4 << 20) - n - 1);

        quiet = got > 0 ? 0 : quiet + 1;
        n += got > 0 ? (size_t)got : 0;
        ph_sleep_until(ph_in_ms(got > 0 ? 1 : 10));
        if (quiet == 20 && !said++)
            ph_log("end");         /* gives the count its occasion */
    }
    o.file = path_of(s, "afterwards");
    ph_log_open(&o);
    dup2(saved, 2);
    close(saved);
    close(p[0]);
    for (ph_str rest = { mem, n }; rest.n; ) {
        ph_str line = ph_str_cut(&rest, '\n');
        ptrdiff_t at = ph_str_search(line, PH_STR("warning: "));
        uint64_t v;

        if (at >= 0) {
            line = ph_str_from(line, (size_t)at + 9);
            dropped += ph_str_u64(ph_str_word(&line), &v) ? v : 0;
        } else {
            seen++;
        }
    }
    ok(dropped > 0, "some lines were dropped");
    is_int((long long)dropped + seen, lines + 1, "seen and dropped are all there were");
}

static int all(void *arg)
{
    test_turns(arg);
    test_syslog(arg);
    test_full_pipe(arg);
    return 0;
}

static int second_loop(void *arg)
{
    PH_SCOPED(s, arg);

    const char *path = path_of(s, "second");
    struct ph_log_options o = { .file = path, .service = "x", .host = "h" };

    ph_log_open(&o);
    ph_log("one");
    ok(ph_str_ends(text_of(s, path), PH_STR(": one\n")), "a loop that was not joined: at once");
    return 0;
}

int main(void)
{
    struct ph_scope *s = ph_scope_new(NULL);
    char command[100];

    if (!mkdtemp(dir))
        exit(1);
    test_file(s);
    is_int(ph_run_main(all, s), 0, "the loop ends");
    is_int(ph_run_main(second_loop, s), 0, "so does a second one");
    snprintf(command, sizeof command, "rm -rf %s", dir);
    if (system(command) != 0)
        printf("# %s stays\n", dir);
    ph_scope_free(s);
    return done_testing();
}
