/* postcat_maildrop: a file of maildrop as text (see posthorn/maildrop.h for its
 * form).  Lines are read here one by one, so that each can be shown with its
 * place, also in a file that is not whole. */
#include <string.h>
#include <posthorn/error.h>
#include <posthorn/maildrop.h>
#include "core/cmd/postcat.h"

struct walk {
    ph_str file;
    size_t at;
};

/* The next line without its LF and where it begins: 1, or 0. */
static int next_line(struct walk *w, ph_str *line, size_t *offset)
{
    ph_str rest = ph_str_from(w->file, w->at);
    ptrdiff_t lf = ph_str_find(rest, '\n');

    if (lf < 0)
        return 0;
    *line = ph_str_first(rest, (size_t)lf);
    *offset = w->at;
    w->at += (size_t)lf + 1;
    return 1;
}

static void show_item(struct shower *o, uint64_t at, ph_str name, ph_str value)
{
    PH_SCOPED(s, NULL);
    int64_t seconds;

    if (ph_str_eq(name, PH_STR("time")) && ph_str_i64(value, &seconds))
        show_time(o, at, "message_arrival_time", seconds);
    else if (ph_str_eq(name, PH_STR("sender")))
        show_line(o, TYPE_SENDER, at, "sender", value);
    else if (ph_str_eq(name, PH_STR("full_name")))
        show_line(o, TYPE_NAME, at, "sender_fullname", value);
    else if (ph_str_eq(name, PH_STR("rcpt")))
        show_line(o, TYPE_RCPT, at, "recipient", value);
    else
        show_attr(o, at, ph_cstr_dup(s, name), value);
}

static void show_items(struct shower *o, struct walk *w)
{
    ph_str line;
    size_t at;

    while (next_line(w, &line, &at) && line.n) {
        ph_str name = ph_str_cut(&line, ' ');

        if (o->p->envelope)
            show_item(o, at, name, line);
    }
}

/* The header part ends at the first empty line. */
struct parts {
    int in_body, blank;
};

static void show_piece(struct shower *o, struct parts *parts, uint64_t offset, ph_str bytes)
{
    for (size_t i = 0, from = 0; i < bytes.n; i++) {
        int end = bytes.p[i] == '\n' || i + 1 == bytes.n;

        if (!parts->in_body && parts->blank && bytes.p[i] == '\n')
            parts->in_body = 1;
        if (bytes.p[i] != '\r')
            parts->blank = bytes.p[i] == '\n';
        if (!end)
            continue;
        if (parts->in_body ? o->p->body : o->p->header)
            show_content(o, offset + from, (ph_str){ bytes.p + from, i + 1 - from });
        from = i + 1;
    }
}

/* "data N" and N bytes, up to "end": 1 when that was there. */
static int show_pieces(struct shower *o, struct walk *w)
{
    struct parts parts = { .blank = 1 };
    ph_str line;
    uint64_t n;
    size_t at;

    while (next_line(w, &line, &at)) {
        if (ph_str_eq(line, PH_STR("end")))
            return 1;
        if (!ph_str_starts(line, PH_STR("data ")) || !ph_str_u64(ph_str_from(line, 5), &n))
            return 0;
        ph_str bytes = ph_str_first(ph_str_from(w->file, w->at), (size_t)n);

        show_piece(o, &parts, w->at, bytes);
        w->at += bytes.n;
    }
    return 0;
}

void show_maildrop(struct shower *o, ph_str file)
{
    struct walk w = { .file = file };
    ph_str line;
    size_t at;

    next_line(&w, &line, &at);         /* what kind of file it is */
    show_marker(o, TYPE_SIZE, 0, "ENVELOPE RECORDS");
    show_items(o, &w);
    show_marker(o, TYPE_CONTENT, w.at, "MESSAGE CONTENTS");
    int whole = show_pieces(o, &w);

    show_content_end(o);
    show_marker(o, TYPE_EXTRACT, w.at, "HEADER EXTRACTED");
    show_marker(o, TYPE_END, w.at, "MESSAGE FILE END");
    if (!whole)
        ph_cmd_warn("%s: unexpected end of the file: it is not whole", o->name);
}
