/* setup: parameters, tables and lists, read once. */
#include <posthorn/error.h>
#include <posthorn/log.h>
#include "cleanup.h"

#define ST struct cleanup_params
const struct ph_param cleanup_rows[CLEANUP_ROWS] = {
    PH_P_STR1(ST, myhostname, "myhostname", "", "Our host name."),
    PH_P_STR1(ST, myorigin, "myorigin", "$myhostname", "Domain of addresses that have none."),
    PH_P_STR1(ST, empty_recipient, "empty_address_recipient", "MAILER-DAEMON", "Recipient in place of the null address."),
    PH_P_STR(ST, always_bcc, "always_bcc", "", "Address that gets a copy of every message."),
    PH_P_STR(ST, sender_bcc_maps, "sender_bcc_maps", "", "Tables from a sender to an address that gets a copy."),
    PH_P_STR(ST, recipient_bcc_maps, "recipient_bcc_maps", "", "Tables from a recipient to an address that gets a copy."),
    PH_P_STR(ST, canonical_maps, "canonical_maps", "", "Tables from addresses to those that take their place, in envelope and headers."),
    PH_P_STR(ST, sender_canonical_maps, "sender_canonical_maps", "", "The same for senders, before canonical_maps."),
    PH_P_STR(ST, recipient_canonical_maps, "recipient_canonical_maps", "", "The same for recipients, before canonical_maps."),
    PH_P_STR1(ST, canonical_classes, "canonical_classes", "envelope_sender, envelope_recipient, header_sender, header_recipient",
              "Which addresses go through canonical_maps."),
    PH_P_STR1(ST, sender_canonical_classes, "sender_canonical_classes", "envelope_sender, header_sender",
              "Which addresses go through sender_canonical_maps."),
    PH_P_STR1(ST, recipient_canonical_classes, "recipient_canonical_classes", "envelope_recipient, header_recipient",
              "Which addresses go through recipient_canonical_maps."),
    PH_P_STR(ST, masquerade_domains, "masquerade_domains", "", "Domains whose hosts are not shown; !domain: it and its hosts are."),
    PH_P_STR(ST, masquerade_classes, "masquerade_classes", "envelope_sender, header_sender, header_recipient",
             "Which addresses masquerade_domains is for."),
    PH_P_STR(ST, masquerade_exceptions, "masquerade_exceptions", "", "Users whose hosts are shown."),
    PH_P_STR(ST, virtual_alias_maps, "virtual_alias_maps", "$virtual_maps", "Tables from recipients to others in their place."),
    PH_P_INT(ST, alias_results, "virtual_alias_expansion_limit", "1000", 1, 100000, "Recipients that one recipient may become."),
    PH_P_INT(ST, alias_depth, "virtual_alias_recursion_limit", "1000", 1, 100000, "Aliases of aliases."),
    PH_P_INT(ST, alias_bytes, "virtual_alias_address_length_limit", "1000", 1, 100000, "Longest address that an alias may become."),
    PH_P_STR(ST, drop_headers, "message_drop_headers", "bcc, content-length, resent-bcc, return-path", "Headers that are removed."),
    PH_P_STR(ST, undisclosed, "undisclosed_recipients_header", "", "Header added when a message names no recipient."),
    PH_P_STR(ST, from_format, "header_from_format", "standard", "Form of an added From: header: standard or obsolete."),
    PH_P_STR(ST, end_action, "non_empty_end_of_header_action", "fix_quietly", "When the headers end without an empty line: fix_quietly."),
    PH_P_STR1(ST, double_bounce, "double_bounce_sender", "double-bounce", "Sender of notices to the postmaster about undeliverable notices."),
    PH_P_INT(ST, message_limit, "message_size_limit", "10240000", 0, 0, "Largest message in bytes; 0 means no limit."),
    PH_P_INT(ST, header_limit, "header_size_limit", "102400", 100, 10000000, "Bytes of one header; the rest is cut off."),
    PH_P_INT(ST, hop_limit, "hopcount_limit", "50", 1, 0, "Received: headers before a message is taken for looping."),
    PH_P_INT(ST, duplicate_limit, "duplicate_filter_limit", "1000", 0, 0, "Recipients remembered to leave out duplicates; 0 means all."),
    PH_P_INT(ST, header_tokens, "header_address_token_limit", "10240", 1, 0, "Tokens of a header in which addresses are looked for; the rest stays."),
    PH_P_STR1(ST, utf8_classes, "smtputf8_autodetect_classes", "sendmail, verify",
              "Where UTF-8 in an address or a header asks for SMTPUTF8: sendmail, smtpd, qmqpd, forward, bounce, notify, verify, all."),
    PH_P_BOOL(ST, utf8, "smtputf8_enable", "yes", "SMTPUTF8, RFC 6531."),
    PH_P_BOOL(ST, add_missing, "always_add_missing_headers", "no", "Add Message-Id:, Date: and From: to remote mail too."),
    PH_P_BOOL(ST, original, "enable_original_recipient", "yes", "Keep the recipient address as it was before aliasing."),
    PH_P_BOOL(ST, replace_stray, "cleanup_replace_stray_cr_lf", "yes", "Replace CR and LF that are no line end by a blank."),
    PH_P_BOOL(ST, detect_8bit, "detect_8bit_encoding_header", "yes", "Take Content-Transfer-Encoding: 8bit for a request for 8BITMIME."),
};
#undef ST
_Static_assert(sizeof cleanup_rows == CLEANUP_ROWS * sizeof(struct ph_param), "count the rows");

/* Features of the classic cleanup that are not there yet: a setting of them
 * must not be passed over in silence. */
static const char *const not_built[] = {
    "header_checks", "mime_header_checks", "nested_header_checks", "body_checks",
    "non_smtpd_milters", "message_reject_characters", "message_strip_characters",
};

static void warn_not_built(struct ph_conf *c)
{
    for (size_t i = 0; i < sizeof not_built / sizeof *not_built; i++) {
        PH_SCOPED(s, NULL);
        ph_str value;

        if (ph_conf_get(c, s, not_built[i], &value) == PH_FOUND && value.n)
            ph_log_warn("%s = %.*s has no effect: it is not built yet", not_built[i], PH_FMT(value));
    }
}

/* Each word of a list, once and for all. */
static ph_str *split(struct ph_scope *s, ph_str list, size_t *n)
{
    ph_str *words = ph_alloc_array(s, list.n / 2 + 1, sizeof *words), word;

    for (*n = 0; (word = ph_str_list(&list)).n; )
        words[(*n)++] = word;
    return words;
}

/* A list of classes as bits; only those in `may` have a meaning there. */
static int read_classes(const char *what, ph_str list, uint32_t may, uint32_t *classes)
{
    static const struct { const char *name; uint32_t bit; } known[] = {
        { "envelope_sender", CLASS_ENVELOPE_SENDER }, { "envelope_recipient", CLASS_ENVELOPE_RECIPIENT },
        { "header_sender", CLASS_HEADER_SENDER }, { "header_recipient", CLASS_HEADER_RECIPIENT },
    };

    for (ph_str word; (word = ph_str_list(&list)).n; ) {
        size_t i = 0;

        while (i < 4 && !ph_str_eq_nocase(word, ph_cstr(known[i].name)))
            i++;
        if (i == 4 || !(known[i].bit & may))
            return ph_fail(PH_CONF, "%s: unknown class \"%.*s\"", what, PH_FMT(word));
        *classes |= known[i].bit;
    }
    return 0;
}

static int open_mapping(struct cleanup_params *p, struct mapping *m, const char *maps, ph_str list, const char *classes, ph_str words, uint32_t may)
{
    int rc = read_classes(classes, words, may, &m->classes);

    if (rc < 0 || (rc = ph_address_map_open(p->rules, maps, list, "canonical", &m->map)) < 0)
        return rc;
    if (!m->map)
        m->classes = 0;
    p->mapped |= m->classes;
    return 0;
}

static int open_masquerade(struct ph_conf *c, struct ph_scope *s, struct cleanup_params *p)
{
    int rc = read_classes("masquerade_classes", p->masquerade_classes, CLASS_ALL, &p->masqueraded);

    p->masquerade = split(s, ph_str_lower(s, p->masquerade_domains), &p->masquerade_count);
    if (rc < 0 || !p->masquerade_count) {
        p->masqueraded = 0;
        return rc;
    }
    p->mapped |= p->masqueraded;
    return ph_match_open(c, s, "masquerade_exceptions", p->masquerade_exceptions, PH_MATCH_STRING, &p->exceptions);
}

static int open_maps(struct ph_conf *c, struct ph_scope *s, struct cleanup_params *p)
{
    const uint32_t senders = CLASS_ENVELOPE_SENDER | CLASS_HEADER_SENDER, recipients = CLASS_ENVELOPE_RECIPIENT | CLASS_HEADER_RECIPIENT;
    int rc;

    if ((rc = ph_address_rules_open(c, s, &p->rules)) < 0 ||
        (rc = open_mapping(p, &p->canonical[0], "sender_canonical_maps", p->sender_canonical_maps, "sender_canonical_classes",
                           p->sender_canonical_classes, senders)) < 0 ||
        (rc = open_mapping(p, &p->canonical[1], "recipient_canonical_maps", p->recipient_canonical_maps, "recipient_canonical_classes",
                           p->recipient_canonical_classes, recipients)) < 0 ||
        (rc = open_mapping(p, &p->canonical[2], "canonical_maps", p->canonical_maps, "canonical_classes", p->canonical_classes, CLASS_ALL)) < 0 ||
        (rc = open_masquerade(c, s, p)) < 0 ||
        (rc = ph_address_map_open(p->rules, "virtual_alias_maps", p->virtual_alias_maps, "virtual", &p->aliases)) < 0 ||
        (rc = ph_address_map_open(p->rules, "sender_bcc_maps", p->sender_bcc_maps, NULL, &p->sender_bcc)) < 0)
        return rc;
    p->limits = (struct ph_expand_limits){ .size = sizeof p->limits, .results = (uint32_t)p->alias_results, .depth = (uint32_t)p->alias_depth,
                                           .bytes = (uint32_t)p->alias_bytes };
    return ph_address_map_open(p->rules, "recipient_bcc_maps", p->recipient_bcc_maps, NULL, &p->recipient_bcc);
}

int cleanup_setup(struct ph_conf *c, struct ph_scope *s, struct cleanup_params *p)
{
    int rc = ph_params_load(c, s, cleanup_rows, CLEANUP_ROWS, sizeof *cleanup_rows, p);

    if (rc < 0)
        return rc;
    if (!ph_str_eq(p->end_action, PH_STR("fix_quietly")))
        return ph_fail(PH_CONF, "non_empty_end_of_header_action = %.*s is not built yet; use fix_quietly", PH_FMT(p->end_action));
    warn_not_built(c);
    p->rewrites_remote = ph_conf_value(c, s, "remote_header_rewrite_domain").n > 0;
    p->utf8_from = split(s, p->utf8_classes, &p->utf8_count);
    p->dropped = split(s, p->drop_headers, &p->dropped_count);
    return open_maps(c, s, p);
}
