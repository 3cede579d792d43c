# shellcheck shell=bash
# What a bare Debian machine lacks, installed by the scripts that need it. Source this file, then call:
#
#   ensure_build_tools   what `cargo build` needs besides Rust (RocksDB and librdkafka are compiled from source)
#   ensure_java_and_maven   what scripts/kafka.sh needs
#
# Invariants: what is there already is never installed again; nothing is printed on stdout; every change to
# the machine is announced on stderr first. Not here: Rust itself (https://rustup.rs says how).

say() { printf '%s\n' "$*" >&2; }

have() { command -v "$1" >/dev/null 2>&1; }

# Runs a command as root: directly, or through sudo, which asks for a password only where someone can type it.
as_root() {
    if [ "$(id -u)" -eq 0 ]; then
        "$@"
    elif have sudo && [ -t 0 ]; then
        sudo "$@"
    elif have sudo; then
        sudo -n "$@"
    else
        return 1
    fi
}

# Installs the named Debian packages. Fails where there is no apt-get or no way to be root, or apt-get fails.
apt_install() {
    have apt-get || return 1
    as_root true 2>/dev/null || return 1
    say "Installing with apt-get: $*"
    # A fresh machine has no package lists. A stale list is not fatal: the install below tells.
    as_root apt-get -o DPkg::Lock::Timeout=120 -qq update >&2 || true
    as_root env DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=120 -o Dpkg::Use-Pty=0 \
        -qq -y --no-install-recommends install "$@" >&2
}

# bindgen loads libclang at build time, from where LIBCLANG_PATH says or from the usual places.
have_libclang() {
    local place
    for place in ${LIBCLANG_PATH:+"$LIBCLANG_PATH"} /usr/lib/llvm-*/lib /usr/lib/*-linux-gnu /usr/lib64 /usr/lib /usr/local/lib; do
        compgen -G "$place/libclang*.so*" >/dev/null && return 0
    done
    return 1
}

# True where pkg-config knows the library's headers.
have_library() { have pkg-config && pkg-config --exists "$1"; }

# Makes sure of the C and C++ side of the build. Never fails: where nothing can be installed it names the
# packages and goes on, for the build may find what this function did not.
ensure_build_tools() {
    local missing=()
    have gcc || have cc || missing+=(gcc)
    have g++ || have c++ || missing+=(g++)
    have make || missing+=(make)
    have clang || missing+=(clang)
    have_libclang || missing+=(libclang-dev)
    have pkg-config || missing+=(pkg-config)
    [ -n "${OPENSSL_DIR:-}" ] || have_library openssl || missing+=(libssl-dev)
    have_library zlib || missing+=(zlib1g-dev)
    [ "${#missing[@]}" -eq 0 ] && return 0
    if ! apt_install "${missing[@]}"; then
        say "The build may need what could not be installed here. Debian's names for it: ${missing[*]}"
        say "As root: apt-get install ${missing[*]}   (other systems have the same under similar names)"
    fi
}

# The Java that would run: JAVA_HOME's, else the one on the PATH.
java_command() {
    if [ -n "${JAVA_HOME:-}" ] && [ -x "$JAVA_HOME/bin/java" ]; then
        printf '%s\n' "$JAVA_HOME/bin/java"
    else
        command -v java
    fi
}

# True where that Java is of release $1 or later. `java -version` says "17.0.15", and "1.8.0" before release 9.
have_java() {
    local java release
    java=$(java_command) || return 1
    release=$("$java" -version 2>&1 | sed -n 's/.* version "\([0-9]*\).*/\1/p' | head -n 1)
    [ -n "$release" ] && [ "$release" -ge "$1" ]
}

# The newest headless Java of release 17 or later that apt-get offers here.
java_package() {
    local package
    for package in openjdk-17-jre-headless openjdk-21-jre-headless openjdk-25-jre-headless; do
        if apt-cache show "$package" >/dev/null 2>&1; then
            printf '%s\n' "$package"
            return
        fi
    done
    printf 'default-jre-headless\n'
}

# Makes sure that this Java can run a program from its source, which takes a JDK. Fails, saying what to install,
# where it cannot.
ensure_java_compiler() {
    local package
    has_compiler() { "$(java_command)" --list-modules 2>/dev/null | grep -q '^jdk\.compiler@'; }
    have_java 17 && has_compiler && return 0
    package=$(java_package)
    if have apt-get && apt_install "${package/-jre/-jdk}" && have_java 17 && has_compiler; then
        return 0
    fi
    say "This needs a JDK of release 17 or later. On Debian, as root: apt-get install openjdk-17-jdk-headless"
    return 1
}

# Makes sure of Java 17 or later and, unless `--no-maven` is given, of Maven. Fails, saying exactly what to
# install, where it cannot.
ensure_java_and_maven() {
    local missing=()
    have_java 17 || missing+=("java")
    [ "${1:-}" = --no-maven ] || have mvn || missing+=("maven")
    [ "${#missing[@]}" -eq 0 ] && return 0
    if have apt-get; then
        # The lists come first: which Java there is can only be asked once they are there.
        apt-cache show maven >/dev/null 2>&1 || as_root apt-get -o DPkg::Lock::Timeout=120 -qq update >&2 || true
        missing=("${missing[@]/#java/$(java_package)}")
    else
        missing=("${missing[@]/#java/a Java runtime of release 17 or later}")
    fi
    if apt_install "${missing[@]}" && have_java 17; then
        return 0
    fi
    say "Kafka needs what could not be installed here: ${missing[*]}"
    say "On Debian, as root: apt-get install openjdk-17-jre-headless maven"
    say "If several versions of Java are installed, point JAVA_HOME at one of release 17 or later."
    return 1
}
