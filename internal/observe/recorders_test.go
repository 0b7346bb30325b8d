package observe

import (
	"errors"
	"testing"
	"time"
)

func TestRecorders(t *testing.T) {
	m := NewMetrics(build)
	m.Authenticated("main", false)
	m.Authenticated("main", true)
	m.Authenticated("main", true)
	m.Refused("main", "expired")
	m.Refused("", "no_credential")
	m.KeysFetched("main", nil)
	m.KeysFetched("main", errors.New("connection refused"))
	m.Introspected("far", 3*time.Millisecond, nil)
	m.Introspected("far", 2*time.Second, errors.New("timeout"))
	m.StaleConnection("orders", "127.0.0.1:9001")
	m.UnsolicitedBytes("orders", "127.0.0.1:9001")
	wantMetric(t, m,
		`gateway_auth_total{issuer="main",result="verified"} 1`,
		`gateway_auth_total{issuer="main",result="cached"} 2`,
		`gateway_auth_total{issuer="main",result="expired"} 1`,
		`gateway_auth_total{issuer="none",result="no_credential"} 1`,
		`gateway_auth_key_fetches_total{issuer="main",result="success"} 1`,
		`gateway_auth_key_fetches_total{issuer="main",result="failure"} 1`,
		`gateway_auth_introspections_total{issuer="far",result="success"} 1`,
		`gateway_auth_introspections_total{issuer="far",result="failure"} 1`,
		`gateway_auth_introspection_duration_seconds_count{issuer="far"} 2`,
		`gateway_auth_introspection_duration_seconds_bucket{issuer="far",le="0.005"} 1`,
		`gateway_upstream_connections_discarded_total{reason="stale",upstream="orders"} 1`,
		`gateway_upstream_connections_discarded_total{reason="unsolicited",upstream="orders"} 1`,
	)
}

func TestRecordingACredentialAllocatesNothing(t *testing.T) {
	m := NewMetrics(build)
	m.Authenticated("main", true)
	if n := testing.AllocsPerRun(100, func() { m.Authenticated("main", true) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
