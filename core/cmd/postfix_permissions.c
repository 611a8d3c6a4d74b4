/* postfix set-permissions: gives directories, programs and configuration the
 * owners and modes of layout.c; what is missing is made.  Nothing is done
 * silently: each change is a line.  With DESTDIR in the environment it works on
 * an installation below that directory, with the accounts of this machine. */
#include <stdlib.h>
#include <unistd.h>
#include <posthorn/error.h>
#include "core/cmd/cmd.h"
#include "core/cmd/layout.h"
#include "core/cmd/postfix.h"

int postfix_set_permissions(struct postfix *p)
{
    const char *destdir = getenv("DESTDIR");
    struct layout l;

    if (geteuid() != 0)
        ph_cmd_fatal("set-permissions: only root can give files to other accounts");
    if (layout_open(&l, p->scope, p->conf, destdir ? destdir : "") < 0)
        ph_cmd_fatal("%s", ph_error());
    for (uint32_t i = 0; i < l.accounts.note_count; i++)
        ph_cmd_warn("%s", l.accounts.note[i]);
    return layout_repair(&l) < 0 ? 1 : 0;
}
