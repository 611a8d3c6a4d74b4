/* yaml_text: see yaml_text.h. */
#include <stdio.h>
#include <string.h>
#include <posthorn/error.h>
#include "yaml_text.h"
#include "fuzz.h"

/* The character at *i; its bytes are good UTF-8 (libyaml took them). */
static unsigned take_char(ph_str t, size_t *i)
{
    unsigned c = (unsigned char)t.p[(*i)++], more = c >= 0xf0 ? 3 : c >= 0xe0 ? 2 : c >= 0xc0 ? 1 : 0;

    c &= more == 3 ? 7u : more == 2 ? 15u : more == 1 ? 31u : 127u;
    for (; more && *i < t.n; more--)
        c = c << 6 | ((unsigned char)t.p[(*i)++] & 63u);
    return c;
}

void put_text(struct ph_buf *b, ph_str text)
{
    FUZZ_CHECK(ph_str_is_utf8(text), "text of a tree is UTF-8");
    ph_buf_putc(b, '"');
    for (size_t i = 0; i < text.n; ) {
        unsigned c = take_char(text, &i);

        if (c == '"' || c == '\\')
            ph_buf_putc(b, '\\');
        if (c >= 0x20 && c < 0x7f)
            ph_buf_putc(b, (char)c);
        else
            ph_buf_printf(b, "\\U%08x", c);
    }
    ph_buf_putc(b, '"');
}

static size_t count_lines(ph_str in)
{
    size_t n = 2;                      /* libyaml's own line ends: LF, CR, NEL, LS, PS */

    for (size_t i = 0; i < in.n; i++)
        n += in.p[i] == '\n' || in.p[i] == '\r' || (unsigned char)in.p[i] >= 0x80;
    return n;
}

void has_place(ph_str in, const char *file)
{
    unsigned line = 0, column = 0;
    int end = 0;
    size_t n = strlen(file);
    const char *text = ph_error();

    FUZZ_CHECK(!strncmp(text, file, n) && text[n] == ':', "no file: %s", text);
    if (!strncmp(text + n, ": byte ", 7))
        return;
    FUZZ_CHECK(sscanf(text + n, ":%u:%u: %n", &line, &column, &end) == 2 && end && text[n + (size_t)end], "no place: %s", text);
    FUZZ_CHECK(line >= 1 && line <= count_lines(in) && column >= 1 && column <= in.n + 1, "not in the file: %s", text);
}
