/* t/plugin/showq.c: the queue listing from qmgr's and bounce's words to what
 * postqueue -p and -j print, byte for byte.  The test plays qmgr and bounce. */
#include "t/unit/tap.h"
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>
#include <posthorn/maildrop.h>
#include "core/cmd/listing.h"
#include "core/conf/conf.h"
#include "core/ipc/client.h"
#include "core/run/loop.h"
#include "plugins/service/showq/showq.h"

extern const struct ph_service_plugin service_showq_LTX_ph_plugin;

static struct ph_group *group;
static char maildrop[64];

/* ---- qmgr: one message per queue, when asked ---- */

struct message {
    const char *queue, *id, *sender;
    int64_t arrival;
    uint64_t size, expired;
    const char *rcpt[4][3];        /* address, original, state */
};

static const struct message messages[] = {
    { "active", "3F2A41C0D5", "alice@example.com", 1700000000, 1234, 0,
      { { "bob@example.net", "", "P" }, { "car ol@example.net", "c@example.net", "P" }, { "bob@example.net", "again@example.net", "P" } } },
    { "deferred", "8B11E1C0E2", "", 1700000001, 20480, 0,
      { { "new@example.org", "", "P" }, { "dave@example.org", "", "P" }, { "eve@example.org", "", "P" },
        { "bad@example.org", "", "F" } } },
    { "hold", "AAAAA1C0E3", "x@y", 1700000002, 10, 1, { { "z@y", "", "P" } } },
};
static int empty;

static void put_rcpts(struct ph_frame *f, const struct message *m)
{
    for (uint64_t i = 0; i < 4 && m->rcpt[i][0]; i++) {
        ph_frame_u64(f, "rcpt", i);
        ph_frame_cstr(f, "address", m->rcpt[i][0]);
        if (m->rcpt[i][1][0])
            ph_frame_cstr(f, "original", m->rcpt[i][1]);
        ph_frame_cstr(f, "state", m->rcpt[i][2]);
    }
}

static int qmgr(void *arg PH_UNUSED, struct ph_scope *session, struct ph_stream *io)
{
    struct ph_frame *f, *out;

    while (ph_frame_recv(io, session, 0, &f) > 0) {
        if (!ph_str_eq(ph_frame_value(f, "op"), PH_STR("list")))
            continue;
        for (size_t i = 0; i < 3 && !empty; i++) {
            const struct message *m = &messages[i];

            if (ph_frame_value(f, "queue").n && !ph_str_eq(ph_frame_value(f, "queue"), ph_cstr(m->queue)))
                continue;
            out = ph_frame_new(session);
            ph_frame_cstr(out, "queue", m->queue);
            ph_frame_cstr(out, "queue_id", m->id);
            ph_frame_u64(out, "size", m->size);
            ph_frame_i64(out, "arrival", m->arrival * 1000000 + 999999);
            ph_frame_u64(out, "expired", m->expired);
            ph_frame_cstr(out, "sender", m->sender);
            put_rcpts(out, m);
            ph_frame_send(io, out);
        }
        out = ph_frame_new(session);
        ph_frame_cstr(out, "end", "1");
        ph_frame_cstr(out, "status", "ok");
        ph_frame_send(io, out);
        ph_stream_flush(io);
    }
    return 0;
}

/* ---- bounce ---- */

#define LONG "a reason of more than seventy-six bytes is not folded, it starts in the first column (\"x\")"

static void put_reason(struct ph_frame *f, uint64_t index, const char *text)
{
    ph_frame_u64(f, "index", index);
    ph_frame_cstr(f, "recipient", "x");
    ph_frame_cstr(f, "text", text);
}

static int bounce(void *arg PH_UNUSED, struct ph_scope *session, struct ph_stream *io)
{
    struct ph_frame *f, *out;

    while (ph_frame_recv(io, session, 0, &f) > 0) {
        int deferred = ph_str_eq(ph_frame_value(f, "log"), PH_STR("defer"));
        size_t at = 0;
        uint64_t first = 0;
        ph_str id = { NULL, 0 };

        /* Only the first: it is asked for the others then. */
        for (ph_str name, value; !first && ph_frame_next(f, &at, &name, &value); )
            if (ph_str_eq(name, PH_STR("queue_id"))) {
                id = value;
                first = 1;
            }
        out = ph_frame_new(session);
        ph_frame_cstr(out, "status", "ok");
        ph_frame_u64(out, "count", first);
        if (ph_str_eq(id, PH_STR("8B11E1C0E2"))) {
            ph_frame_str(out, "queue_id", id);
            if (deferred) {
                put_reason(out, 1, "an older reason");
                put_reason(out, 1, "connect to mx.example.org[192.0.2.1]:25: Connection timed out");
                put_reason(out, 2, "connect to mx.example.org[192.0.2.1]:25: Connection timed out");
            } else {
                put_reason(out, 3, LONG);
            }
        }
        ph_frame_send(io, out);
        ph_stream_flush(io);
    }
    return 0;
}

/* ---- a client ---- */

static struct ph_service service;

static int showq(void *arg PH_UNUSED, struct ph_scope *session, struct ph_stream *io)
{
    return service.ops->serve(&service, session, io, NULL);
}

/* What postqueue would print. */
static ph_str listing(struct ph_scope *s, int json, int long_ids)
{
    struct listing l = { .json = json, .long_ids = long_ids, .null_sender = PH_STR("MAILER-DAEMON") };
    struct ph_stream *io;
    struct ph_frame *f;
    char name[] = "/tmp/showq.XXXXXX", *text = ph_alloc(s, 10000);
    int file = mkstemp(name), keep = dup(1), first = 1;
    ssize_t n;

    if (file < 0 || ph_service_dial(s, "showq", &io) < 0)
        exit(99);
    unlink(name);
    fflush(stdout);
    dup2(file, 1);
    while (ph_frame_recv(io, s, 0, &f) > 0 && !ph_frame_value(f, "end").n) {
        if (!first)
            ph_listing_frame(&l, f);
        first = 0;
    }
    ph_listing_end(&l);
    fflush(stdout);
    dup2(keep, 1);
    close(keep);
    n = pread(file, text, 10000, 0);
    close(file);
    return (ph_str){ text, n > 0 ? (size_t)n : 0 };
}

static const char short_form[] =
    "-Queue ID-  --Size-- ----Arrival Time---- -Sender/Recipient-------\n"
    "3F2A41C0D5*    1234 Tue Nov 14 22:13:20  alice@example.com\n"
    "                                         bob@example.net\n"
    "                                         \"car ol\"@example.net\n"
    "\n"
    "8B11E1C0E2    20480 Tue Nov 14 22:13:21  MAILER-DAEMON\n"
    "               (connect to mx.example.org[192.0.2.1]:25: Connection timed out)\n"
    "                                         dave@example.org\n"
    "                                         eve@example.org\n"
    "(" LONG ")\n"
    "                                         bad@example.org\n"
    "                                                          (reason unavailable)\n"
    "                                         new@example.org\n"
    "\n"
    "AAAAA1C0E3!#      10 Tue Nov 14 22:13:22  x@y\n"
    "                                         z@y\n"
    "\n"
    "-- 21 Kbytes in 3 Requests.\n";

static const char json_form[] =
    "{\"queue_name\": \"active\", \"queue_id\": \"3F2A41C0D5\", \"arrival_time\": 1700000000, \"message_size\": 1234, "
    "\"forced_expire\": false, \"sender\": \"alice@example.com\", \"recipients\": "
    "[{\"orig_address\": \"bob@example.net\", \"address\": \"bob@example.net\"}, "
    "{\"orig_address\": \"c@example.net\", \"address\": \"\\\"car ol\\\"@example.net\"}]}\n"
    "{\"queue_name\": \"deferred\", \"queue_id\": \"8B11E1C0E2\", \"arrival_time\": 1700000001, \"message_size\": 20480, "
    "\"forced_expire\": false, \"sender\": \"MAILER-DAEMON\", \"recipients\": "
    "[{\"orig_address\": \"dave@example.org\", \"address\": \"dave@example.org\", "
    "\"delay_reason\": \"connect to mx.example.org[192.0.2.1]:25: Connection timed out\"}, "
    "{\"orig_address\": \"eve@example.org\", \"address\": \"eve@example.org\", "
    "\"delay_reason\": \"connect to mx.example.org[192.0.2.1]:25: Connection timed out\"}, "
    "{\"orig_address\": \"bad@example.org\", \"address\": \"bad@example.org\", \"bounce_reason\": "
    "\"a reason of more than seventy-six bytes is not folded, it starts in the first column (\\\"x\\\")\"}, "
    "{\"orig_address\": \"new@example.org\", \"address\": \"new@example.org\"}]}\n"
    "{\"queue_name\": \"hold\", \"queue_id\": \"AAAAA1C0E3\", \"arrival_time\": 1700000002, \"message_size\": 10, "
    "\"forced_expire\": true, \"sender\": \"x@y\", \"recipients\": "
    "[{\"orig_address\": \"z@y\", \"address\": \"z@y\"}]}\n";

static void put_submitted(int dir, const char *name, mode_t mode, const char *text)
{
    int fd = openat(dir, name, O_WRONLY | O_CREAT, 0600);

    if (fd < 0 || write(fd, text, strlen(text)) < 0 || fchmod(fd, mode) < 0)
        exit(99);
    close(fd);
}

static void test_maildrop(struct ph_scope *s)
{
    char path[100];
    static const char text[] = "posthorn-maildrop 1\ntime 1700000005\nsender me\nrcpt you@example.com\n\ndata 1\nxend\n";
    int dir;

    snprintf(path, sizeof path, "%s/maildrop", maildrop);
    dir = open(path, O_RDONLY | O_DIRECTORY);
    put_submitted(dir, "0ABCD", 0700, text);
    put_submitted(dir, "0ABCE", 0600, text);
    put_submitted(dir, "0ABCF", 0700, "this is none\n");
    empty = 1;
    is_bytes(listing(s, 1, 1),
             "{\"queue_name\": \"maildrop\", \"queue_id\": \"0ABCD\", \"arrival_time\": 1700000005, \"message_size\": 80, "
             "\"forced_expire\": false, \"sender\": \"me\", \"recipients\": "
             "[{\"orig_address\": \"you@example.com\", \"address\": \"you@example.com\"}]}\n",
             "maildrop: whole files only");
    unlinkat(dir, "0ABCD", 0);
    unlinkat(dir, "0ABCE", 0);
    unlinkat(dir, "0ABCF", 0);
    close(dir);
}

static void test_json_strings(struct ph_scope *s)
{
    struct ph_buf b;

    ph_buf_init(&b, s, 1000);
    ph_listing_json(&b, PH_STR("a\"\\\b\f\n\r\t\x01\x7f\xc3\xa9\xff\xe2\x82"), 0);
    is_str(b, "\"a\\\"\\\\\\b\\f\\n\\r\\t\\u0001\\u007F\xc3\xa9???\"", "strings are escaped, and are UTF-8");
    ph_buf_reset(&b);
    ph_listing_json(&b, PH_STR("\xc3\xa9"), 1);
    is_str(b, "\"?\"", "or ASCII");
}

static int run(void *arg PH_UNUSED)
{
    PH_SCOPED(s, NULL);

    group = ph_group_new(s);
    ph_client_inline("qmgr", group, qmgr, NULL);
    ph_client_inline("bounce", group, bounce, NULL);
    ph_client_inline("showq", group, showq, NULL);
    service.scope = s;
    if (ph_conf_parse(s, "/", "main.cf", PH_STR(""), &service.conf) < 0)
        exit(99);
    service.ops = &service_showq_LTX_ph_plugin;
    service.queue_dir_fd = open(maildrop, O_RDONLY | O_DIRECTORY);
    is_int(service.ops->open(&service), 0, "the service opens");
    is_bytes(listing(s, 0, 0), short_form, "postqueue -p, short ids");
    is_bytes(ph_str_first(listing(s, 0, 1), 160),
             "----Queue ID----- --Size-- ---Arrival Time---- --Sender/Recipient------\n"
             "3F2A41C0D5*           1234 Tue Nov 14 22:13:20 alice@example.com\n"
             "                       ", "postqueue -p, long ids");
    is_bytes(listing(s, 1, 0), json_form, "postqueue -j");
    empty = 1;
    is_bytes(listing(s, 0, 0), "Mail queue is empty\n", "an empty queue, for people");
    is_bytes(listing(s, 1, 0), "", "an empty queue, for programs");
    test_maildrop(s);
    test_json_strings(s);
    close(service.queue_dir_fd);
    ph_group_cancel(group);
    ph_client_forget();
    return 0;
}

int main(void)
{
    char path[100];

    setenv("TZ", "UTC", 1);
    snprintf(maildrop, sizeof maildrop, "/tmp/showqdir.XXXXXX");
    if (!mkdtemp(maildrop))
        exit(99);
    snprintf(path, sizeof path, "%s/maildrop", maildrop);
    mkdir(path, 0700);
    if (ph_run_main(run, NULL) < 0)
        printf("# %s\n", ph_error());
    rmdir(path);
    rmdir(maildrop);
    return done_testing();
}
