package config

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// contract is the document of the contract with users, letter for letter, with the upstreams that are only named there.
const contract = `version: 1

listen:
  address: :8080                    # one port: HTTP/1.1 and HTTP/2 (h2 by ALPN with tls, h2c by preface without)
  tls:
    certificates: [{ cert: /etc/tls/tls.crt, key: /etc/tls/tls.key }]   # re-read when the files change
    client_ca: /etc/tls/clients.pem
    client_auth: none               # none | optional | require
    min_version: "1.2"
  trusted_proxies: [10.0.0.0/8]     # only these may set X-Forwarded-*; default none
  limits: { header: 16KiB, headers: 100, body: 8MiB, read_timeout: 10s, write_timeout: 60s, idle_timeout: 60s, connections: 20000, connections_per_ip: 0 }
  drain: { notice: 2s, timeout: 30s }   # SIGTERM: not ready, keep serving for notice, then finish what runs

admin:
  address: 127.0.0.1:9901           # /livez /readyz /metrics open here; /console and /api need the token when one is set
  token: ${ADMIN_TOKEN}             # obligatory when the address is not loopback

state:                              # where dedup records and queued requests live
  store: embedded                   # embedded (durable, one node) | redis (a fleet) | memory (development: lost at exit, warned)
  path: ./data
  encryption_key: ${file:/run/secrets/state.key}   # optional: stored answers are sealed with it (AES-256-GCM)
  redis:                            # used by state: redis, and by limits that are shared
    addresses: [127.0.0.1:6379]
    mode: single                    # single | sentinel | cluster
    master: mymaster
    username: ""
    password: ""
    database: 0
    tls: { ca: "", server_name: "" }
    prefix: oncegate
    wait_replicas: 0                # 1 where a replica exists: a claim counts only when a replica has it

issuers:                            # who signs tokens
  main:
    issuer: https://id.example.com/
    audiences: [orders-api]
    jwks: https://id.example.com/jwks.json      # or discovery: true | keys: [file.pem, file.jwks.json] | secret: ${JWT_SECRET} (HS*)
    algorithms: [RS256, ES256, EdDSA]           # obligatory; one family (secret with HS*, else asymmetric)
    leeway: 30s
    max_lifetime: 24h
    typ: ""                                     # at+jwt demands it
    revocation: false                           # true: jti and subject deny list (needs redis or the admin API)
api_keys:
  partners: { header: X-Api-Key, keys: [{ id: acme, sha256: 9f86d0..., scopes: [orders:read], claims: { plan: gold } }] }

rate_limits:                        # named buckets; a name's bucket is shared by all routes that use the name
  per-client: { rate: 100/s, burst: 200, by: client }           # client | ip | route | all | header:X-Tenant | claim:plan
  per-plan:   { rate: 10/s, burst: 20, by: client, plans: { claim: plan, gold: { rate: 500/s, burst: 1000 } } }
  per-day:    { quota: 10000/d, by: client, scope: shared }     # scope: local (this process) | shared (Redis, whole fleet)
  # every limit also has: on_store_failure: local | allow | deny (default local), on_missing: next | reject | shared, cost: 1, mode: enforce | shadow

upstreams:
  orders:
    targets: [http://127.0.0.1:9001, { url: http://127.0.0.1:9002, weight: 2 }]   # http https h2c grpc grpcs; or dns: { name: orders.default.svc, port: 8080, refresh: 10s }
    balance: least_request          # round_robin | least_request | ewma | hash (with hash_by: client | ip | header:X)
    timeout: { connect: 1s, first_byte: 5s, try: 5s, idle_body: 30s }
    connections: { max: 512, idle: 90s }
    retry: { attempts: 3, on: [connect, reset, 502, 503, 504], backoff: { base: 25ms, max: 1s }, budget: 20% }   # full jitter; a write is retried only where section 5 says
    breaker: { window: 10s, minimum: 20, failure_rate: 50%, slow: 2s, slow_rate: 80%, consecutive: 0, open: 5s, probes: 3 }
    bulkhead: { in_flight: 256, queue: 64, wait: 100ms }         # or adaptive: true
    health: { path: /healthz, interval: 5s, timeout: 1s, unhealthy: 3, healthy: 2, expect: 200-299 }
    tls: { ca: "", cert: "", key: "", server_name: "" }
  orders-v2: { targets: [http://127.0.0.1:9003] }
  orders-next: { targets: [http://127.0.0.1:9004] }
  orders-dr: { targets: [http://127.0.0.1:9005] }

defaults:                           # any policy of a route may stand here
  rate_limits: [per-client]
  timeout: 10s
  mode: enforce

routes:
  - id: orders
    match: { hosts: [api.example.com], path: /v1/orders/**, methods: [GET, POST], headers: { Accept: application/vnd.acme.v1+json }, query: { beta: "1" } }
    auth: { issuers: [main], require: { scopes: [orders:write], claims: { tenant: [a, b] } } }   # or: auth: { api_keys: [partners] } | auth: { optional: true, ... } | auth: none — silence is an error
    rate_limits: [per-client, per-day]
    dedup: { key: required }                        # section 5
    timeout: 10s
    body: 1MiB
    rewrite: { strip_prefix: /v1, add_prefix: "", path: "", host: upstream, request_headers: { set: {}, remove: [] }, response_headers: { set: {}, remove: [] } }
    forward: { claims: { X-User-Id: sub }, authorization: false }
    to: orders                      # an upstream, or
    # to: { split: [{ upstream: orders, weight: 95 }, { upstream: orders-v2, weight: 5, when: { headers: { X-Canary: "1" } } }], sticky: client, mirror: { upstream: orders-next, share: 10% } }
    # to: { respond: { status: 200, body: "ok", headers: {} } }   |   to: { redirect: { status: 308, location: https://... } }
    fallback: [{ on: [open, timeout, 5xx], upstream: orders-dr }, { on: [open, timeout], respond: { status: 200, body: '{"items":[]}', headers: { Content-Type: application/json } } }]
`

// The contract's section on keyed writes, in place of dedup: { key: required }.
const contractDedup = `    dedup:
      key: required                 # required | optional (default: without a key the request passes unprotected)
      methods: [POST, PATCH]        # default; PUT and DELETE may be added
      scope: orders                 # default: the upstream's name. Method, path, query and body belong to the fingerprint, so the same key on another endpoint is 422
      client: subject               # default; the authenticated subject, never the token or the address. A route with auth: none must name header:X-...
      keep: { answer: 24h, key: 72h }
      max_answer: 256KiB            # a larger or streamed answer goes through to the first caller and is kept as "finished, not kept"
      wait: 0s                      # a duplicate of a running request waits this long (bounded per key and in all), then 409
      fingerprint_headers: [Content-Type]
      keep_headers: []              # besides Content-Type, -Language, -Encoding, Location, ETag, Last-Modified, Link
      release_on: []                # extra statuses that free the key, e.g. [503]
      upstream_dedup: false         # true: the upstream honours the key; an unknown outcome is then sent again with the same forwarded key and Idempotency-Attempt: n
      status_check: { url: "http://orders/v1/executions/{key}", executed: [200], not_executed: [404], settle: 2m }   # optional reconciliation of unknown outcomes
      forward_key: derived          # derived (stable, can't collide between clients) | as_sent | none
      on_store_failure: deny        # deny | allow (answers then carry Idempotency-Status: not-protected)
`

// What the contract's comments offer: replacements, in pairs.
var contractForms = [][]string{
	{},
	{"client_auth: none", "client_auth: optional"}, {"client_auth: none", "client_auth: require"}, {`min_version: "1.2"`, `min_version: "1.3"`},
	{"address: 127.0.0.1:9901", "address: :9901"},
	{"store: embedded  ", "store: redis  "}, {"store: embedded  ", "store: memory  "}, {"mode: single  ", "mode: sentinel  "}, {"mode: single  ", "mode: cluster  "},
	{"wait_replicas: 0", "wait_replicas: 1"}, {"jwks: https://id.example.com/jwks.json", "discovery: true"},
	{"jwks: https://id.example.com/jwks.json", "keys: [file.pem, file.jwks.json]"},
	{"jwks: https://id.example.com/jwks.json", "secret: ${JWT_SECRET}", "[RS256, ES256, EdDSA]", "[HS256]"},
	{`typ: "" `, `typ: at+jwt `}, {"revocation: false", "revocation: true"},
	{"burst: 200, by: client", "burst: 200, by: ip"}, {"burst: 200, by: client", "burst: 200, by: route"}, {"burst: 200, by: client", "burst: 200, by: all"},
	{"burst: 200, by: client", "burst: 200, by: header:X-Tenant"}, {"burst: 200, by: client", "burst: 200, by: claim:plan"},
	{"rate: 100/s", "rate: 5000/m"}, {"rate: 100/s", "rate: 10000/h"}, {"rate: 100/s", "rate: 1/10s"}, {"host: upstream", "host: client"}, {"host: upstream", "host: orders.example.com"},
	{"max_lifetime: 24h", "max_lifetime: 7d"}, {"token: ${ADMIN_TOKEN}", "token: ${NOT_SET:-a-token-of-some-length-0123456789}"}, {"hosts: [api.example.com]", `hosts: ["*.example.com"]`},
	{"path: /v1/orders/**", `path: "/v1/users/{id}"`}, {"path: /v1/orders/**", "path: /v1/orders"}, {"burst: 200, by: client", "burst: 200, by: client, scope: shared"},
	{"scope: shared }", "scope: local }"}, {"[per-client, per-day]", "[per-client, per-plan, per-day]"},
	{"scope: shared }", "scope: shared, on_store_failure: local, on_missing: next, cost: 1, mode: enforce }"},
	{"scope: shared }", "scope: shared, on_store_failure: allow, on_missing: reject, mode: shadow }"},
	{"scope: shared }", "scope: shared, on_store_failure: deny, on_missing: shared }"},
	{"targets: [http://127.0.0.1:9001, { url: http://127.0.0.1:9002, weight: 2 }]", "targets: [https://127.0.0.1:9001]"},
	{"targets: [http://127.0.0.1:9001, { url: http://127.0.0.1:9002, weight: 2 }]", "targets: [h2c://127.0.0.1:9001]"},
	{"targets: [http://127.0.0.1:9001, { url: http://127.0.0.1:9002, weight: 2 }]", "targets: [grpc://127.0.0.1:9001]"},
	{"targets: [http://127.0.0.1:9001, { url: http://127.0.0.1:9002, weight: 2 }]", "targets: [grpcs://127.0.0.1:9001]"},
	{"targets: [http://127.0.0.1:9001, { url: http://127.0.0.1:9002, weight: 2 }]", "dns: { name: orders.default.svc, port: 8080, refresh: 10s }"},
	{"balance: least_request", "balance: round_robin"}, {"balance: least_request", "balance: ewma"},
	{"balance: least_request", "balance: hash\n    hash_by: client"}, {"balance: least_request", "balance: hash\n    hash_by: ip"}, {"balance: least_request", "balance: hash\n    hash_by: header:X"},
	{"{ in_flight: 256, queue: 64, wait: 100ms }", "{ adaptive: true }"}, {"queue: 64, wait: 100ms }", "queue: 64, wait: 100ms, adaptive: true }"},
	{"auth: { issuers: [main], require: { scopes: [orders:write], claims: { tenant: [a, b] } } }", "auth: { api_keys: [partners] }"},
	{"auth: { issuers: [main], require: { scopes: [orders:write], claims: { tenant: [a, b] } } }", "auth: { optional: true, issuers: [main] }", "{ key: required }", "{ key: required, client: header:X-Client }"},
	{"auth: { issuers: [main], require: { scopes: [orders:write], claims: { tenant: [a, b] } } }", "auth: none", "{ key: required }", "{ key: required, client: header:X-Client }",
		"claims: { X-User-Id: sub }, ", ""},
	{"to: orders  ", `to: { split: [{ upstream: orders, weight: 95 }, { upstream: orders-v2, weight: 5, when: { headers: { X-Canary: "1" } } }], sticky: client, mirror: { upstream: orders-next, share: 10% } }  `},
}

// Routes that answer by themselves have neither a keyed write nor a fallback.
const contractOwnAnswers = `  - { id: ok, match: { path: /ok }, auth: none, to: { respond: { status: 200, body: "ok", headers: {} } } }
  - { id: moved, match: { path: /moved }, auth: none, to: { redirect: { status: 308, location: https://... } } }
`

var contractDedupForms = [][]string{
	{}, {"key: required", "key: optional"}, {"[POST, PATCH]", "[POST, PATCH, PUT, DELETE]"}, {"release_on: []", "release_on: [503]"}, {"keep_headers: []", "keep_headers: [X-Order]"},
	{"upstream_dedup: false", "upstream_dedup: true"}, {"forward_key: derived", "forward_key: as_sent"}, {"forward_key: derived", "forward_key: none", "      status_check:", "      #"}, {"on_store_failure: deny", "on_store_failure: allow"}, {"wait: 0s", "wait: 5s"},
}

// TestContractDocuments: what the contract shows is good, as check sees it and as the schema sees it.
func TestContractDocuments(t *testing.T) {
	dir := contractFiles(t)
	good := func(text string, forms []string) {
		t.Helper()
		for i := 0; i < len(forms); i += 2 {
			text = change(t, text, forms[i], forms[i+1])
		}
		text = strings.NewReplacer("/etc/tls/", dir+"/", "/run/secrets/", dir+"/", "[file.pem, file.jwks.json]", "["+dir+"/file.pem, "+dir+"/file.jwks.json]",
			"9f86d0...", strings.Repeat("9f86d0ab", 8), "https://...", "https://127.0.0.1/").Replace(text)
		result, err := Parse("gateway.yaml", []byte(text), testEnv)
		if err == nil {
			err = result.Files()
		}
		if err == nil {
			err = againstSchema(t, text)
		}
		if err != nil {
			t.Errorf("%q: %v", forms, err)
		}
	}
	for _, forms := range contractForms {
		good(contract, forms)
	}
	good(contract+contractOwnAnswers, nil)
	section := change(t, contract, "    dedup: { key: required }                        # section 5\n", contractDedup)
	section = section[:strings.Index(section, "    fallback:")] // another upstream can't tell what became of a key that it was not sent
	for _, forms := range contractDedupForms {
		good(section, forms)
	}
}

// contractFiles makes the files that the contract names.
func contractFiles(t *testing.T) string {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	about := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "127.0.0.1"}, NotBefore: time.Now(), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature}
	certificate, err := x509.CreateCertificate(rand.Reader, about, about, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	private, _ := x509.MarshalPKCS8PrivateKey(key)
	public, _ := x509.MarshalPKIXPublicKey(key.Public())
	point, _ := key.PublicKey.Bytes()
	coordinate := base64.RawURLEncoding.EncodeToString
	block := func(kind string, der []byte) []byte {
		return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
	}
	dir := t.TempDir()
	for name, text := range map[string][]byte{
		"tls.crt": block("CERTIFICATE", certificate), "tls.key": block("PRIVATE KEY", private), "clients.pem": block("CERTIFICATE", certificate),
		"state.key": bytes.Repeat([]byte("0123456789abcdef"), 2), "file.pem": block("PUBLIC KEY", public),
		"file.jwks.json": fmt.Appendf(nil, `{"keys":[{"kty":"EC","crv":"P-256","kid":"a","x":%q,"y":%q}]}`, coordinate(point[1:33]), coordinate(point[33:])),
	} {
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}
