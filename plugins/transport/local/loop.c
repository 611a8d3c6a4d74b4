/* loop: see loop.h. */
#include "loop.h"

#define VALUE_MAX 8192u            /* a longer value is no address of ours */

enum { AT_LINE_START, IN_NAME, BEFORE_COLON, IN_VALUE, IN_OTHER };

static const char name[] = "delivered-to";

int local_loop_init(struct local_loop *l, struct ph_scope *s, ph_str want)
{
    *l = (struct local_loop){ .want = want };
    ph_buf_init(&l->value, s, VALUE_MAX);
    return 0;
}

/* A header ended: was it the one? */
static void compare(struct local_loop *l)
{
    ph_str v = ph_str_trim(ph_buf_view(&l->value));

    if (v.n >= 2 && v.p[0] == '<' && v.p[v.n - 1] == '>')
        v = ph_str_first(ph_str_from(v, 1), v.n - 2);
    if (!l->value.full && ph_str_eq_nocase(v, l->want))
        l->found = 1;
    ph_buf_reset(&l->value);
}

/* The first byte of a line: a blank goes on with the header before. */
static void line_start(struct local_loop *l, char c, uint32_t was_value)
{
    if (was_value && (c == ' ' || c == '\t')) {
        l->state = IN_VALUE;
        ph_buf_putc(&l->value, c); /* unfolding drops line ends, nothing else */
        return;
    }
    if (was_value)
        compare(l);
    l->matched = ph_lower(c) == name[0];
    l->state = l->matched ? IN_NAME : IN_OTHER;
}

static void name_byte(struct local_loop *l, char c)
{
    if (l->matched < sizeof name - 1 && ph_lower(c) == name[l->matched])
        l->matched++;
    else if (l->matched == sizeof name - 1 && c == ':')
        l->state = IN_VALUE;
    else if (l->matched == sizeof name - 1 && (c == ' ' || c == '\t'))
        l->state = BEFORE_COLON;
    else
        l->state = IN_OTHER;
}

/* Bit 8 of the state: the line before belonged to a Delivered-To. */
#define AFTER_VALUE 256u

void local_loop_feed(struct local_loop *l, ph_str bytes)
{
    for (size_t i = 0; i < bytes.n; i++) {
        char c = bytes.p[i];
        uint32_t was_value = l->state == IN_VALUE || (l->state & AFTER_VALUE);

        if (c == '\n')
            l->state = AT_LINE_START | (was_value ? AFTER_VALUE : 0);
        else if ((l->state & ~AFTER_VALUE) == AT_LINE_START)
            line_start(l, c, l->state & AFTER_VALUE);
        else if (l->state == IN_NAME)
            name_byte(l, c);
        else if (l->state == BEFORE_COLON)
            l->state = c == ':' ? IN_VALUE : c == ' ' || c == '\t' ? BEFORE_COLON : IN_OTHER;
        else if (l->state == IN_VALUE && c != '\r')
            ph_buf_putc(&l->value, c);
    }
}

void local_loop_end(struct local_loop *l)
{
    if (l->state == IN_VALUE || (l->state & AFTER_VALUE))
        compare(l);
    l->state = AT_LINE_START;
}
