#!/bin/sh
# Installs the nine languages while the image is built, and what their first start would otherwise
# make anew in every container: Go's compiled standard library, Java's archive of compiler classes.
set -eu

export DEBIAN_FRONTEND=noninteractive
# The JDK's installation wants this folder, which slim images leave out.
mkdir -p /usr/share/man/man1
apt-get update -qq
# default-jdk-headless is the JDK that the Debian release supports; gcc links for Rust.
apt-get install -qq --no-install-recommends \
    bash ca-certificates \
    python3 nodejs ruby perl php-cli lua5.4 \
    golang-go default-jdk-headless rustc gcc libc6-dev
rm -rf /var/lib/apt/lists/* /var/cache/apt/* /var/cache/debconf/* /var/log/*.log /var/log/apt

ln -s python3 /usr/bin/python
chmod 755 /usr/local/bin/*
useradd --uid 1000 --home-dir /tmp --no-create-home --shell /bin/bash executor

# What compiling and running a single file never reads.
rm -rf /usr/lib/jvm/*/jmods /usr/lib/jvm/*/lib/src.zip /usr/share/go-*/test /usr/share/go-*/api

# `go` of /usr/local/bin begins each container's cache with this one. Here it may use all processors.
GOCACHE=/usr/local/share/go-build GOFLAGS='' GOMAXPROCS='' /usr/bin/go build std
chmod -R a+rX /usr/local/share/go-build

# `run-java` maps this archive instead of loading the classes of the compiler one by one.
java -XX:+UseSerialGC -Xshare:dump >/dev/null
printf 'class Main { public static void main(String[] a) { System.out.println("hello"); } }\n' >/tmp/Main.java
ONCEBOX_JAVA_ARCHIVE=-XX:ArchiveClassesAtExit=/usr/local/share/run-java.jsa run-java /tmp/Main.java
chmod a+r /usr/local/share/run-java.jsa

rm -rf /tmp/Main.java /tmp/.cache /tmp/go /tmp/hsperfdata_*
