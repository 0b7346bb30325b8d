// Package failpoint names the places at which the chaos harness kills the gateway.
//
// It promises to cost nothing in a normal build: there Enabled is the constant false and Hit is empty. Built with the tag
// failpoint, ONCEGATE_FAILPOINT="K3@5" has the process end itself with SIGKILL the fifth time it comes by K3.
package failpoint

// The places, in the order in which a keyed write meets them; the last five are the background's.
const (
	BeforeBegin    = "K1"  // nothing was asked of the store
	BeginSent      = "K2"  // Redis: sent, the reply not read; elsewhere: done, the caller not told
	Claimed        = "K3"  // before a connection to the upstream is sought
	Connected      = "K4"  // nothing of the request was written
	HalfWritten    = "K5"  // half of the request was written
	Written        = "K6"  // all of it
	FirstByte      = "K7"  // of the answer
	BeforeFinish   = "K8"  // the answer is whole, the store does not know it
	FinishSent     = "K9"  // as BeginSent
	Finished       = "K10" // nothing was written to the client
	HalfAnswered   = "K11" // half of the answer was written to the client
	Answered       = "K12" // all of it
	Sweep          = "K13a"
	Reconcile      = "K13b"
	BootSweep      = "K13c"
	MemtableFlush  = "K13d"
	CompactionDone = "K13e"
)
