#!/usr/bin/env bash
# Makes a database for the service and one for HAPI, each with an owner of its own who cannot enter the other's.
# PostgreSQL's image runs it once, when its data folder is new.
set -euo pipefail

make_database() {
    NAME=$1 PASSWORD=$2 psql --no-psqlrc --quiet --set=ON_ERROR_STOP=1 --username="$POSTGRES_USER" --dbname=postgres <<'SQL'
\getenv name NAME
\getenv password PASSWORD
CREATE ROLE :"name" LOGIN PASSWORD :'password';
CREATE DATABASE :"name" OWNER :"name";
REVOKE ALL ON DATABASE :"name" FROM PUBLIC;
SQL
}

make_database aftercare "$SERVICE_DB_PASSWORD"
make_database hapi "$HAPI_DB_PASSWORD"
