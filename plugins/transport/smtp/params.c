/* params: what main.cf may say to the SMTP and to the LMTP client.
 *
 * Most parameters are twins: smtp_X and lmtp_X, with the same meaning and mostly
 * the same default. */
#include "smtp.h"

#define SMTP_STR(mem, sn, sd, ln, ld, dc)  PH_P_STR(struct smtp_params, mem, sn, sd, dc),
#define SMTP_STR1(mem, sn, sd, ln, ld, dc) PH_P_STR1(struct smtp_params, mem, sn, sd, dc),
#define SMTP_BOOL(mem, sn, sd, ln, ld, dc) PH_P_BOOL(struct smtp_params, mem, sn, sd, dc),
#define SMTP_SECS(mem, sn, sd, ln, ld, lo, dc) PH_P_TIME(struct smtp_params, mem, sn, sd, "s", lo, 0, dc),
#define SMTP_NUM(mem, sn, sd, ln, ld, lo, dc)  PH_P_INT(struct smtp_params, mem, sn, sd, lo, 0, dc),
#define LMTP_STR(mem, sn, sd, ln, ld, dc)  PH_P_STR(struct smtp_params, mem, ln, ld, dc),
#define LMTP_STR1(mem, sn, sd, ln, ld, dc) PH_P_STR1(struct smtp_params, mem, ln, ld, dc),
#define LMTP_BOOL(mem, sn, sd, ln, ld, dc) PH_P_BOOL(struct smtp_params, mem, ln, ld, dc),
#define LMTP_SECS(mem, sn, sd, ln, ld, lo, dc) PH_P_TIME(struct smtp_params, mem, ln, ld, "s", lo, 0, dc),
#define LMTP_NUM(mem, sn, sd, ln, ld, lo, dc)  PH_P_INT(struct smtp_params, mem, ln, ld, lo, 0, dc),

/* Member, smtp's name and default, lmtp's name and default, what it does. */
#define TWINS(STR, STR1, BOOL, SECS, NUM) \
    STR(tcp_port, "smtp_tcp_port", "smtp", "lmtp_tcp_port", "24", "Port, by number or service name, of a destination that names none.") \
    STR1(helo_name, "smtp_helo_name", "$myhostname", "lmtp_lhlo_name", "$myhostname", "Name said in EHLO, HELO or LHLO.") \
    STR(fallback_relay, "smtp_fallback_relay", "$fallback_relay", "lmtp_fallback_relay", "", \
        "Destinations tried when all hosts of the next hop failed or it does not exist.") \
    STR(discard_keywords, "smtp_discard_ehlo_keywords", "", "lmtp_discard_lhlo_keywords", "", \
        "EHLO keywords of servers that are not believed; silent-discard: without a line in the log.") \
    STR(discard_keyword_maps, "smtp_discard_ehlo_keyword_address_maps", "", "lmtp_discard_lhlo_keyword_address_maps", "", \
        "Tables from a server's address to EHLO keywords that are not believed, instead of the list for all servers.") \
    STR(cache_destinations, "smtp_connection_cache_destinations", "", "lmtp_connection_cache_destinations", "", \
        "Next hops, without brackets and port, or socket paths, whose sessions are always kept a while.") \
    STR1(address_preference, "smtp_address_preference", "any", "lmtp_address_preference", "any", \
        "Family tried first among hosts of equal preference: any, ipv4, ipv6.") \
    STR1(host_lookup, "smtp_host_lookup", "dns", "lmtp_host_lookup", "dns", "Where addresses of hosts come from: dns, native, or both in order.") \
    STR1(verify_target, "smtp_address_verify_target", "rcpt", "lmtp_address_verify_target", "rcpt", "Where a probe of an address ends: rcpt or data.") \
    STR(bind_address, "smtp_bind_address", "", "lmtp_bind_address", "", "Source address of IPv4 connections.") \
    STR(bind_address6, "smtp_bind_address6", "", "lmtp_bind_address6", "", "Source address of IPv6 connections.") \
    STR(generic_maps, "smtp_generic_maps", "", "lmtp_generic_maps", "", "Tables from addresses here to those that the outside sees, in envelope and headers.") \
    STR(reply_filter, "smtp_reply_filter", "", "lmtp_reply_filter", "", "Tables that change a line of a server's reply before it is read.") \
    STR(status_filter, "smtp_delivery_status_filter", "$default_delivery_status_filter", "lmtp_delivery_status_filter", "$default_delivery_status_filter", \
        "Tables from \"X.Y.Z text\" of an outcome to the same of another, in the class 2, or among 4 and 5.") \
    STR(pix_workarounds, "smtp_pix_workarounds", "disable_esmtp,delay_dotcrlf", "lmtp_pix_workarounds", "disable_esmtp,delay_dotcrlf", \
        "What to do differently with a server behind a firewall that blots out its greeting.") \
    STR(pix_maps, "smtp_pix_workaround_maps", "", "lmtp_pix_workaround_maps", "", \
        "Tables from a server's address to workarounds, instead of the list for all servers.") \
    SECS(connect_timeout, "smtp_connect_timeout", "30s", "lmtp_connect_timeout", "0s", 0, "Limit of a connect, per address; 0: the system's.") \
    SECS(helo_timeout, "smtp_helo_timeout", "300s", "lmtp_lhlo_timeout", "300s", 1, "Limit of the greeting and of EHLO, HELO or LHLO.") \
    SECS(xforward_timeout, "smtp_xforward_timeout", "300s", "lmtp_xforward_timeout", "300s", 1, "Limit of XFORWARD.") \
    SECS(mail_timeout, "smtp_mail_timeout", "300s", "lmtp_mail_timeout", "300s", 1, "Limit of MAIL FROM.") \
    SECS(rcpt_timeout, "smtp_rcpt_timeout", "300s", "lmtp_rcpt_timeout", "300s", 1, "Limit of RCPT TO.") \
    SECS(data_init_timeout, "smtp_data_init_timeout", "120s", "lmtp_data_init_timeout", "120s", 1, "Limit of DATA.") \
    SECS(data_xfer_timeout, "smtp_data_xfer_timeout", "180s", "lmtp_data_xfer_timeout", "180s", 1, "Limit of sending a piece of the message.") \
    SECS(data_done_timeout, "smtp_data_done_timeout", "600s", "lmtp_data_done_timeout", "600s", 1, "Limit of the answer to the final dot.") \
    SECS(rset_timeout, "smtp_rset_timeout", "20s", "lmtp_rset_timeout", "20s", 1, "Limit of RSET, and of the first answer of a reused session.") \
    SECS(quit_timeout, "smtp_quit_timeout", "300s", "lmtp_quit_timeout", "300s", 1, "Limit of QUIT.") \
    SECS(cache_time_limit, "smtp_connection_cache_time_limit", "2s", "lmtp_connection_cache_time_limit", "2s", 1, "How long an idle session is kept.") \
    SECS(reuse_time_limit, "smtp_connection_reuse_time_limit", "300s", "lmtp_connection_reuse_time_limit", "300s", 1, \
         "How long a session is used, from its start.") \
    SECS(pix_threshold, "smtp_pix_workaround_threshold_time", "500s", "lmtp_pix_workaround_threshold_time", "500s", 0, \
         "Age of a message from which the workarounds are used.") \
    SECS(pix_delay, "smtp_pix_workaround_delay_time", "10s", "lmtp_pix_workaround_delay_time", "10s", 1, \
         "Pause before the final dot of the workaround delay_dotcrlf.") \
    NUM(reuse_count_limit, "smtp_connection_reuse_count_limit", "0", "lmtp_connection_reuse_count_limit", "0", 0, \
        "How often a session is reused; 0: no limit.") \
    NUM(address_limit, "smtp_mx_address_limit", "5", "lmtp_mx_address_limit", "5", 0, "Addresses tried per destination; 0: all.") \
    NUM(session_limit, "smtp_mx_session_limit", "2", "lmtp_mx_session_limit", "2", 0, "Sessions past the handshake per delivery; 0: no limit.") \
    NUM(line_length_limit, "smtp_line_length_limit", "998", "lmtp_line_length_limit", "998", 0, \
        "Longest line sent; longer ones are broken; 0: no limit.") \
    NUM(min_data_rate, "smtp_min_data_rate", "500", "lmtp_min_data_rate", "500", 1, \
        "Bytes per second by which the limit of the message grows with smtp_per_request_deadline.") \
    BOOL(per_request, "smtp_per_request_deadline", "${smtp_per_record_deadline?{$smtp_per_record_deadline}:{no}}", \
         "lmtp_per_request_deadline", "${lmtp_per_record_deadline?{$lmtp_per_record_deadline}:{no}}", \
         "Time limits are for a whole reply, and a whole message, instead of each line and piece.") \
    BOOL(skip_5xx, "smtp_skip_5xx_greeting", "yes", "lmtp_skip_5xx_greeting", "yes", \
         "Try the next host after a 5xx greeting instead of returning the mail.") \
    BOOL(skip_quit, "smtp_skip_quit_response", "yes", "lmtp_skip_quit_response", "no", "Close after QUIT without waiting for its answer.") \
    BOOL(cache_on_demand, "smtp_connection_cache_on_demand", "yes", "lmtp_connection_cache_on_demand", "yes", \
         "Keep sessions while mail for the same next hop waits.") \
    BOOL(randomize, "smtp_randomize_addresses", "yes", "lmtp_randomize_addresses", "yes", "Shuffle hosts of equal preference.") \
    BOOL(balance, "smtp_balance_inet_protocols", "yes", "lmtp_balance_inet_protocols", "yes", \
         "Keep addresses of both families within the limit of addresses.") \
    BOOL(bind_enforce, "smtp_bind_address_enforce", "no", "lmtp_bind_address_enforce", "no", \
         "Defer mail when the source address cannot be used, instead of connecting from another.") \
    BOOL(quote_envelope, "smtp_quote_rfc821_envelope", "yes", "lmtp_quote_rfc821_envelope", "yes", \
         "Quote local parts of envelope addresses where RFC 5321 wants it.") \
    BOOL(send_xforward, "smtp_send_xforward_command", "no", "lmtp_send_xforward_command", "no", \
         "Tell a server that offers XFORWARD whom we have the mail from: for content filters.") \
    BOOL(dummy_auth, "smtp_send_dummy_mail_auth", "no", "lmtp_send_dummy_mail_auth", "no", \
         "Say AUTH=<> in MAIL FROM to servers that offer AUTH.")

/* For both alike. */
#define COMMON \
    PH_P_BOOL(struct smtp_params, no_downgrade, "disable_mime_output_conversion", "no", "Send 8-bit parts as they are to servers without 8BITMIME."), \
    PH_P_INT(struct smtp_params, mime_nesting, "mime_nesting_limit", "100", 1, 0, "Levels of parts that are looked into."), \
    PH_P_INT(struct smtp_params, mime_boundary, "mime_boundary_length_limit", "2048", 1, 0, "Bytes of a boundary that count."), \
    PH_P_BOOL(struct smtp_params, soft_bounce, "soft_bounce", "no", "Turn every bounce into a deferral, and try the next host."),

const struct ph_param smtp_rows[] = {
    TWINS(SMTP_STR, SMTP_STR1, SMTP_BOOL, SMTP_SECS, SMTP_NUM)
    COMMON
    PH_P_STR(struct smtp_params, dns_support, "smtp_dns_support_level", "", "disabled: host names are looked up as smtp_host_lookup = native does, and no MX."),
    PH_P_STR(struct smtp_params, best_mx, "best_mx_transport", "", "Transport, or transport:nexthop, for mail whose best exchanger is this machine; empty: it is returned as a loop."),
    PH_P_BOOL(struct smtp_params, always_ehlo, "smtp_always_send_ehlo", "yes", "EHLO even when the greeting does not say ESMTP."),
    PH_P_BOOL(struct smtp_params, never_ehlo, "smtp_never_send_ehlo", "no", "HELO only."),
    PH_P_BOOL(struct smtp_params, skip_4xx, "smtp_skip_4xx_greeting", "yes", "Try the next host after a 4xx greeting."),
    PH_P_BOOL(struct smtp_params, ignore_mx_error, "ignore_mx_lookup_error", "no", "Use the domain's own address when the MX query gets no answer."),
    PH_P_BOOL(struct smtp_params, defer_no_address, "smtp_defer_if_no_mx_address_found", "no", "Defer instead of returning mail when no MX host has an address."),
};

const struct ph_param lmtp_rows[] = {
    TWINS(LMTP_STR, LMTP_STR1, LMTP_BOOL, LMTP_SECS, LMTP_NUM)
    COMMON
    PH_P_STR(struct smtp_params, dns_support, "lmtp_dns_support_level", "", "disabled: host names are looked up as lmtp_host_lookup = native does."),
    PH_P_BOOL(struct smtp_params, assume_final, "lmtp_assume_final", "no", "Success notices say \"delivered\" when the server does not send its own."),
};
