/* sendmail_options: the options that programs have been passing for decades.
 * What has no meaning here is accepted silently, so that they keep working. */
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <posthorn/address.h>
#include <posthorn/error.h>
#include "core/cmd/cmd.h"
#include "core/cmd/sendmail.h"

/* What the options said, before main.cf is read. */
struct options {
    const char *dir, *sender, *full_name;
    int flush, interval;           /* -q, -q30m */
};

void sendmail_add_rcpt(struct sendmail *m, ph_str address)
{
    struct ph_maildrop *e = &m->envelope;

    if (e->rcpt_count == PH_MAILDROP_RCPTS)
        ph_cmd_fatal("more than %u recipients", PH_MAILDROP_RCPTS);
    if (e->rcpt_count == m->rcpt_room) {
        uint32_t room = m->rcpt_room ? m->rcpt_room * 2 : 16;
        struct ph_maildrop_rcpt *more = ph_alloc_array(m->scope, room, sizeof *more);

        if (e->rcpt_count)
            memcpy(more, m->rcpt, e->rcpt_count * sizeof *more);
        m->rcpt = more;
        m->rcpt_room = room;
        e->rcpt = more;
    }
    m->rcpt[e->rcpt_count++] = (struct ph_maildrop_rcpt){ .address = address, .notify = m->notify };
}

/* A raw recipient for the bounce that it will cause: control bytes are blanks. */
static ph_str clean(struct ph_scope *s, ph_str text)
{
    ph_str copy = ph_str_dup(s, ph_str_trim(ph_str_first(text, 1000)));

    for (size_t i = 0; i < copy.n; i++)
        if ((unsigned char)copy.p[i] < 0x20 || copy.p[i] == 0x7f)
            ((char *)(uintptr_t)copy.p)[i] = ' ';
    return copy;
}

uint32_t sendmail_add_rcpts(struct sendmail *m, ph_str text)
{
    struct ph_address_walk w = { 0 };
    ph_str rest = text, address;
    uint32_t n = 0;
    int rc;

    for (; (rc = ph_address_written(m->scope, text, &w, &address)) == 1; n++) {
        rest = ph_str_from(text, w.to ? w.from : w.at);
        ph_address_plain(m->scope, address, &address);
        sendmail_add_rcpt(m, clean(m->scope, address));
    }
    if (rc == 0 || ph_str_trim(rest).n == 0)
        return n;
    sendmail_add_rcpt(m, clean(m->scope, rest));
    return n + 1;
}

static const struct passwd *caller(void)
{
    const struct passwd *pw = getpwuid(getuid());

    if (!pw)
        ph_cmd_fatal("no login name found for user ID %ld", (long)getuid());
    return pw;
}

/* "Full Name,room,phone" of the password file; & is the login name. */
static ph_str gecos_name(struct sendmail *m, const struct passwd *pw)
{
    ph_str gecos = ph_cstr(pw->pw_gecos);
    struct ph_buf name;

    gecos = ph_str_cut(&gecos, ',');
    ph_buf_init(&name, m->scope, 200);
    for (size_t i = 0; i < gecos.n; i++)
        if (gecos.p[i] == '&') {
            ph_buf_putc(&name, ph_upper(pw->pw_name[0]));
            ph_buf_puts(&name, pw->pw_name[0] ? pw->pw_name + 1 : "");
        } else
            ph_buf_putc(&name, gecos.p[i]);
    return clean(m->scope, ph_buf_view(&name));
}

/* -f "<>", "", "alice", "Alice <alice@x>". */
static ph_str parse_sender(struct sendmail *m, const char *text)
{
    ph_str trimmed = ph_str_trim(ph_cstr(text)), address = { "", 0 };
    size_t at = 0;

    if (trimmed.n == 0 || ph_str_eq(trimmed, PH_STR("<>")))
        return PH_STR("");
    if (ph_address_next(m->scope, trimmed, &at, &address) == 1 && address.n)
        return clean(m->scope, address);
    ph_cmd_warn("-f option specified malformed sender: %s", text);
    return clean(m->scope, trimmed);
}

static void set_sender(struct sendmail *m, const struct options *o)
{
    const char *name = o->full_name ? o->full_name : getenv("NAME");

    m->envelope.sender = o->sender ? parse_sender(m, o->sender) : ph_str_dup(m->scope, ph_cstr(caller()->pw_name));
    m->envelope.has_sender = 1;
    ph_cmd_subject(ph_str_printf(m->scope, "%s(%ld): ", o->sender ? o->sender : m->envelope.sender.p, (long)getuid()).p);
    m->envelope.full_name = name ? clean(m->scope, ph_cstr(name)) : gecos_name(m, caller());
}

static void set_mode(struct sendmail *m, const char *text)
{
    if (text[0] == 0 || strchr("mspidlvhH", text[0]) == NULL)
        ph_cmd_fatal("unsupported: -b%.1s", text);
    m->mode = text[0] == 'l' ? 'd' : text[0] == 'H' ? 'h' : text[0];
}

/* RFC 3461 4.1, small letters allowed. */
static void set_notify(struct sendmail *m, const char *text)
{
    ph_str rest = ph_cstr(text), word;
    struct ph_buf list;
    int never = 0, others = 0;

    ph_buf_init(&list, m->scope, 100);
    while (rest.n) {
        word = ph_str_trim(ph_str_cut(&rest, ','));
        if (ph_str_eq_nocase(word, PH_STR("never")))
            never = 1;
        else if (ph_str_eq_nocase(word, PH_STR("success")) || ph_str_eq_nocase(word, PH_STR("failure")) ||
                 ph_str_eq_nocase(word, PH_STR("delay")))
            others++;
        else
            never = others = 1;
        ph_buf_puts(&list, list.n ? "," : "");
        for (size_t i = 0; i < word.n; i++)
            ph_buf_putc(&list, ph_upper(word.p[i]));
    }
    if (never + others == 0 || (never && others) || others > 3)
        ph_cmd_warn("bad -N option value -- ignored");
    else
        m->notify = ph_buf_view(&list);
}

static void set_ret(struct sendmail *m, const char *text)
{
    if (ph_str_eq_nocase(ph_cstr(text), PH_STR("full")))
        m->envelope.ret = PH_STR("FULL");
    else if (ph_str_eq_nocase(ph_cstr(text), PH_STR("hdrs")))
        m->envelope.ret = PH_STR("HDRS");
    else
        ph_cmd_warn("bad -R option value -- ignored");
}

static void set_body(struct sendmail *m, const char *text)
{
    if (ph_str_eq_nocase(ph_cstr(text), PH_STR("8BITMIME")))
        m->envelope.body = PH_STR("8BITMIME");
    else if (ph_str_eq_nocase(ph_cstr(text), PH_STR("7BIT")))
        m->envelope.body = PH_STR("7BIT");
    else
        ph_cmd_fatal("-B option needs 8BITMIME or 7BIT");
}

/* -q: flush, -q30m: an interval for daemons, -qRsite, -qIid. */
static void set_queue(struct sendmail *m, struct options *o, const char *text)
{
    if (text && (text[0] == 'R' || text[0] == 'I')) {
        if (!text[1])
            ph_cmd_fatal("specify: -q%c%s", text[0], text[0] == 'R' ? "sitename" : "queueid");
        if (text[0] == 'R')
            m->queue_site = text + 1;
        else
            m->queue_id = text + 1;
    } else if (text && !ph_is_digit(text[0]))
        ph_cmd_fatal("-q%s is not implemented", text);
    else if (text) {
        o->interval = 1;
        return;
    }
    o->flush = 1;
}

/* -O name=value: what is ours of it.  Who asks for TLS on all the way must not
 * get less without a word. */
static void set_long(struct sendmail *m, const char *text)
{
    if (!strcmp(text, "smtputf8=yes"))
        m->envelope.smtputf8 = 1;
    else if (!strcmp(text, "requiretls=yes"))
        ph_cmd_fatal("-O requiretls=yes is not built yet");
}

/* -oi, -oA table, -o7 and the many of old. */
static void set_old(struct sendmail *m, const char *text)
{
    if (text[0] == 'i')
        m->dots = 0;
    else if (text[0] == 'A' && !text[1])
        ph_cmd_fatal("-oA requires pathname");
    else if (text[0] == 'A')
        m->alias_table = text + 1;
}

/* -XV, -XVxy: an envelope sender for each recipient. */
static void set_verp(const char *text)
{
    if (text[0] != 'V')
        ph_cmd_fatal("unsupported: -X%.1s", text);
    if (text[1] && (strlen(text) != 3 || !strchr("-=+", text[1]) || !strchr("-=+", text[2])))
        ph_cmd_fatal("-V requires two characters from -=+");
    ph_cmd_fatal("-XV: variable envelope senders (VERP) are not built yet");
}

static void take_option(struct sendmail *m, struct options *o, int option, const char *value)
{
    switch (option) {
    case 'B': set_body(m, value); break;
    case 'b': set_mode(m, value); break;
    case 'C': o->dir = value; break;
    case 'F': o->full_name = value; break;
    case 'f': case 'r': o->sender = value; break;
    case 'G': m->envelope.context = PH_STR("remote"); break;
    case 'I': m->mode = 'i'; break;
    case 'i': m->dots = 0; break;
    case 'n': ph_cmd_fatal("-n option not supported");
    case 'N': set_notify(m, value); break;
    case 'O': set_long(m, value); break;
    case 'o': set_old(m, value); break;
    case 'q': set_queue(m, o, value); break;
    case 'R': set_ret(m, value); break;
    case 't': m->from_headers = 1; break;
    case 'V': m->envelope.envelope_id = clean(m->scope, ph_str_first(ph_cstr(value), 100)); break;
    case 'v': m->envelope.trace = PH_STR("record"); break;
    case 'X': set_verp(value); break;
    case 'A': case 'c': case 'e': case 'h': case 'L': case 'm': case 'p': case 'U': case 'x':
        break;                      /* of old, without meaning here */
    default:
        ph_cmd_fatal("usage: %s [options]", ph_cmd_name());
    }
}

/* The mode by the name of the program: the options may still change it. */
static int mode_of_name(void)
{
    return !strcmp(ph_cmd_name(), "mailq") ? 'p' : !strcmp(ph_cmd_name(), "newaliases") ? 'i' : 'm';
}

/* What goes with the mode and what does not. */
static void check_mode(struct sendmail *m, struct options *o, int has_rcpts)
{
    static const struct { int mode; const char *name; } modes[] = {
        { 'p', "display queue" }, { 'q', "flush queue" }, { 'i', "alias initialization" }, { 's', "stand-alone" },
        { 'd', "daemon" },
    };

    if (o->flush && m->mode == 'd')
        ph_cmd_warn("ignoring -q option in daemon mode");
    else if (o->flush && m->mode != 's')   /* whatever the name of the program, or -b, asks for */
        m->mode = 'q';
    else if (o->interval && m->mode == 'm' && !has_rcpts && !m->from_headers)
        m->mode = 'h';
    for (size_t i = 0; i < sizeof modes / sizeof *modes; i++)
        if (m->mode == modes[i].mode && m->from_headers)
            ph_cmd_fatal("-t can be used only in delivery mode");
        else if (m->mode == modes[i].mode && has_rcpts)
            ph_cmd_fatal("%s mode requires no recipient", modes[i].name);
    if (m->mode != 'v')
        return;
    if (m->from_headers)
        ph_cmd_fatal("-t option cannot be used with -bv");
    if (m->notify.n)
        ph_cmd_fatal("-N option cannot be used with -bv");
    if (ph_str_eq(m->envelope.trace, PH_STR("record")))
        ph_cmd_fatal("-v option cannot be used with -bv");
    m->envelope.trace = PH_STR("verify");
}

/* -C names the directory, or main.cf in it. */
static const char *config_dir(struct sendmail *m, const char *path)
{
    ph_str p = ph_cstr(path), file = PH_STR("/main.cf");

    return path && ph_str_ends(p, file) ? ph_cstr_dup(m->scope, ph_str_first(p, p.n - file.n)) : path;
}

void sendmail_options(struct sendmail *m, int argc, char **argv)
{
    struct options o = { 0 };
    int option;

    m->mode = mode_of_name();
    opterr = 0;
    while ((option = getopt(argc, argv, "+A:B:C:F:GIL:N:O:R:UV:X:b:ce:f:h:imno:p:r:q::tvx")) > 0)
        take_option(m, &o, option, optarg);
    check_mode(m, &o, optind < argc);
    m->conf = ph_cmd_conf(m->scope, config_dir(m, o.dir));
    ph_cmd_log_open(m->conf);
    m->envelope.size = sizeof m->envelope;
    if (m->mode == 'm' || m->mode == 'v')
        set_sender(m, &o);
    else if (m->mode == 's')
        m->envelope.sender = ph_str_dup(m->scope, ph_cstr(caller()->pw_name));
    for (; optind < argc; optind++)
        if (sendmail_add_rcpts(m, ph_cstr(argv[optind])) == 0)
            sendmail_add_rcpt(m, PH_STR(""));      /* empty_address_recipient gets it */
}
