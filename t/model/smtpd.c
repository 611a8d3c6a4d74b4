/* t/model/smtpd.c: every sequence of commands against the reference model.  See
 * README.md.  Without an argument: what fits in a few seconds; --deep: all of it.
 * MODEL="EHLO MAILok ..." runs one sequence and shows the talk. */
#include "t/unit/tap.h"
#include <time.h>
#include <posthorn/error.h>
#include "core/conf/conf.h"
#include "core/run/loop.h"
#include "plugins/service/cleanup/cleanup.h"
#include "t/model/model.h"

extern const struct ph_service_plugin service_smtpd_LTX_ph_plugin;

#define FAR 1000000

static const char common[] =
    "myhostname = mx.test\nmyorigin = mx.test\nmail_name = Posthorn\ncompatibility_level = 3.11\nmydestination =\n"
    "smtpd_peername_lookup = no\nsmtpd_forbidden_commands = CONNECT\nsmtpd_reject_unlisted_recipient = no\nnotify_classes =\n"
    "message_size_limit = 3000\nsmtpd_recipient_limit = 3\nhopcount_limit = 2\nline_length_limit = 512\nsmtpd_error_sleep_time = 0\n"
    "smtpd_helo_restrictions = check_helo\nsmtpd_sender_restrictions = check_sender\nsmtpd_relay_restrictions = reject_unauth_destination\n"
    "smtpd_data_restrictions = check_data\nsmtpd_end_of_data_restrictions = check_end\n";

#define NO_LIMITS "smtpd_soft_error_limit = 1000000\nsmtpd_hard_error_limit = 1000000\nsmtpd_junk_command_limit = 1000000\n"
#define AT_ONCE   "smtpd_delay_reject = no\n"
#define PIPELINE  "smtpd_forbid_unauth_pipelining = no\n"

/* delay, late open, helo required, enforced pipelining, full, trusted; error limits. */
static const struct config configs[] = {
    { "at-once", NO_LIMITS AT_ONCE PIPELINE, 0, 1, 0, 0, 0, 0, FAR, FAR, 1000 },
    { "delayed", NO_LIMITS PIPELINE, 1, 1, 0, 0, 0, 0, FAR, FAR, 1000 },
    { "early-open", NO_LIMITS AT_ONCE PIPELINE "smtpd_delay_open_until_valid_rcpt = no\n", 0, 0, 0, 0, 0, 0, FAR, FAR, 1000 },
    { "helo-required", NO_LIMITS AT_ONCE PIPELINE "smtpd_helo_required = yes\n", 0, 1, 1, 0, 0, 0, FAR, FAR, 1000 },
    { "synchronised", NO_LIMITS AT_ONCE, 0, 1, 0, 1, 0, 0, FAR, FAR, 1000 },
    { "full-disk", NO_LIMITS AT_ONCE PIPELINE "queue_minfree = 9000000000000000000\n", 0, 1, 0, 0, 1, 0, FAR, FAR, 1000 },
    { "trusted", NO_LIMITS AT_ONCE PIPELINE "smtpd_authorized_xclient_hosts = 192.0.2.9\nsmtpd_authorized_xforward_hosts = 192.0.2.9\n",
      0, 1, 0, 0, 0, 1, FAR, FAR, 1000 },
    { "few-errors", AT_ONCE PIPELINE "smtpd_hard_error_limit = 3\nsmtpd_junk_command_limit = 1\nsmtpd_recipient_overshoot_limit = 1\n", 0, 1, 0, 0, 0, 0, 3, 1, 1 },
    { "defaults", "", 1, 1, 0, 1, 0, 0, 20, 100, 1000 },
};
#define CONFIGS (sizeof configs / sizeof *configs)

static struct smtpd_conf *opened[CONFIGS];

/* What is walked: the alphabet, what stands in front of each sequence, how deep. */
static const struct pass {
    const char *config;
    enum how how;
    int core;
    const char *prefix;
    unsigned shallow, deep;        /* 0: not at all */
} passes[] = {
    { "at-once", LOCK_STEP, 1, "", 4, 6 },
    { "at-once", ONE_BLOCK, 1, "", 3, 5 },
    { "at-once", LOCK_STEP, 0, "", 2, 4 },
    { "at-once", LOCK_STEP, 0, "EHLO MAILok RCPTok", 2, 3 },
    { "at-once", ONE_BLOCK, 0, "EHLO MAILok RCPTok", 2, 3 },
    { "at-once", LOCK_STEP, 0, "EHLO MAILok RCPTok RCPTb", 2, 3 },
    { "at-once", LOCK_STEP, 0, "EHLO MAILpicky RCPTok", 2, 3 },
    { "at-once", LOCK_STEP, 0, "EHLO MAILok RCPTok BDAT", 2, 3 },
    { "at-once", BYTE_WISE, 0, "MAILok RCPTok", 1, 2 },
    { "delayed", LOCK_STEP, 1, "", 3, 5 },
    { "delayed", LOCK_STEP, 0, "EHLOno MAILno", 2, 3 },
    { "early-open", LOCK_STEP, 1, "", 3, 5 },
    { "early-open", LOCK_STEP, 0, "MAILok", 2, 3 },
    { "helo-required", LOCK_STEP, 1, "", 3, 4 },
    { "synchronised", ONE_BLOCK, 0, "", 2, 3 },
    { "synchronised", ONE_BLOCK, 0, "EHLO MAILok RCPTok", 2, 3 },
    { "full-disk", LOCK_STEP, 0, "", 2, 3 },
    { "trusted", LOCK_STEP, 0, "", 2, 3 },
    { "trusted", LOCK_STEP, 0, "EHLO XFORWARD MAILok RCPTok", 2, 3 },
    { "few-errors", LOCK_STEP, 1, "", 3, 5 },
    { "few-errors", ONE_BLOCK, 0, "", 2, 3 },
    { "defaults", LOCK_STEP, 1, "", 3, 4 },
};

static struct {
    uint64_t sequences, commands, commits, differences;
} sum;

static const char *how_name(enum how how)
{
    return how == LOCK_STEP ? "command by command" : how == BYTE_WISE ? "byte by byte" : "in one block";
}

static void explain(const struct run *r)
{
    printf("# MODEL_CONFIG=%s ", r->config->name);
    if (r->how != LOCK_STEP)
        printf("MODEL_HOW=%s MODEL_HEAD=%u ", r->how == ONE_BLOCK ? "block" : "bytes", r->head);
    printf("MODEL=\"");
    for (unsigned i = 0; i < r->depth; i++)
        printf("%s%s", i ? " " : "", alphabet[r->seq[i]].name);
    printf("\" (%s%s), after command %u: %s\n", how_name(r->how), r->more ? ", more behind it" : "", r->next, r->wrong);
}

/* A session that the model closes before the last command stands for all
 * sequences that begin so: they are left out. */
static void run_one(struct run *r)
{
    sum.sequences++;
    if (run_session(r) < 0 && ++sum.differences <= 20)
        explain(r);
    sum.commands += r->used;
    sum.commits += r->m.commits;
}

/* Does the model end the session within the first n commands, with others behind them? */
static int ends(struct run *r, unsigned n)
{
    static struct model m;

    r->depth = n;
    r->more = 1;
    model_start(&m, r->config);
    for (unsigned i = 0; i < n && !m.closed; i++) {
        const struct symbol *y = &alphabet[r->seq[i]];
        const char *reply = model_command(&m, y, run_more(r, i));

        if (reply && strcmp(reply, "354") == 0)
            (void)model_content(&m, y);
    }
    return m.closed;
}

static void walk(struct run *r, unsigned at, unsigned depth, const uint8_t *letters, unsigned count)
{
    if (at == depth || (at && ends(r, at))) {
        r->depth = at;
        r->more = at < depth;
        run_one(r);
        return;
    }
    for (unsigned i = 0; i < count && sum.differences < 200; i++) {
        r->seq[at] = letters[i];
        walk(r, at + 1, depth, letters, count);
    }
}

static unsigned parse(struct run *r, const char *text)
{
    ph_str rest = ph_cstr(text), word;
    unsigned n = 0;

    while ((word = ph_str_word(&rest)).n) {
        int i = alphabet_find(word);

        if (i < 0 || n == DEPTH_MAX) {
            printf("Bail out! no command \"%.*s\", or too many\n", PH_FMT(word));
            exit(1);
        }
        r->seq[n++] = (uint8_t)i;
    }
    return n;
}

static void use(struct run *r, const char *name)
{
    for (size_t i = 0; i < CONFIGS; i++)
        if (strcmp(configs[i].name, name) == 0) {
            r->config = &configs[i];
            r->c = opened[i];
            acceptor.early = !configs[i].late_open;
            return;
        }
    printf("Bail out! no configuration %s\n", name);
    exit(1);
}

static void run_pass(struct run *r, const struct pass *p, unsigned depth)
{
    uint8_t letters[256];
    unsigned count = 0, prefix;
    uint64_t before = sum.sequences, bad = sum.differences;

    for (size_t i = 0; i < alphabet_count; i++)
        if (!p->core || alphabet[i].is & IS_CORE)
            letters[count++] = (uint8_t)i;
    use(r, p->config);
    r->how = p->how;
    prefix = r->head = parse(r, p->prefix);
    walk(r, prefix, prefix + depth, letters, count);
    ok(sum.differences == bad, "%s: %s%sdepth %u over %u commands, %s: %llu sequences", p->config, p->prefix, *p->prefix ? ", then " : "", depth, count,
       how_name(p->how), (unsigned long long)(sum.sequences - before));
}

static int open_all(struct ph_scope *s)
{
    for (size_t i = 0; i < CONFIGS; i++) {
        struct ph_service *v = ph_new(s, struct ph_service);

        *v = (struct ph_service){ .scope = s, .ops = &service_smtpd_LTX_ph_plugin, .name = "smtp", .queue_dir_fd = -1 };
        if (ph_conf_parse(s, "/tmp", "main.cf", ph_str_printf(s, "%s%s", common, configs[i].text), &v->conf) < 0 || v->ops->open(v) < 0 ||
            (i == 0 && acceptor_open(s, v->conf) < 0))
            return -1;
        opened[i] = v->self;
        opened[i]->queue_dir_fd = configs[i].is_full ? 1 : -1;
    }
    return 0;
}

static void replay(struct run *r, const char *text)
{
    const char *config = getenv("MODEL_CONFIG"), *how = getenv("MODEL_HOW"), *head = getenv("MODEL_HEAD");

    use(r, config ? config : "at-once");
    r->how = how && strcmp(how, "block") == 0 ? ONE_BLOCK : how && strcmp(how, "bytes") == 0 ? BYTE_WISE : LOCK_STEP;
    r->head = head ? (unsigned)atoi(head) : 0;
    r->verbose = 1;
    r->depth = parse(r, text);
    ok(run_session(r) == 0, "%s", text);
    if (r->wrong[0])
        explain(r);
}

static int64_t clock_ms(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

static int run_all(void *arg)
{
    static struct run r;
    const char *one = getenv("MODEL");
    int deep = arg != NULL;
    int64_t began = clock_ms();
    PH_SCOPED(s, NULL);

    if (open_all(s) < 0) {
        printf("Bail out! %s\n", ph_error());
        return 1;
    }
    for (size_t i = 0; !one && i < sizeof passes / sizeof *passes; i++)
        run_pass(&r, &passes[i], deep ? passes[i].deep : passes[i].shallow);
    if (one)
        replay(&r, one);
    printf("# model: %llu sequences, %llu commands, %llu transactions committed, %llu differences, %.1f seconds\n", (unsigned long long)sum.sequences,
           (unsigned long long)sum.commands, (unsigned long long)sum.commits, (unsigned long long)sum.differences, (double)(clock_ms() - began) / 1000);
    return 0;
}

int main(int argc, char **argv)
{
    setenv("TZ", "UTC", 1);
    alphabet_open();
    ph_conf_register(smtpd_rows, SMTPD_ROWS, sizeof *smtpd_rows);
    ph_conf_register(cleanup_rows, CLEANUP_ROWS, sizeof *cleanup_rows);
    if (ph_run_main(run_all, argc > 1 && strcmp(argv[1], "--deep") == 0 ? argv : NULL) != 0)
        return 1;
    return done_testing();
}
