/* why: the steps of a task to whoever asks.  See posthorn/why.h, why.h. */
#include <stdarg.h>
#include <posthorn/scope.h>
#include "core/run/context.h"
#include "core/run/why.h"

struct ph_why_sink *ph_why_to(struct ph_why_sink *w)
{
    struct ph_context *c = ph_context();
    struct ph_why_sink *old = c->why;

    c->why = w;
    return old;
}

struct ph_why_sink *ph_why_here(void)
{
    return ph_context()->why;
}

int ph_why_is_on(void)
{
    return ph_context()->why != NULL;
}

void ph_why_put(const struct ph_why_step *step)
{
    struct ph_why_sink *w = ph_context()->why;

    if (w)
        w->put(w, step);
}

void ph_why_note(const char *what, const char *fmt, ...)
{
    struct ph_why_sink *w = ph_context()->why;
    va_list ap;

    if (!w)
        return;
    PH_SCOPED(s, NULL);
    struct ph_why_step step = { .size = sizeof step, .kind = PH_WHY_NOTE, .depth = w->depth, .what = what };
    va_start(ap, fmt);
    step.value = ph_str_vprintf(s, fmt, ap);
    va_end(ap);
    w->put(w, &step);
}

void ph_why_at(const char *file, uint32_t line)
{
    struct ph_why_sink *w = ph_context()->why;

    if (!w)
        return;
    w->file = file;
    w->line = line;
}

void ph_why_index(const char *index)
{
    struct ph_why_sink *w = ph_context()->why;

    if (w)
        w->index = index;
}
