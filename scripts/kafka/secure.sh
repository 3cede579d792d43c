# shellcheck shell=bash
# What a cluster with --secure has besides: an authority of its own, the brokers' certificate, and one user. Sourced by
# kafka.sh.
#
# Invariants: private keys and the password are in DIR/secure, which is its owner's alone, and on no command line; the
# certificate is for the name localhost only, so that 127.0.0.1 is a wrong host name. Start at `make_credentials`.

secure_dir() { printf '%s/secure\n' "$DIR"; }
client_properties() { printf '%s/client.properties\n' "$(secure_dir)"; }

# Makes the authority, the brokers' certificate and the client's options, once.
make_credentials() {
    local home
    home=$(secure_dir)
    [ -e "$(client_properties)" ] && return 0
    have openssl || die "--secure needs openssl."
    (
        umask 077
        rm -rf "$home"
        mkdir -p "$home"
        {
            make_authority "$home" ca
            make_certificate "$home" broker
        } >"$home/openssl.log" 2>&1 || {
            cat "$home/openssl.log" >&2
            exit 1
        }
        # What Kafka calls a PEM store: the key and its certificate in one file.
        cat "$home/broker.key" "$home/broker.pem" >"$home/broker.store.pem"
        cat >"$home/client.properties.new" <<PROPERTIES
security.protocol=SASL_SSL
sasl.mechanism=SCRAM-SHA-512
sasl.username=sales
sasl.password=$(head -c 18 /dev/urandom | base64 | tr '+/' '-_')
ssl.ca.location=$home/ca.pem
PROPERTIES
        mv "$home/client.properties.new" "$(client_properties)"
    ) || die "The certificates could not be made; openssl's words are above."
}

# $1/$2.pem and $1/$2.key: an authority.
make_authority() {
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 3650 \
        -subj "/CN=sales-stream test authority" -addext "basicConstraints=critical,CA:TRUE" \
        -addext "keyUsage=critical,keyCertSign,cRLSign" -keyout "$1/$2.key" -out "$1/$2.pem"
}

# $1/$2.pem and $1/$2.key: a certificate for localhost by that authority.
make_certificate() {
    openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj "/CN=localhost" \
        -keyout "$1/$2.key" -out "$1/$2.csr"
    printf 'subjectAltName=DNS:localhost\nextendedKeyUsage=serverAuth\n' >"$1/$2.ext"
    openssl x509 -req -in "$1/$2.csr" -CA "$1/ca.pem" -CAkey "$1/ca.key" -set_serial "0x$(openssl rand -hex 8)" \
        -days 3650 -extfile "$1/$2.ext" -out "$1/$2.pem"
}

# Listeners of broker $1: TLS and a login for clients, plain for the brokers themselves and this script.
secure_properties() {
    local id=$1
    cat <<PROPERTIES
listeners=SASL_SSL://127.0.0.1:$(broker_port "$id"),PLAINTEXT://127.0.0.1:$(plain_port "$id"),CONTROLLER://127.0.0.1:$(controller_port "$id")
advertised.listeners=SASL_SSL://localhost:$(broker_port "$id"),PLAINTEXT://127.0.0.1:$(plain_port "$id")
listener.security.protocol.map=SASL_SSL:SASL_SSL,PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
sasl.enabled.mechanisms=SCRAM-SHA-512
listener.name.sasl_ssl.scram-sha-512.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required;
ssl.keystore.type=PEM
ssl.keystore.location=$(secure_dir)/broker.store.pem
PROPERTIES
}

# Tells the cluster about the user; again at each start, which changes nothing.
make_user() {
    local password scram
    password=$(sed -n 's/^sasl.password=//p' "$(client_properties)")
    scram=$(secure_dir)/user.properties
    (
        umask 077
        printf 'SCRAM-SHA-512=password=%s\n' "$password" >"$scram"
    )
    run_tool kafka.admin.ConfigCommand --bootstrap-server "$(plain_bootstrap)" --alter --entity-type users \
        --entity-name sales --add-config-file "$scram" >"$(secure_dir)/user.log" 2>&1 || {
        # Its words may quote the password.
        die "The user could not be made: see $(secure_dir)/user.log."
    }
}
