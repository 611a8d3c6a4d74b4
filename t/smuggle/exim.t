#!/usr/bin/perl
# Debian's Exim in front of us and behind us: never more messages than it, or we, took.
use strict;
use warnings;
use lib 't/lib';
use PeerExim;
use Smuggle::Peers;

Smuggle::Peers::both_ways('PeerExim', 3);
