//go:build !mutant_transport_retry

package mutant

// TransportRetries: a write is sent again when its connection breaks.
const TransportRetries = false
