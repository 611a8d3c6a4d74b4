# make smuggletest: every variant through every arrangement, and the sum.  In the
# suite each of the files tries a sample.  README.md beside this says what is proved.
SMUGGLE_TESTS = front.t postfix.t exim.t opensmtpd.t
smuggletest: check-programs
	@cd $(srcdir) && POSTHORN_BUILD=$(abs_top_builddir) POSTHORN_INST=$(prefix) t/smuggle/run $(addprefix t/smuggle/,$(SMUGGLE_TESTS))
EXTRA_DIST += t/smuggle/README.md t/smuggle/run $(addprefix t/smuggle/,$(SMUGGLE_TESTS)) t/lib/Smuggle.pm t/lib/Smuggle/Peers.pm t/lib/Smuggle/Variants.pm t/lib/Smuggle/Sink.pm
