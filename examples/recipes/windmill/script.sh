# The script f/deployments/deploy (Bash). The client id and secret are variables of the folder.
run_id="$1"
service="$2"
version="$3"

set -eu
INTERLOCK_URL=https://interlock.example.com

variable() {
    curl -sS --fail -H "Authorization: Bearer $WM_TOKEN" \
        "$BASE_INTERNAL_URL/api/w/$WM_WORKSPACE/variables/get_value/f/deployments/$1" | tr -d '"'
}

report() {
    token=$(printf '{"clientId": "%s", "clientSecret": "%s"}' "$(variable interlock_client_id)" \
        "$(variable interlock_client_secret)" |
        curl -sS --fail -H "Content-Type: application/json" -d @- "$INTERLOCK_URL/v1/auth/access_token" |
        sed 's/.*"accessToken":"\([^"]*\)".*/\1/')
    printf '{"status": "%s", "link": ["%s"]}' "$1" "$WM_BASE_URL/run/$WM_JOB_ID?workspace=$WM_WORKSPACE" |
        curl -sS --fail -X PATCH -H "Content-Type: application/json" -H "Authorization: Bearer $token" -d @- \
            -o /dev/null "$INTERLOCK_URL/v1/actions/runs/$run_id"
}

trap 'if [ $? -eq 0 ]; then report SUCCESS; else report FAILURE; fi' EXIT
deploy "$service" "$version"
