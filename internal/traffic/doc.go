// Package traffic decides where requests go below a route's policies: to one upstream, to one of several, to a copy beside, to
// a fixed answer, elsewhere, or to a fallback.
//
// It promises: a client that a split keeps at an arm is moved only by weights, conditions or an arm that lets nothing
// through, and a changed weight moves clients in one direction only; a mirror never delays or changes the answer, and drops
// copies rather than slows; a fallback never executes a write a second time, and says on the answer what it was. It knows upstreams as
// names with handlers. It keeps no state but changed weights, which last until the next configuration.
package traffic

import "errors"

var errNoFlags = errors.New("there are no feature flags")
