//go:build mutant_transport_retry

package mutant

// TransportRetries is switched on.
const TransportRetries = true
