EXTRA_DIST += t/effort/README.md t/effort/expected t/effort/Effort.pm t/effort/calls.t t/effort/instructions.t
