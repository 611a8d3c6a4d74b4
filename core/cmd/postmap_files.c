/* postmap -F: values that are files.  In the source stands a list of files; what
 * is stored is their content, one behind the other with a line end between, in
 * base64 (RFC 4648 4). */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>
#include <posthorn/buf.h>
#include <posthorn/error.h>
#include "core/cmd/postmap.h"

#define FILES_MAX ((size_t)16 << 20)

static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

static int read_file(struct ph_buf *out, const char *path)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    char piece[16384];
    ssize_t n = 0;

    if (fd < 0)
        return ph_fail_errno(PH_CONF, errno, "open %s", path);
    while ((n = read(fd, piece, sizeof piece)) > 0)
        ph_buf_put(out, piece, (size_t)n);
    if (n < 0)
        ph_fail_errno(PH_CONF, errno, "read %s", path);
    close(fd);
    return n < 0 ? PH_CONF : out->full ? ph_fail(PH_CONF, "%s: too much content", path) : 0;
}

ph_str postmap_encode(struct ph_scope *s, ph_str in)
{
    char *out = ph_alloc(s, in.n / 3 * 4 + 5);
    size_t n = 0;

    for (size_t i = 0; i < in.n; i += 3) {
        unsigned v = (unsigned)(unsigned char)in.p[i] << 16;

        v |= i + 1 < in.n ? (unsigned)(unsigned char)in.p[i + 1] << 8 : 0;
        v |= i + 2 < in.n ? (unsigned)(unsigned char)in.p[i + 2] : 0;
        out[n++] = digits[v >> 18];
        out[n++] = digits[v >> 12 & 63];
        out[n++] = i + 1 < in.n ? digits[v >> 6 & 63] : '=';
        out[n++] = i + 2 < in.n ? digits[v & 63] : '=';
    }
    return (ph_str){ out, n };
}

int postmap_read_files(struct ph_scope *s, ph_str list, ph_str *value)
{
    struct ph_buf content;
    ph_str path, all = list;
    int rc, first = 1;

    ph_buf_init(&content, s, FILES_MAX);
    for (; (path = ph_str_token(&list, ", \t\r\n")).n; first = 0) {
        if (!first)
            ph_buf_putc(&content, '\n');
        if ((rc = read_file(&content, ph_cstr_dup(s, path))) < 0)
            return rc;
    }
    if (first)
        return ph_fail(PH_CONF, "empty pathname list: >>%.*s<<'", PH_FMT(all));
    *value = ph_buf_view(&content);
    return 0;
}

int postmap_decode(struct ph_scope *s, ph_str in, ph_str *out)
{
    char *p = ph_alloc(s, in.n / 4 * 3 + 3);
    size_t n = 0, pad = 0;

    if (in.n % 4)
        return 0;
    for (size_t i = 0; i < in.n && pad == 0; i += 4) {     /* a = ends it, whatever stands behind */
        unsigned v = 0;

        for (size_t k = 0; k < 4; k++) {
            char c = in.p[i + k];
            const char *d = c ? strchr(digits, c) : NULL;

            if (pad == 0 && c == '=' && k >= 2)
                pad = 4 - k;
            if (!d && pad == 0)
                return 0;
            v = v << 6 | (pad == 0 ? (unsigned)(d - digits) : 0);
        }
        p[n++] = (char)(v >> 16);
        p[n++] = (char)(v >> 8 & 255);
        p[n++] = (char)(v & 255);
    }
    *out = (ph_str){ p, n - pad };
    return 1;
}
