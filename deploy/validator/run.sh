#!/bin/sh
# Runs the official HL7 validator of this folder, building it first when its sources have changed.
#
#   deploy/validator/run.sh FOLDER...     build if needed, load the folders' definitions, then answer line by line
#   deploy/validator/run.sh --build       only build
#
# See README.md for the lines.
set -eu
here=$(cd "$(dirname "$0")" && pwd)

need() {
    command -v "$1" >/dev/null 2>&1 || {
        echo "validator: '$1' not found; install what the tests need with: make test-deps" >&2
        exit 127
    }
}

build() {
    need mvn
    echo "validator: building (the first time downloads about 150 MB from Maven Central)" >&2
    rm -rf "$here/target/lib" "$here/target/home"
    (cd "$here" && mvn -q -B -ntp package >&2)
    java -Xmx1g -cp "$here/target/validator.jar:$here/target/lib/*" \
        aftercare.validator.CorePackage "$here/target/home/.fhir/packages" >&2
    touch "$here/target/built"
}

need java
if [ ! -e "$here/target/built" ] || [ -n "$(find "$here/pom.xml" "$here/src" -newer "$here/target/built" -type f)" ]; then
    build
fi
[ "${1:-}" = "--build" ] && exit 0

# Serial collection and the first compiler tier: it starts in a quarter of the time.
# A home of its own: the validator keeps its packages in the user's home and writes there.
# exec: the caller's process id is the validator's own.
# shellcheck disable=SC2086  # options are meant to be split
exec java ${VALIDATOR_JAVA_OPTS:--XX:+UseSerialGC -XX:TieredStopAtLevel=1 -Xmx1g} -Duser.home="$here/target/home" \
    -Dorg.slf4j.simpleLogger.defaultLogLevel=warn \
    -cp "$here/target/validator.jar:$here/target/lib/*" \
    aftercare.validator.Validator "$here/definitions" "$@"
