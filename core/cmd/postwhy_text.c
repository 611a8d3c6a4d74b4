/* postwhy: a report for people: one line a step, the parameter first, where it stands
 * last.  See postwhy.h. */
#include <stdio.h>
#include <string.h>
#include "core/cmd/postwhy.h"

#define SHOWN_BYTES 300u           /* of one text */
#define WIDTH_MAX 40u              /* of the parameters' column */
#define KEYS_SHOWN 8u              /* of those that a table does not have */

/* Bytes of one character: 0 when it must be escaped. */
static size_t printable(ph_str s)
{
    unsigned char c = (unsigned char)s.p[0];
    size_t n = c < 0x80 ? 1 : c >= 0xf0 ? 4 : c >= 0xe0 ? 3 : 2;

    if (n == 1)
        return c >= 0x20 && c != 0x7f && c != '\\';
    /* U+0080 to U+009f are control characters, too. */
    return n <= s.n && ph_str_is_utf8(ph_str_first(s, n)) && !(c == 0xc2 && (unsigned char)s.p[1] < 0xa0) ? n : 0;
}

static ph_str shown(struct ph_scope *s, ph_str text)
{
    struct ph_buf b;
    ph_str rest = ph_str_first(text, SHOWN_BYTES);

    ph_buf_init(&b, s, 4 * SHOWN_BYTES + 8);
    while (rest.n) {
        size_t n = printable(rest);

        if (n)
            ph_buf_str(&b, ph_str_first(rest, n));
        else if (rest.p[0] == '\\')
            ph_buf_puts(&b, "\\\\");
        else
            ph_buf_printf(&b, "\\%03o", (unsigned)(unsigned char)rest.p[0]);
        rest = ph_str_from(rest, n ? n : 1);
    }
    if (text.n > SHOWN_BYTES)
        ph_buf_puts(&b, "...");
    return ph_buf_view(&b);
}

ph_str why_text_name(struct ph_scope *s, ph_str address)
{
    return shown(s, address);
}

/* "  (file:line; remark)" */
static ph_str place(struct ph_scope *s, const struct why_line *l)
{
    struct ph_buf b;

    if (l->file.n == 0 && l->remark.n == 0)
        return PH_STR("");
    ph_buf_init(&b, s, 16 * SHOWN_BYTES);
    ph_buf_puts(&b, "  (");
    if (l->file.n)
        ph_buf_str(&b, shown(s, l->file));
    if (l->file.n && l->line)
        ph_buf_printf(&b, ":%u", l->line);
    if (l->remark.n)
        ph_buf_printf(&b, "%s%.*s", l->file.n ? "; " : "", PH_FMT(shown(s, l->remark)));
    ph_buf_putc(&b, ')');
    return ph_buf_view(&b);
}

/* keys: of the misses before it too, or just its own. */
static ph_str step_text(struct ph_scope *s, const struct why_line *l, ph_str keys)
{
    ph_str table = shown(s, l->table), value = shown(s, l->value);

    switch (l->kind) {
    case PH_WHY_LOOKUP:
        return ph_str_printf(s, "%.*s  %.*s -> %s%.*s%.*s", PH_FMT(table), PH_FMT(keys), l->answer == PH_FOUND ? "" : l->answer < 0 ? "failed: " : "none",
                             PH_FMT(value), PH_FMT(place(s, l)));
    case PH_WHY_MATCH:
        if (l->answer < 0)
            return ph_str_printf(s, "%.*s -> failed: %.*s", PH_FMT(keys), PH_FMT(value));
        if (l->table.n == 0)
            return ph_str_printf(s, "%.*s -> no", PH_FMT(keys));
        return ph_str_printf(s, "%.*s -> %s, %.*s%.*s", PH_FMT(keys), l->answer == PH_FOUND ? "yes" : "no", PH_FMT(table), PH_FMT(place(s, l)));
    case PH_WHY_RULE:
        return ph_str_printf(s, "%.*s -> %.*s%.*s", PH_FMT(table), PH_FMT(value), PH_FMT(ph_str_eq(l->value, PH_STR("DUNNO")) ? PH_STR("") : place(s, l)));
    case PH_WHY_LOG:
        return ph_str_printf(s, "%.*s%.*s", PH_FMT(shown(s, l->remark)), PH_FMT(value));
    default:
        return ph_str_printf(s, "%.*s%.*s", PH_FMT(value), PH_FMT(place(s, l)));
    }
}

/* indent: blanks in front; the second column stays where it is, but for tables that
 * another table asks. */
static void put_line(struct ph_scope *s, const char *indent, unsigned width, const struct why_line *l, ph_str keys)
{
    size_t blanks = strlen(indent);

    printf("%s%-*.*s  %*s%.*s\n", indent, (int)(width > blanks ? width - blanks : 0), PH_FMT(shown(s, l->what)), (int)(2 * l->depth), "",
           PH_FMT(step_text(s, l, keys)));
}

void why_text_line(const struct why_line *l, const char *indent)
{
    PH_SCOPED(s, NULL);

    put_line(s, indent, 0, l, shown(s, l->key));
}

/* ---- a whole report ---- */

struct page {
    const struct postwhy *o;
    struct ph_scope *s;
    ph_str reply;                  /* said once: at the end */
    unsigned width;                /* of the first column, with what is in front of it */
};

static int is_miss(const struct why_line *l)
{
    return l->kind == PH_WHY_LOOKUP && l->answer == PH_NONE;
}

static int is_same_miss(const struct why_line *a, const struct why_line *b)
{
    return is_miss(b) && ph_str_eq(a->table, b->table) && ph_str_eq(a->what, b->what) && ph_str_eq(a->stage, b->stage);
}

/* What is for -v only: lines of the log that are no trouble. */
static int is_chatter(const struct why_line *l)
{
    return l->kind == PH_WHY_LOG && l->remark.n == 0;
}

/* The line, with those behind it that say the same of other keys: the last of them. */
static const struct why_line *put_together(const struct page *p, const char *indent, const struct why_line *l, const struct why_line *end)
{
    struct ph_buf keys;
    unsigned count = 1;

    ph_buf_init(&keys, p->s, (KEYS_SHOWN + 1) * (4 * SHOWN_BYTES + 16));
    ph_buf_str(&keys, shown(p->s, l->key));
    for (; !p->o->verbose && is_miss(l) && l->next && l->next != end && is_same_miss(l, l->next); l = l->next)
        if (count++ < KEYS_SHOWN)
            ph_buf_printf(&keys, ", %.*s", PH_FMT(shown(p->s, l->next->key)));
    if (count > KEYS_SHOWN)
        ph_buf_printf(&keys, " and %u more", count - KEYS_SHOWN);
    put_line(p->s, indent, p->width, l, ph_buf_view(&keys));
    return l;
}

static void put_range(const struct page *p, const char *indent, const struct why_line *from, const struct why_line *end)
{
    for (const struct why_line *l = from; l && l != end; l = l->next)
        if (p->o->verbose || !is_chatter(l))
            l = put_together(p, indent, l, end);
}

/* Of a rule without opinion: what its table said (PREPEND, WARN), and trouble. */
static int is_telling(const struct why_line *l, ph_str rule)
{
    if (l->kind == PH_WHY_LOG)
        return l->remark.n > 0;
    return l->answer < 0 || (l->kind == PH_WHY_LOOKUP && l->answer == PH_FOUND && ph_str_starts(rule, l->what));
}

/* A rule, then what it looked at: of those without opinion all of it only with -v. */
static void put_rule(const struct page *p, const struct why_line *from, const struct why_line *rule)
{
    int all = p->o->verbose || !ph_str_eq(rule->value, PH_STR("DUNNO"));
    struct why_line said = *rule;

    if (p->reply.n && rule->value.n > p->reply.n && ph_str_ends(rule->value, p->reply))
        said.value = ph_str_trim(ph_str_first(rule->value, rule->value.n - p->reply.n));

    put_line(p->s, "  ", p->width, &said, PH_STR(""));
    if (all)
        put_range(p, "    ", from, rule);
    for (const struct why_line *l = from; !all && l != rule; l = l->next)
        if (is_telling(l, rule->table))
            put_line(p->s, "    ", p->width, l, shown(p->s, l->key));
}

/* What smtpd asks about a client before it lets him speak (may he say XCLIENT?) is
 * for -v, too. */
static int ends_preface(const struct page *p, const struct why_line *l)
{
    return !p->o->verbose && l->kind == PH_WHY_LOG && ph_str_starts(l->value, PH_STR("connect from "));
}

/* Lines of one stage: those in front of a rule belong to it. */
static void put_stage(const struct page *p, const struct why_line *from, const struct why_line *end)
{
    const struct why_line *begun = from;

    for (const struct why_line *l = from; l != end; l = l->next)
        if (l->kind == PH_WHY_RULE) {
            put_rule(p, begun, l);
            begun = l->next;
        } else if (ends_preface(p, l)) {
            begun = l->next;
        }
    put_range(p, "  ", begun, end);
}

static void put_steps(const struct page *p, const struct why_report *r)
{
    const struct why_line *l = r->first;

    while (l) {
        const struct why_line *end = l;

        while (end && ph_str_eq(end->stage, l->stage))
            end = end->next;
        printf(" %.*s\n", PH_FMT(l->stage));
        put_stage(p, l, end);
        if (ph_str_eq(l->stage, PH_STR("smtpd")) && r->reply.n && !ph_str_eq(r->reply, r->refusal))
            printf("  %-*s  %.*s\n", (int)(p->width - 2), "reply", PH_FMT(shown(p->s, r->reply)));
        l = end;
    }
    if (r->omitted)
        printf(" and %zu more steps\n", r->omitted);
}

static void put_result(struct ph_scope *s, struct ph_buf *b, const struct why_result *n, const char *indent)
{
    ph_buf_printf(b, "%s=> transport %.*s, next hop %.*s, recipient %.*s", indent, PH_FMT(shown(s, n->transport)), PH_FMT(shown(s, n->nexthop)),
                  PH_FMT(shown(s, n->recipient)));
    if (n->generic_sender.n)
        ph_buf_printf(b, ", sent from %.*s", PH_FMT(shown(s, n->generic_sender)));
    if (n->generic_recipient.n)
        ph_buf_printf(b, ", sent to %.*s", PH_FMT(shown(s, n->generic_recipient)));
    ph_buf_putc(b, '\n');
}

ph_str why_text_verdict(struct ph_scope *s, const struct why_report *r, const char *indent)
{
    static const char *const words[] = { [WHY_OK] = "=> ", [WHY_REFUSED] = "=> refused: ", [WHY_TEMP] = "=> not now: ", [WHY_TROUBLE] = "=> trouble: " };
    struct ph_buf b;

    ph_buf_init(&b, s, 1u << 20);
    for (const struct why_result *n = r->result; n; n = n->next)
        if (!n->is_same)
            put_result(s, &b, n, indent);
    if (r->refusal.n || !r->result)
        ph_buf_printf(&b, "%s%s%.*s\n", indent, words[r->status], PH_FMT(shown(s, r->refusal.n ? r->refusal : PH_STR("nobody receives it"))));
    return ph_buf_view(&b);
}

/* The table of a failure may be closed to the caller alone. */
static void put_hint(const struct why_report *r)
{
    for (const struct why_line *l = r->first; l; l = l->next)
        if (l->answer < 0 && ph_str_search(l->value, PH_STR("Permission denied")) >= 0) {
            printf("   %s reads tables with your own rights, and this one is not for you\n", ph_cmd_name());
            return;
        }
}

void why_text(const struct postwhy *o, const struct why_report *r)
{
    PH_SCOPED(s, NULL);
    struct page p = { .o = o, .s = s, .reply = r->reply, .width = 8 };

    for (const struct why_line *l = r->first; l; l = l->next)
        if (l->what.n + 2 > p.width && l->what.n <= WIDTH_MAX)
            p.width = (unsigned)l->what.n + 2;
    printf("%.*s\n", PH_FMT(shown(s, r->address)));
    put_steps(&p, r);
    ph_str verdict = why_text_verdict(s, r, "");
    fwrite(verdict.p, 1, verdict.n, stdout);
    put_hint(r);
}
