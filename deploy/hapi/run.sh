#!/bin/sh
# Runs the HAPI FHIR server of this folder in the foreground, building it first when its sources have changed.
#
#   deploy/hapi/run.sh            build if needed, then serve http://127.0.0.1:${HAPI_PORT:-8080}/fhir
#   deploy/hapi/run.sh --build    only build
#
# Settings are environment variables: see README.md.
set -eu
cd "$(dirname "$0")"

need() {
    command -v "$1" >/dev/null 2>&1 || {
        echo "hapi: '$1' not found; install what the tests need with: make test-deps" >&2
        exit 127
    }
}

build() {
    need mvn
    echo "hapi: building (the first time downloads about 350 MB from Maven Central)" >&2
    mvn -q -B -ntp package >&2
    # The unpacked layout starts in little more than half the time of the single jar.
    rm -rf target/app
    java -Djarmode=tools -jar target/hapi-server.jar extract --destination target/app >&2
    touch target/app/built
}

need java
if [ ! -e target/app/built ] || [ -n "$(find pom.xml src -newer target/app/built -type f)" ]; then
    build
fi
[ "${1:-}" = "--build" ] && exit 0

# Serial collection and the first compiler tier: a short-lived server starts sooner and stays small.
# exec: the caller's process id is the server's own.
# shellcheck disable=SC2086  # options are meant to be split
exec java ${HAPI_JAVA_OPTS:--XX:+UseSerialGC -XX:TieredStopAtLevel=1 -Xmx768m} -jar target/app/hapi-server.jar
