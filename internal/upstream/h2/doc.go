// Package h2 is one exchange with one target over HTTP/2, with TLS or without, and the pool of connections to that target.
//
// It promises what h1 promises: a request is never sent twice, a truncated body never ends like a complete one, every wait is
// bounded, and it tells what is known about what left. The protocol is net/http's, on single connections (http.ClientConn):
// its Transport sends requests again by itself when it thinks that it may, a single connection never does. Trailers pass both
// ways, and requests and answers flow at once when the client can do that, too. It keeps no state but connections.
package h2
