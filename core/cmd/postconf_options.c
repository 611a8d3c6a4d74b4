/* postconf_options: the command line, and which options go together. */
#include <getopt.h>
#include <stdlib.h>
#include <string.h>
#include "core/cmd/cmd.h"
#include "core/cmd/postconf.h"

/* Messages name options in this order. */
static const char order[] = "aAbdefFhHjlmMnopPtTxX#";

static unsigned class_bit(ph_str word)
{
    static const struct { const char *name; unsigned bit; } names[] = {
        { "builtin", CLASS_BUILTIN }, { "service", CLASS_SERVICE }, { "user", CLASS_USER }, { "all", CLASS_ALL },
    };

    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (ph_str_eq_nocase(word, ph_cstr(names[i].name)))
            return names[i].bit;
    return 0;
}

static unsigned parse_classes(const char *text)
{
    ph_str list = ph_cstr(text), word;
    unsigned classes = 0, bit;

    for (; (word = ph_str_token(&list, ", \t")).n; classes |= bit)
        if (!(bit = class_bit(word)))
            ph_cmd_fatal("unknown -C option value \"%.*s\" in \"%s\"", PH_FMT(word), text);
    return classes;
}

static PH_NORETURN void usage(void)
{
    ph_cmd_fatal("usage: postconf [-a (server SASL types)] [-A (client SASL types)] [-b (bounce templates)] [-c config_dir] "
                 "[-C param_class] [-d (parameter defaults)] [-e (edit configuration)] [-f (fold lines)] [-F (service fields)] "
                 "[-h (no names)] [-H (no values)] [-j (JSON)] [-l (lock types)] [-m (map types)] [-M (services)] "
                 "[-n (non-default parameters)] [-o name=value (override parameter value)] [-p (main.cf, default)] "
                 "[-P (service parameters)] [-q (no warnings)] [-t (bounce templates)] "
                 "[-T compile-version|run-version|public-key-algorithms] [-v (verbose)] [-x (expand parameter values)] "
                 "[-X (exclude)] [-# (comment-out)] [name...] | postconf [-c config_dir] --import-master file | --export-master");
}

static void take_value(struct postconf_options *o, struct postconf *p, int option, const char *value)
{
    switch (option) {
    case 'c': o->dir = value; break;
    case 'C': p->classes = parse_classes(value); break;
    case 'T': o->tls = value; break;
    case 'I': o->import = value; break;
    case 'o':
        if (o->override_count == sizeof o->overrides / sizeof *o->overrides)
            ph_cmd_fatal("too many -o options");
        o->overrides[o->override_count++] = value;
        break;
    default: break;
    }
}

/* At most one of these was given. */
static void only_one(const int *seen, const char *set)
{
    char text[sizeof order * 3 + 1] = "";
    size_t n = 0, count = 0;

    for (const char *c = order; *c; c++)
        if (seen[(unsigned char)*c] && strchr(set, *c)) {
            text[n++] = ' ';
            text[n++] = '-';
            text[n++] = *c;
            count++;
        }
    if (count > 1)
        ph_cmd_fatal("specify one of%s", text);
}

static void excludes(const int *seen, int mode, const char *others)
{
    char text[sizeof order * 3 + 1] = "";
    size_t n = 0;

    for (const char *c = order; seen[mode] && *c; c++)
        if (seen[(unsigned char)*c] && strchr(others, *c)) {
            text[n++] = ' ';
            text[n++] = '-';
            text[n++] = *c;
        }
    if (n)
        ph_cmd_fatal("with option -%c, do not specify%s", mode, text);
}

static int has_any(const int *seen)
{
    for (const char *c = order; *c; c++)
        if (seen[(unsigned char)*c])
            return 1;
    return 0;
}

/* In this order, because the first that is broken is told. */
static void check_combination(const int *seen)
{
    static const char *const apart[] = { "aAbFlmMpPtT", "denX#", "efX#", "exX#", "deoX#", "ehHX#", "ejX#" };
    static const char fixed[] = "aAbltmT";

    if (seen['b'] && seen['t'])
        ph_cmd_fatal("specify one of -b and -t");
    if (seen['T'] > 1)
        ph_cmd_fatal("At most one -T <mode> option may be specified");
    for (size_t i = 0; i < sizeof apart / sizeof *apart; i++)
        only_one(seen, apart[i]);
    for (const char *c = fixed; *c; c++)
        excludes(seen, *c, "defhHjnoxX#");
    excludes(seen, 'F', "dnX#");
    excludes(seen, 'M', "dhHn");
    excludes(seen, 'P', "dn#");
    if (seen['P'] > 1 && (seen['e'] || seen['X']))
        ph_cmd_fatal("with option -%c, do not specify -P twice", seen['e'] ? 'e' : 'X');
}

/* "name=value" where names stand asks for an edit. */
static void imply_edit(int *seen, char *const *names)
{
    for (; *names; names++)
        if (strchr(*names, '='))
            seen['e'] = 1;
}

static void fill(struct postconf_options *o, struct postconf *p, const int *seen)
{
    for (const char *c = "aAbFlmMPtTIE"; *c; c++)
        if (seen[(unsigned char)*c])
            o->mode = *c;
    for (const char *c = "eX#"; *c; c++)
        if (seen[(unsigned char)*c])
            o->edit = *c;
    o->mode = o->mode ? o->mode : 'p';
    p->all_of_service = seen['P'] > 1;
    p->defaults = seen['d'];
    p->fold = seen['f'];
    p->value_only = seen['h'];
    p->name_only = seen['H'];
    p->json = seen['j'];
    p->only_set = seen['n'];
    p->quiet = seen['q'];
    p->expand = seen['x'];
}

char **postconf_read_options(struct postconf_options *o, struct postconf *p, int argc, char **argv)
{
    static const char letters[] = "+aAbc:C:deEfFhHjlmMno:pPqtT:vxX#";
    static const struct option words[] = {
        { "import-master", required_argument, NULL, 'I' }, { "export-master", no_argument, NULL, 'E' }, { NULL, 0, NULL, 0 },
    };
    int seen[256] = { 0 }, option;

    argv[0] = (char *)(uintptr_t)ph_cmd_name();
    while ((option = getopt_long(argc, argv, letters, words, NULL)) > 0) {
        if (option == '?')
            usage();
        seen[option & 0xff]++;
        take_value(o, p, option, optarg);
    }
    char **names = argv + optind;

    /* Names of templates and lists are no edits. */
    if (!seen['b'] && !seen['t'] && !seen['m'] && !seen['l'] && !seen['a'] && !seen['A'] && !seen['T'])
        imply_edit(seen, names);
    check_combination(seen);
    if ((seen['I'] || seen['E']) && (seen['I'] + seen['E'] > 1 || *names || has_any(seen)))
        ph_cmd_fatal("with --import-master and --export-master, specify -c only");
    if ((seen['b'] || seen['t']) && names[0] && names[1])
        ph_cmd_fatal("options -b and -t require at most one template file");
    if ((seen['X'] || seen['#']) && !*names)
        ph_cmd_fatal("missing service argument");
    if (seen['e'] && !*names)
        ph_cmd_fatal("-e requires name=value argument");
    fill(o, p, seen);
    return names;
}
