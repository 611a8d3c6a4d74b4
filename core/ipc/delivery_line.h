/* delivery_line: the log line of one recipient's outcome, which log tools
 * parse: order, punctuation and number formats are fixed. */
#ifndef CORE_IPC_DELIVERY_LINE_H
#define CORE_IPC_DELIVERY_LINE_H

#include <posthorn/buf.h>

struct ph_delivery_line {
    ph_str queue_id, to, original;    /* internal forms; original empty: the same */
    ph_str relay;                     /* empty: none */
    ph_str dsn, status, text;
    uint32_t conn_use;
    /* Wall clock: reception, entry into the active queue, begin and end of the
     * connection's set-up, end. */
    int64_t arrival_us, active_us, setup_us, connected_us, done_us;
    int64_t decimals;                 /* delay_logging_resolution_limit */
};

void ph_delivery_line_format(struct ph_scope *s, struct ph_buf *out, const struct ph_delivery_line *l);
/* A time in seconds: 100 or more as an integer, below the resolution "0", else
 * two digits that count, without trailing zeros. */
void ph_delay_format(struct ph_buf *out, int64_t us, int64_t decimals);

#endif
