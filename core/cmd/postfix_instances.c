/* postfix with several instances: the command that multi_instance_wrapper names
 * acts on each; and the environment that we give to programs. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "core/cmd/cmd.h"
#include "core/cmd/postfix.h"

#define WORDS_MAX 64

void postfix_instances(struct ph_scope *s, struct ph_conf *c, char **command)
{
    const char *argv[WORDS_MAX + 1] = { NULL };
    ph_str wrapper = ph_conf_value(c, s, "multi_instance_wrapper"), word;
    size_t n = 0;

    if (!ph_conf_value(c, s, "multi_instance_directories").n)
        return;
    while ((word = ph_str_word(&wrapper)).n && n < WORDS_MAX)
        argv[n++] = ph_cstr_dup(s, word);
    if (n == 0)
        ph_cmd_fatal("multi-instance support is enabled, but multi_instance_wrapper is not set");
    for (; *command && n < WORDS_MAX; command++)
        argv[n++] = *command;
    if (*command || wrapper.n)
        ph_cmd_fatal("multi_instance_wrapper: more than %d words", WORDS_MAX);
    execvp(argv[0], (char *const *)(uintptr_t)argv);       /* it promises not to change them */
    ph_cmd_fatal("multi_instance_wrapper: %s: %s", argv[0], strerror(errno));
}

void postfix_export(struct ph_scope *s, struct ph_conf *c)
{
    static const char *const names[] = {
        "command_directory", "daemon_directory", "data_directory", "meta_directory", "queue_directory",
        "config_directory", "shlib_directory", "mail_owner", "setgid_group", "sendmail_path", "mailq_path",
        "newaliases_path", "manpage_directory", "sample_directory", "readme_directory", "html_directory",
    };

    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (setenv(names[i], ph_cstr_dup(s, ph_conf_value(c, s, names[i])), 1) < 0)
            ph_cmd_fatal("out of memory");
    if (setenv("PATH", "/bin:/usr/bin:/sbin:/usr/sbin", 1) < 0)
        ph_cmd_fatal("out of memory");
}
