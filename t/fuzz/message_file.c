/* message_file: see message_file.h. */
#include "core/base/crc32c.h"
#include "core/queue/record.h"
#include "message_file.h"

ph_str fuzz_message_for(struct ph_scope *s, unsigned rcpts, ph_str text, uint64_t inode)
{
    struct ph_record r = { .version = PH_RECORD_VERSION, .arrival_us = 1763985600000001, .inode = inode, .rcpt_count = rcpts,
                           .header_bytes = text.n / 2, .body_bytes = text.n - text.n / 2, .facts = 4, .longest_line = 9 };
    struct ph_buf env, list, out;
    static const char head[PH_RECORD_BYTES];

    ph_buf_init(&env, s, PH_ENVELOPE_MAX);
    ph_buf_init(&list, s, PH_RCPTS_BYTES);
    ph_buf_init(&out, s, 1 << 20);
    ph_record_put_attr(&env, "sender", PH_STR("s@example.com"));
    ph_record_put_attr(&env, "client_name", PH_STR("host.example"));
    ph_record_put_attr(&env, "envelope_id", PH_STR("e"));
    for (unsigned i = 0; i < rcpts; i++)
        ph_record_put_rcpt(&list, PH_STR("r@example.org"), i % 2 ? PH_STR("o@x") : PH_STR(""), i % 3 ? PH_STR("rfc822;x@y") : PH_STR(""), i % 4 ? PH_STR("NEVER") : PH_STR(""));
    ph_id_format(r.id, r.arrival_us, r.inode, 1);
    r.envelope_bytes = env.n;
    r.rcpt_bytes = list.n;
    ph_record_layout(&r);
    ph_buf_put(&out, head, sizeof head);
    ph_buf_str(&out, ph_str_first(text, text.n / 2));
    ph_buf_puts(&out, "\r\n");
    ph_buf_str(&out, ph_str_from(text, text.n / 2));
    ph_buf_str(&out, ph_buf_view(&env));
    ph_buf_str(&out, ph_buf_view(&list));
    ph_buf_put(&out, "\0\0\0\0\0\0\0\0", PH_MARKS_HEAD);
    for (unsigned i = 0; i < rcpts; i++)
        ph_buf_putc(&out, 'P');
    r.crc = ph_record_checksum(ph_crc32c(0, out.p + PH_RECORD_BYTES, (size_t)r.marks_offset - PH_RECORD_BYTES), &r);
    ph_record_encode(&r, (unsigned char *)out.p);
    return ph_buf_view(&out);
}

ph_str fuzz_message_file(struct ph_scope *s, unsigned rcpts, ph_str text)
{
    return fuzz_message_for(s, rcpts, text, 77);
}
