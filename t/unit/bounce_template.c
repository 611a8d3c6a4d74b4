/* t/unit/bounce_template.c: the words of notices: files good and bad, values. */
#include "tap.h"
#include <posthorn/bounce_template.h>
#include <posthorn/error.h>
#include "core/conf/conf.h"

static struct { char text[512]; int n; } warned;

static void warn(void *arg PH_UNUSED, const char *text)
{
    snprintf(warned.text, sizeof warned.text, "%s", text);
    warned.n++;
}

#define HEAD "Charset: us-ascii\nFrom: x\nSubject: mine\nPostmaster-Subject: pm\n"

/* `subject` of the failure template afterwards: "mine", or the built-in one. */
static const struct { const char *name, *file, *subject, *warning; int rc; } files[] = {
    { "nothing", "", NULL, "", 0 },
    { "comments and empty lines", "# a\n\n   \n#b\n", NULL, "", 0 },
    { "a template", "failure_template = <<EOF\n" HEAD "\ntext\nEOF\n", "mine", "", 0 },
    { "without blanks", "failure_template=<<EOF\n" HEAD "\ntext\nEOF\n", "mine", "", 0 },
    { "lines with CR LF", "failure_template = <<EOF\r\nSubject: mine\r\n\r\ntext\r\nEOF\r\n", "mine", "", 0 },
    { "no final line end", "failure_template = <<EOF\nSubject: mine\n\ntext\nEOF", "mine", "", 0 },
    { "another, then a good one", "bogus_template = <<X\n" HEAD "\nt\nX\nfailure_template = <<EOF\nSubject: mine\n\nt\nEOF\n", "mine",
      "f, line 8: unknown template \"bogus_template\"", 0 },
    { "without its end", "failure_template = <<EOF\nSubject: mine\n\ntext\n", "mine", "f, line 4: failure_template: the line \"EOF\" that ends it is missing", 0 },
    { "without text", "failure_template = <<EOF\n" HEAD "EOF\n", NULL, "f, line 6: failure_template: no text behind the headers", 0 },
    { "only blank text", "failure_template = <<EOF\n" HEAD "\n  \n\nEOF\n", NULL, "f, line 9: failure_template: no text behind the headers", 0 },
    { "an unknown header", "failure_template = <<EOF\nX: y\n\nt\nEOF\n", NULL, "f, line 5: failure_template: unknown or inapplicable header \"X\"", 0 },
    { "a value in a header", "failure_template = <<EOF\nSubject: $a\n\nt\nEOF\n", NULL,
      "f, line 5: failure_template: Subject: must be one line of ASCII text without $", 0 },
    { "a header is one line: what follows is text", "failure_template = <<EOF\nSubject: mine\n b\n\nt\nEOF\n", "mine", "", 0 },
    { "text without an empty line", "failure_template = <<EOF\nSubject: mine\nsome text\nEOF\n", "mine", "", 0 },
    { "a comment that begins with blanks", "  # x\nfailure_template = <<EOF\nSubject: mine\n\nt\nEOF\n", "mine", "", 0 },
    { "what the postmaster does not get", "success_template = <<EOF\nPostmaster-Subject: x\n\nt\nEOF\n", NULL,
      "f, line 5: success_template: unknown or inapplicable header \"Postmaster-Subject\"", 0 },
    { "a header without value", "failure_template = <<EOF\nSubject:\n\nt\nEOF\n", NULL,
      "f, line 5: failure_template: Subject: must be one line of ASCII text without $", 0 },
    { "text beyond ASCII", "failure_template = <<EOF\nSubject: mine\n\ncaf\xc3\xa9\nEOF\n", NULL,
      "f, line 5: failure_template: text that is not ASCII needs another Charset", 0 },
    { "in UTF-8", "failure_template = <<EOF\nCharset: utf-8\nSubject: mine\n\ncaf\xc3\xa9\nEOF\n", "mine", "", 0 },
    { "said to be UTF-8", "failure_template = <<EOF\nCharset: utf-8\nSubject: mine\n\ncaf\xe9\nEOF\n", NULL,
      "f, line 6: failure_template: the text is not UTF-8", 0 },
    { "in another charset", "failure_template = <<EOF\nCharset: iso-8859-1\nSubject: mine\n\ncaf\xe9\nEOF\n", "mine", "", 0 },
    { "a charset that would end the header", "failure_template = <<EOF\nCharset: a;b=c\nSubject: mine\n\nx\nEOF\n", NULL,
      "f, line 6: failure_template: bad Charset", 0 },
    { "no assignment", "rubbish\n", NULL, "", PH_CONF },
    { "a value that is no text", "failure_template = x\n", NULL, "", PH_CONF },
    { "no marker", "failure_template = <<\n", NULL, "", PH_CONF },
    { "rubbish behind a good one: nothing of it counts", "failure_template = <<EOF\nSubject: mine\n\nt\nEOF\nrubbish\n", NULL, "", PH_CONF },
};

static void test_files(void)
{
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        PH_SCOPED(s, NULL);
        struct ph_bounce_template t[PH_TEMPLATES];

        memset(&warned, 0, sizeof warned);
        ph_bounce_templates_default(t);
        is_int(ph_bounce_templates_parse(s, ph_cstr(files[i].file), "f", warn, NULL, t), files[i].rc, "%s", files[i].name);
        is_bytes(t[PH_TEMPLATE_FAILURE].subject, files[i].subject ? files[i].subject : "Undelivered Mail Returned to Sender",
                 "%s: the one that counts", files[i].name);
        ok(t[PH_TEMPLATE_FAILURE].postmaster_subject.n > 0, "%s: it has a subject for the postmaster", files[i].name);
        is_int(t[PH_TEMPLATE_FAILURE].is_custom, files[i].subject != NULL, "%s: whose it is", files[i].name);
        is_bytes(ph_cstr(warned.text), files[i].warning, "%s: the warning", files[i].name);
    }
}

static const struct { const char *body, *want; } values[] = {
    { "plain $$5\n", "plain $5\n" },
    { "$myhostname ${myhostname} $(myhostname).\n", "mx.example mx.example mx.example.\n" },
    { "$delay_warning_time_seconds $delay_warning_time_minutes $delay_warning_time_hours\n", "16200 270 4\n" },
    { "$maximal_queue_lifetime_days $maximal_queue_lifetime_weeks $maximal_queue_lifetime\n", "10 1 10d\n" },
    { "\\n is no line end\n", "\\n is no line end\n" },
    { "$nosuch\n", NULL }, { "a $ b\n", NULL }, { "${myhostname\n", NULL }, { "$", NULL }, { "$delay_warning_time_years\n", NULL },
    { "${myhostname?x}\n", NULL },
};

static void test_values(void)
{
    PH_SCOPED(s, NULL);
    struct ph_conf *c;

    if (ph_conf_parse(s, "/", "main.cf", PH_STR("myhostname = mx.example\ndelay_warning_time = 270m\nmaximal_queue_lifetime = 10d\n"), &c) < 0) {
        ok(0, "main.cf: %s", ph_error());
        return;
    }
    for (size_t i = 0; i < sizeof values / sizeof *values; i++) {
        struct ph_bounce_template t = { .name = "failure", .body = ph_cstr(values[i].body) };
        ph_str text = { "", 0 };
        int rc = ph_bounce_template_expand(s, c, &t, &text);

        is_int(rc, values[i].want ? 0 : PH_CONF, "value in \"%s\"", values[i].body);
        is_bytes(text, values[i].want ? values[i].want : "", "its text");
    }
}

/* What is printed reads back as the same. */
static void test_print(void)
{
    PH_SCOPED(s, NULL);
    struct ph_bounce_template t[PH_TEMPLATES], u[PH_TEMPLATES];
    struct ph_buf out;

    ph_bounce_templates_default(t);
    ph_bounce_templates_default(u);
    ph_buf_init(&out, s, 100000);
    memset(&warned, 0, sizeof warned);
    for (int i = 0; i < PH_TEMPLATES; i++)
        ph_bounce_template_print(&out, &t[i]);
    is_int(ph_bounce_templates_parse(s, ph_buf_view(&out), "f", warn, NULL, u), 0, "the built-in templates in a file");
    is_int(warned.n, 0, "are in order");
    for (int i = 0; i < PH_TEMPLATES; i++)
        ok(ph_str_eq(t[i].subject, u[i].subject) && ph_str_eq(t[i].body, u[i].body) && ph_str_eq(t[i].from, u[i].from) && u[i].is_custom,
           "%s reads back as it was", t[i].name);
}

static void test_load(void)
{
    PH_SCOPED(s, NULL);
    struct ph_bounce_template t[PH_TEMPLATES];

    is_int(ph_bounce_templates_load(s, PH_STR(""), warn, NULL, t), 0, "no file");
    is_int(ph_bounce_templates_load(s, PH_STR("/nonexistent/templates"), warn, NULL, t), PH_CONF, "a file that is not there");
    is_bytes(t[PH_TEMPLATE_VERIFY].subject, "Mail Delivery Status Report", "leaves the built-in ones");
    is_int(ph_bounce_templates_load(s, PH_STR("/"), warn, NULL, t), PH_CONF, "a directory");
    is_int(ph_bounce_templates_load(s, PH_STR("/dev/zero"), warn, NULL, t), PH_CONF, "a file without end");
}

int main(void)
{
    test_files();
    test_values();
    test_print();
    test_load();
    return done_testing();
}
