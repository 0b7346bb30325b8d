// Package h1 is one exchange with one target over HTTP/1.1, and the pool of connections to that target.
//
// It promises that a request is never sent twice, that an answer is never taken from another exchange as far as a look at the
// socket before each request can tell, that a truncated body never ends like a complete one, that every wait is bounded, and
// that it always tells what is known about the bytes that left. It does not choose targets and repeats nothing: what it
// reports lets its caller decide. It forwards no interim answers, trailers of gRPC calls only, and of protocol switches WebSocket only. It keeps no state but
// connections.
package h1
