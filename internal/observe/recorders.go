package observe

// Authenticated counts a credential that was accepted; cached: it had been verified before.
func (m *Metrics) Authenticated(issuer string, cached bool) {
	result := "verified"
	if cached {
		result = "cached"
	}
	m.credentials.get([2]string{issuer, result}).Inc()
}

// Refused counts a credential that was not accepted. The reason is one of auth's fixed words: operators see which check
// failed, clients never do.
func (m *Metrics) Refused(issuer, reason string) {
	if issuer == "" {
		issuer = Unrouted
	}
	m.credentials.get([2]string{issuer, reason}).Inc()
}

// KeysFetched counts an attempt to fetch an issuer's key set.
func (m *Metrics) KeysFetched(issuer string, err error) {
	result := "success"
	if err != nil {
		result = "failure"
	}
	m.keyFetches.get([2]string{issuer, result}).Inc()
}

// StaleConnection counts a kept connection that the upstream had closed by the time it was wanted.
func (m *Metrics) StaleConnection(upstream, _ string) {
	m.discarded.get([2]string{upstream, "stale"}).Inc()
}

// UnsolicitedBytes counts a connection given up because bytes came on it that nobody had asked for.
func (m *Metrics) UnsolicitedBytes(upstream, _ string) {
	m.discarded.get([2]string{upstream, "unsolicited"}).Inc()
}

// AddressRefused counts a request that was kept out by its address: by the list of a route, or by that of the port when
// route is "".
func (m *Metrics) AddressRefused(route string) {
	scope := "route"
	if route == "" {
		scope, route = "listen", Unrouted
	}
	m.addresses.get([2]string{scope, route}).Inc()
}

func (m *Metrics) addRecorders() {
	m.addresses.make = m.counters("gateway_addresses_refused_total", "Requests that were kept out by their address.", "scope", "route")
	m.credentials.make = m.counters("gateway_auth_total", "Credentials by issuer and by what became of them.", "issuer", "result")
	m.keyFetches.make = m.counters("gateway_auth_key_fetches_total", "Fetches of key sets.", "issuer", "result")
	m.discarded.make = m.counters("gateway_upstream_connections_discarded_total", "Kept connections that could not be used again.", "upstream", "reason")
}
