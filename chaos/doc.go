// Package chaos proves or refutes what the gateway promises about keyed writes, against the real binary.
//
// An upstream of its own process notes every execution on disk before it answers; clients repeat, storm and probe; a nemesis
// kills, stops and starves gateways and stores; and a checker, a pure function of what the upstream and the clients wrote
// down, holds all of it against the invariants I1 to I13. Everything is drawn from a seed.
//
// It proves what happened in its runs, not what can't happen: a green run is evidence only because the same scenarios are red
// on every known defect (package mutant). It knows nothing of the gateway's code but its document and its answers.
package chaos
