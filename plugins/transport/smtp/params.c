/* params: what main.cf may say to the SMTP client. */
#include "smtp.h"

#define STR(mem, nm, df, dc)  PH_P_STR(struct smtp_params, mem, nm, df, dc)
#define BOOL(mem, nm, df, dc) PH_P_BOOL(struct smtp_params, mem, nm, df, dc)
#define SECS(mem, nm, df, dc) PH_P_TIME(struct smtp_params, mem, nm, df, "s", 1, 0, dc)
#define NUM(mem, nm, df, dc)  PH_P_INT(struct smtp_params, mem, nm, df, 0, 0, dc)

const struct ph_param smtp_rows[] = {
    STR(tcp_port, "smtp_tcp_port", "smtp", "Port, by number or service name, of a destination that names none."),
    STR(helo_name, "smtp_helo_name", "$myhostname", "Name said in EHLO and HELO."),
    STR(fallback_relay, "smtp_fallback_relay", "$fallback_relay", "Destinations tried when all hosts of the next hop failed or it does not exist."),
    STR(discard_keywords, "smtp_discard_ehlo_keywords", "", "EHLO keywords of servers that are not believed."),
    STR(cache_destinations, "smtp_connection_cache_destinations", "", "Next hops, without brackets and port, whose sessions are always kept a while."),
    STR(address_preference, "smtp_address_preference", "any", "Family tried first among hosts of equal preference: any, ipv4, ipv6."),
    STR(host_lookup, "smtp_host_lookup", "dns", "Where addresses of hosts come from: dns, native, or both in order."),
    STR(bind_address, "smtp_bind_address", "", "Source address of IPv4 connections."),
    STR(bind_address6, "smtp_bind_address6", "", "Source address of IPv6 connections."),
    PH_P_TIME(struct smtp_params, connect_timeout, "smtp_connect_timeout", "30s", "s", 0, 0, "Limit of a TCP connect, per address; 0: the system's."),
    SECS(helo_timeout, "smtp_helo_timeout", "300s", "Limit of the greeting and of EHLO or HELO."),
    SECS(mail_timeout, "smtp_mail_timeout", "300s", "Limit of MAIL FROM."),
    SECS(rcpt_timeout, "smtp_rcpt_timeout", "300s", "Limit of RCPT TO."),
    SECS(data_init_timeout, "smtp_data_init_timeout", "120s", "Limit of DATA."),
    SECS(data_xfer_timeout, "smtp_data_xfer_timeout", "180s", "Limit of sending a piece of the message."),
    SECS(data_done_timeout, "smtp_data_done_timeout", "600s", "Limit of the answer to the final dot."),
    SECS(rset_timeout, "smtp_rset_timeout", "20s", "Limit of RSET, and of the first answer of a reused session."),
    SECS(quit_timeout, "smtp_quit_timeout", "300s", "Limit of QUIT."),
    SECS(cache_time_limit, "smtp_connection_cache_time_limit", "2s", "How long an idle session is kept."),
    SECS(reuse_time_limit, "smtp_connection_reuse_time_limit", "300s", "How long a session is used, from its start."),
    NUM(reuse_count_limit, "smtp_connection_reuse_count_limit", "0", "How often a session is reused; 0: no limit."),
    NUM(address_limit, "smtp_mx_address_limit", "5", "Addresses tried per destination; 0: all."),
    NUM(session_limit, "smtp_mx_session_limit", "2", "Sessions past the handshake per delivery; 0: no limit."),
    NUM(line_length_limit, "smtp_line_length_limit", "998", "Longest line sent; longer ones are broken; 0: no limit."),
    BOOL(always_ehlo, "smtp_always_send_ehlo", "yes", "EHLO even when the greeting does not say ESMTP."),
    BOOL(never_ehlo, "smtp_never_send_ehlo", "no", "HELO only."),
    BOOL(skip_4xx, "smtp_skip_4xx_greeting", "yes", "Try the next host after a 4xx greeting."),
    BOOL(skip_5xx, "smtp_skip_5xx_greeting", "yes", "Try the next host after a 5xx greeting instead of returning the mail."),
    BOOL(skip_quit, "smtp_skip_quit_response", "yes", "Close after QUIT without waiting for its answer."),
    BOOL(cache_on_demand, "smtp_connection_cache_on_demand", "yes", "Keep sessions while mail for the same next hop waits."),
    BOOL(randomize, "smtp_randomize_addresses", "yes", "Shuffle hosts of equal preference."),
    BOOL(balance, "smtp_balance_inet_protocols", "yes", "Keep addresses of both families within smtp_mx_address_limit."),
    BOOL(ignore_mx_error, "ignore_mx_lookup_error", "no", "Use the domain's own address when the MX query gets no answer."),
    BOOL(defer_no_address, "smtp_defer_if_no_mx_address_found", "no", "Defer instead of returning mail when no MX host has an address."),
    BOOL(no_downgrade, "disable_mime_output_conversion", "no", "Send 8-bit parts as they are to servers without 8BITMIME."),
    BOOL(quote_envelope, "smtp_quote_rfc821_envelope", "yes", "Quote local parts of envelope addresses where RFC 5321 wants it."),
};
