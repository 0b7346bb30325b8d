package h1

import "time"

// Outcome is what one exchange on one connection came to.
type Outcome struct {
	Err    error
	Sent   bool      // a byte of the request left
	Heard  bool      // a byte of an answer came
	Lost   bool      // the connection broke, as opposed to a time-out or a bad answer
	Idle   IdleFault // why a connection turned out unusable before anything was sent
	Reused bool
	At     time.Time // when the answer's head was complete
	Status int       // of the answer

	Refused bool // HTTP/2: the target said that it did not process the request

	Streams bool // the answer's body is still to come; Watch.Ended tells its end
}

// Reused tells that the connection carried an exchange before.
func (c *Conn) Reused() bool { return c.reused }

// AtOnce tells that it lay ready when it was asked for.
func (c *Conn) AtOnce() bool { return c.reused && !c.waited }

// IdleFault is what the look before a write found.
type IdleFault uint8

// The faults.
const (
	IdleFine        IdleFault = iota
	IdleStale                 // the other end closed it
	IdleUnsolicited           // bytes waited that nobody had asked for
)
