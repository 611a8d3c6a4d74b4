/* delivery_line: see delivery_line.h. */
#include <posthorn/address.h>
#include "core/ipc/delivery_line.h"

#define SECOND 1000000

/* Decimals that leave two digits that count. */
static int useful_decimals(int64_t us)
{
    int n = 0;

    if (us >= 10 * SECOND)
        return 0;
    for (int64_t unit = SECOND; us < unit && unit > 1; unit /= 10)
        n++;
    return n + 1;
}

void ph_delay_format(struct ph_buf *out, int64_t us, int64_t decimals)
{
    int64_t unit = SECOND, least = SECOND;
    int places = us < 0 ? 0 : useful_decimals(us);

    for (int64_t i = 0; i < decimals && i < 6; i++)
        least /= 10;
    if (us < least) {
        ph_buf_putc(out, '0');
        return;
    }
    if (places > decimals)
        places = (int)decimals;
    for (int i = 0; i < places; i++)
        unit /= 10;
    us = (us + unit / 2) / unit;               /* in units of the last place */
    for (; places > 0 && us % 10 == 0; places--)
        us /= 10;
    int64_t whole = 1;
    for (int i = 0; i < places; i++)
        whole *= 10;
    ph_buf_printf(out, "%lld", (long long)(us / whole));
    if (places)
        ph_buf_putc(out, '.');
    for (int64_t rest = us % whole; whole > 1; rest %= whole)
        ph_buf_putc(out, (char)('0' + rest / (whole /= 10)));
}

static void put_delays(struct ph_buf *out, const struct ph_delivery_line *l)
{
    const int64_t at[] = { l->arrival_us, l->active_us, l->setup_us, l->connected_us, l->done_us };

    ph_buf_puts(out, ", delay=");
    ph_delay_format(out, l->done_us - l->arrival_us, l->decimals);
    ph_buf_puts(out, ", delays=");
    for (int i = 1; i < 5; i++) {
        ph_delay_format(out, at[i] - at[i - 1], l->decimals);
        if (i < 4)
            ph_buf_putc(out, '/');
    }
}

void ph_delivery_line_format(struct ph_scope *s, struct ph_buf *out, const struct ph_delivery_line *l)
{
    ph_str to = ph_address_external(s, l->to);

    ph_buf_printf(out, "%.*s: to=<%.*s>", PH_FMT(l->queue_id), PH_FMT(to));
    if (l->original.n && !ph_str_eq(l->original, l->to))
        ph_buf_printf(out, ", orig_to=<%.*s>", PH_FMT(ph_address_external(s, l->original)));
    ph_buf_printf(out, ", relay=%.*s", PH_FMT(l->relay.n ? l->relay : PH_STR("none")));
    if (l->conn_use >= 2)
        ph_buf_printf(out, ", conn_use=%u", l->conn_use);
    put_delays(out, l);
    ph_buf_printf(out, ", dsn=%.*s, status=%.*s (%.*s)", PH_FMT(l->dsn), PH_FMT(l->status), PH_FMT(l->text));
}
