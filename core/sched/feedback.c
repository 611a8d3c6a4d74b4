/* feedback: the concurrency window of one destination.
 *
 * It grows at the end of a run of successes and shrinks at the start of a run
 * of failures, so that it settles below the limit of the site.  A "success" is
 * any answer of the site; a failure is a site that did not talk to us. */
#include <math.h>
#include "core/sched/priv.h"

/* Sums of fractions such as 1/3 + 1/3 + 1/3 must count as 1. */
#define TOLERANCE 0.01

static double step(const struct ph_feedback *f, uint32_t window)
{
    switch (f->form) {
    case PH_FEEDBACK_INVERSE:
        return f->x / window;
    case PH_FEEDBACK_SQRT:
        return f->x / sqrt(window);
    default:
        return f->x;
    }
}

void ph_window_init(struct window *w, const struct ph_sched_limits *l)
{
    uint32_t size = l->initial ? l->initial : 1;

    *w = (struct window){ .size = l->concurrency && size > l->concurrency ? l->concurrency : size };
}

void ph_window_success(struct window *w, uint32_t busy, const struct ph_sched_limits *l)
{
    w->cohorts = 0;
    if (w->size < busy + l->initial) {     /* else the window is not being used */
        w->success += step(&l->positive, w->size);
        while (w->success >= 1 - TOLERANCE) {
            w->size++;
            w->failure = 0;
            w->success -= 1;
        }
    }
    if (l->concurrency && w->size > l->concurrency)
        w->size = l->concurrency;
}

int ph_window_failure(struct window *w, const struct ph_sched_limits *l)
{
    w->cohorts += 1.0 / w->size;
    if (l->failed_cohorts > 0 && w->cohorts >= l->failed_cohorts - TOLERANCE)
        return 1;
    w->failure -= step(&l->negative, w->size);
    while (w->failure < -TOLERANCE && w->size > 0) {
        w->size--;
        w->failure += 1;
        w->success = 0;
    }
    if (w->size < 1)
        w->size = 1;
    return 0;
}

/* Digits with one optional point, 0..1. */
static int parse_fraction(ph_str text, double *x)
{
    double v = 0, unit = 1;
    int digits = 0, point = 0;

    for (size_t i = 0; i < text.n; i++) {
        if (text.p[i] == '.' && !point) {
            point = 1;
            continue;
        }
        if (!ph_is_digit(text.p[i]) || ++digits > 9)
            return 0;
        v = v * 10 + (text.p[i] - '0');
        if (point)
            unit *= 10;
    }
    *x = v / unit;
    return digits > 0 && *x <= 1;
}

int ph_feedback_parse(ph_str text, struct ph_feedback *f)
{
    int divided = ph_str_find(text, '/') >= 0;
    ph_str number = ph_str_trim(ph_str_cut(&text, '/')), form = ph_str_trim(text);
    struct ph_feedback out = { 0, PH_FEEDBACK_CONST };

    if (!parse_fraction(number, &out.x))
        return 0;
    if (ph_str_eq(form, PH_STR("concurrency")))
        out.form = PH_FEEDBACK_INVERSE;
    else if (ph_str_eq(form, PH_STR("sqrt_concurrency")))
        out.form = PH_FEEDBACK_SQRT;
    else if (divided)
        return 0;
    *f = out;
    return 1;
}
