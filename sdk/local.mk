# Make fragment of sdk (included by Makefile.am; paths are from the top).
# posthorn-table-test: the harness that our tables and third parties' go through.
bin_PROGRAMS += sdk/posthorn-table-test
sdk_posthorn_table_test_SOURCES = sdk/table_test.c
sdk_posthorn_table_test_LDADD = core/libposthorn.la
TABLE_TESTS = plugins/table/static/static.test plugins/table/inline/inline.test plugins/table/texthash/texthash.test \
	plugins/table/cidr/cidr.test plugins/table/pattern/regexp.test plugins/table/pattern/pcre.test \
	plugins/table/hash/hash.test plugins/table/hash/btree.test plugins/table/fail/fail.test \
	plugins/table/environ/environ.test plugins/table/internal/internal.test plugins/table/combined/pipemap.test plugins/table/combined/unionmap.test \
	plugins/table/combined/randmap.test plugins/table/debug/debug.test plugins/table/socket/tcp.test plugins/table/socket/socketmap.test plugins/table/unix/unix.test plugins/table/cdb/cdb.test plugins/table/lmdb/lmdb.test
EXTRA_DIST += $(TABLE_TESTS) t/plugin/tables.t
dist_man_MANS += sdk/posthorn-table-test.1
# For plugins outside the tree.
pkgconfigdir = $(libdir)/pkgconfig
pkgconfig_DATA = sdk/posthorn.pc
templatedir = $(phdatadir)/template
template_DATA = sdk/template/Makefile sdk/template/table_example.c sdk/template/table_example.yaml sdk/template/table_example.test
EXTRA_DIST += $(template_DATA) t/plugin/template.t
