/* exit: see exit.h. */
#include <posthorn/buf.h>
#include <posthorn/dsn.h>
#include "plugins/transport/common/exit.h"

#define OUTPUT_MAX 4096u

static const struct { int status; const char *dsn, *text; } exits[] = {
    { 64, "5.3.0", "command line usage error" }, { 65, "5.6.0", "data format error" }, { 66, "5.3.0", "cannot open input" },
    { 67, "5.1.1", "user unknown" }, { 68, "5.1.2", "host name unknown" }, { 69, "5.3.0", "service unavailable" },
    { 70, "5.3.0", "internal software error" }, { 71, "4.3.0", "system resource problem" }, { 72, "5.3.0", "critical OS file missing" },
    { 73, "5.2.0", "can't create user output file" }, { 74, "5.3.0", "input/output error" }, { 75, "4.3.0", "temporary failure" },
    { 76, "5.5.0", "remote error in protocol" }, { 77, "5.7.0", "permission denied" }, { 78, "5.3.5", "local configuration error" },
};

/* Length of the UTF-8 sequence at p, or 0. */
static size_t sequence(const char *p, size_t n)
{
    for (size_t len = 2; len <= 4 && len <= n; len++)
        if (ph_str_is_utf8((ph_str){ p, len }))
            return len;
    return 0;
}

ph_str transport_output(struct ph_scope *s, ph_str in)
{
    struct ph_buf out;
    size_t len;

    in = ph_str_first(in, OUTPUT_MAX);
    ph_buf_init(&out, s, in.n + 1);
    for (size_t i = 0; i < in.n; i += len) {
        char c = in.p[i];

        len = 1;
        if (c == '\t' || c == '\n')
            ph_buf_putc(&out, ' ');
        else if (ph_is_print(c))
            ph_buf_putc(&out, c);
        else if ((unsigned char)c >= 0x80 && (len = sequence(in.p + i, in.n - i)) > 0)
            ph_buf_put(&out, in.p + i, len);
        else {
            ph_buf_putc(&out, '_');
            len = 1;
        }
    }
    return ph_buf_view(&out);
}

static void set(struct ph_outcome *o, const char *dsn, ph_str text)
{
    o->status = dsn[0] == '4' ? PH_RCPT_DEFERRED : PH_RCPT_BOUNCED;
    o->dsn = ph_cstr(dsn);
    o->text = text;
}

/* The wording of the end itself. */
static void by_status(struct ph_scope *s, const struct ph_command_result *r, ph_str what, struct ph_outcome *o)
{
    if (r->timed_out) {
        set(o, "5.3.0", ph_str_printf(s, "Command time limit exceeded: \"%.*s\"", PH_FMT(what)));
        return;
    }
    if (r->signal) {
        set(o, "4.3.0", ph_str_printf(s, "Command died with signal %d: \"%.*s\"", r->signal, PH_FMT(what)));
        return;
    }
    for (size_t i = 0; i < sizeof exits / sizeof *exits; i++)
        if (exits[i].status == r->status) {
            set(o, exits[i].dsn, ph_cstr(exits[i].text));
            return;
        }
    set(o, "5.3.0", ph_str_printf(s, "Command died with status %d: \"%.*s\"", r->status, PH_FMT(what)));
}

static ph_str without_leading(ph_str v)
{
    while (v.n && ph_is_space(v.p[0]))
        v = ph_str_from(v, 1);
    return v;
}

void transport_exit(struct ph_scope *s, const struct ph_command_result *r, ph_str what, struct ph_outcome *o)
{
    ph_str output = transport_output(s, r->output), said = ph_str_trim(output), code, text;

    if (!r->timed_out && !r->signal && r->status == 0) {
        o->status = PH_RCPT_SENT;
        o->dsn = PH_STR("2.0.0");
        return;
    }
    by_status(s, r, what, o);
    o->diagnostic_type = PH_STR("x-unix");
    o->diagnostic = said.n ? said : o->text;
    if (!r->timed_out && !r->signal && ph_dsn_parse(without_leading(output), &code, &text) && ph_dsn_class(code) != '2') {
        o->status = ph_dsn_class(code) == '4' ? PH_RCPT_DEFERRED : PH_RCPT_BOUNCED;
        o->dsn = code;
        o->text = text;
    } else if (said.n) {
        o->text = ph_str_printf(s, "%.*s. Command output: %.*s", PH_FMT(o->text), PH_FMT(output));
    }
}
